"""Report sections on reconstructions: of the first layer, and of all layers trained together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup

from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.inline import inline_png
from aepretrain.report.markup import fill, join
from aepretrain.report.mosaic import COARSE, mosaic
from aepretrain.report.page import figure, missing, paragraph, section, table
from aepretrain.results import figures
from aepretrain.results.reconstruction import UNROLLED, ReconstructionResult
from aepretrain.results.run import RunResult
from aepretrain.storage.array_files import read_arrays


def reconstructions(arrays: Mapping[str, np.ndarray]) -> Markup:
    """Figure of validation images: original, corrupted, and reconstructed by the first layer."""
    if "original" not in arrays:
        return missing("The inputs are no images, so there is nothing to look at.")
    names = [name for name in ("original", "corrupted", "reconstructed") if name in arrays]
    coarse = arrays["original"].shape[-1] < COARSE
    count = len(arrays["original"])
    lines = [
        fill("<span>{}</span>", name)
        + inline_png(mosaic(arrays[name], count), f"{count} validation images, {name}", width=760, coarse=coarse)
        for name in names
    ]
    seen = "from the corrupted row alone" if "corrupted" in names else "through its code"
    return figure(
        fill('<div class="pictures">\n{}\n</div>', join(lines)),
        f"{count} validation images.",
        f"The layer makes the last row {seen}; the nearer it is to the first, the more it knows of the data.",
    )


def whole_section(folder: Path, results: RunResult | None) -> list[Markup]:
    """The section on a stack that was trained as a whole, in a list; none for other runs.

    Args:
        folder: Run directory.
        results: What it found; ``None`` if it has not finished.
    """
    if results is None or results.reconstruction is None:
        return []
    arrays = read_arrays(folder / "stages" / UNROLLED / "samples.npz")
    pictures = draw_or_explain("the reconstructions of all layers", lambda: reconstructions(arrays))
    return [section("All layers trained together", reconstruction_table(results.reconstruction), pictures)]


def reconstruction_table(found: ReconstructionResult) -> Markup:
    """Table of the errors of reconstruction on validation and test data, beside those of principal components."""
    splits = {"validation": found.validation, "test": found.test}
    columns = ("data", "examples", "squared error", f"squared error of PCA, {found.components} components", "nats")
    rows = [
        [
            name,
            f"{each.examples:,}",
            figures.nats(each.squared_error),
            figures.nats(each.pca_squared_error),
            figures.nats(each.nats),
        ]
        for name, each in splits.items()
    ]
    return table(columns, rows) + paragraph(
        "Means over examples, summed over features: the squared error of what comes back from the code, and the loss "
        "of the first layer in nats. PCA was fitted to the training examples. The test set was read once, at the end."
    )
