"""What the first layer made of the same examples and latents after some epochs, beside the end of training."""

import re
from pathlib import Path

from markupsafe import Markup

from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.example_rows import example_rows
from aepretrain.report.page import section
from aepretrain.storage.array_files import read_arrays

AFTER_EPOCH = "after-epoch-{}.npz"
"""Name of the file of a stage for a number of finished epochs."""


def epoch_pictures(folder: Path) -> list[Markup]:
    """The section on earlier epochs of the first layer; none if no pictures of them were kept.

    Args:
        folder: Run directory.
    """
    ends = sorted(folder.glob("stages/00-*/samples.npz"))
    paths = {_epoch(path): path for path in folder.glob("stages/00-*/after-epoch-*.npz")}
    if not ends or not paths:
        return []
    last = read_arrays(ends[0])
    earlier = {f"after epoch {epoch}": read_arrays(paths[epoch]) for epoch in sorted(paths)}

    def draw() -> list[Markup]:
        found = [{name: arrays[kind] for name, arrays in [*earlier.items(), ("at the end", last)] if kind in arrays}
                 for kind in ("reconstructed", "generated")]  # fmt: skip
        captions = (
            ("reconstructed from epoch to epoch", "The same examples, reconstructed.", "The original is the input."),
            (
                "decoded from epoch to epoch",
                "The same latents, decoded.",
                "Drawn once from the prior; no input was seen.",
            ),
        )
        rows = [{"original": last["original"], **found[0]}, found[1]]
        return [example_rows(each, *words) for each, words in zip(rows, captions, strict=True) if len(each) > 1]

    return [section("Layer 1: from epoch to epoch", draw_or_explain("the pictures of earlier epochs", draw))]


def _epoch(path: Path) -> int:
    found = re.search(r"\d+$", path.stem)
    return int(found[0]) if found else 0
