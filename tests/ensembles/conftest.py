"""Comparisons draw hundreds of pictures, and no test of this folder looks at them."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_pictures(empty_pictures):
    """No figure is drawn."""
