"""Report sections on reconstructions: of the first layer, and of all layers trained together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup

from aepretrain.parts.likelihoods import LEAST_PROBABILITY
from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.example_rows import example_rows
from aepretrain.report.page import missing, paragraph, section, table
from aepretrain.results import figures
from aepretrain.results.reconstruction import UNROLLED, ReconstructionResult
from aepretrain.results.run import RunResult
from aepretrain.storage.array_files import read_arrays


def reconstructions(arrays: Mapping[str, np.ndarray], of: str = "layer 1") -> Markup:
    """Figure of validation examples: original, corrupted, and reconstructed.

    Args:
        arrays: Arrays of a stage.
        of: What reconstructs them.
    """
    if "original" not in arrays:
        return missing("The inputs are neither pictures nor windows, so there is nothing to look at.")
    rows = {name: arrays[name] for name in ("original", "corrupted", "reconstructed") if name in arrays}
    is_picture, count = rows["original"].ndim == 4, len(rows["original"])
    name = f"validation {'images' if is_picture else 'windows'}"
    seen = f"from the corrupted {'row' if is_picture else 'line'} alone" if "corrupted" in rows else "through its code"
    last, first = ("the last row", "the first") if is_picture else ("the reconstructed line", "the original")
    caption = f"The layer makes {last} {seen}; the nearer it is to {first}, the more it knows of the data."
    return example_rows(rows, name if of == "layer 1" else f"{name} of {of}", f"{count} {name}.", caption)


def whole_section(folder: Path, results: RunResult | None) -> list[Markup]:
    """The section on a stack that was trained as a whole, in a list; none for other runs.

    Args:
        folder: Run directory.
        results: What it found; ``None`` if it has not finished.
    """
    if results is None or results.reconstruction is None:
        return []
    arrays = read_arrays(folder / "stages" / UNROLLED / "samples.npz")
    pictures = draw_or_explain("the reconstructions of all layers", lambda: reconstructions(arrays, "all layers"))
    return [section("All layers trained together", reconstruction_table(results.reconstruction), pictures)]


def reconstruction_table(found: ReconstructionResult) -> Markup:
    """Table of the errors of reconstruction on validation and test data, beside those of principal components."""
    splits = {"validation": found.validation, "test": found.test}
    pca = f"of PCA, {found.components} components"
    columns = ("data", "examples", "squared error", f"squared error {pca}", "nats", f"nats {pca}")
    rows = [
        [
            name,
            f"{each.examples:,}",
            *map(figures.nats, (each.squared_error, each.pca_squared_error, each.nats, each.pca_nats)),
        ]
        for name, each in splits.items()
    ]
    return table(columns, rows) + paragraph(
        "Means over examples, summed over features: the squared error of what comes back from the code, and the loss "
        "of the first layer in nats. PCA was fitted to the training examples; for its nats, probabilities are kept "
        f"{LEAST_PROBABILITY:g} away from 0 and 1. The test set was read once, at the end."
    )
