"""Comparisons draw hundreds of pictures, and no test of this folder looks at them: matplotlib leaves them empty."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture(scope="module", autouse=True)
def empty_pictures():
    """Figures are saved without being drawn, which takes most of the time of a small comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"\x89PNG"))
        yield
