"""The report's section on inputs and codes in two dimensions, by PCA and t-SNE."""

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup

from aepretrain.report.drawing import draw_or_explain, explain
from aepretrain.report.embeddings import (
    MIN_POINTS,
    neighbours_agree,
    principal_components,
    reason_not_embedded,
    scatter,
)
from aepretrain.report.page import figure, missing, paragraph, row
from aepretrain.report.run_files import read_results
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.results.figures import short_name
from aepretrain.results.run import RunResult
from aepretrain.storage.array_files import read_arrays

QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
"""Labels of real targets, by rank from the lowest."""

Spaces = Mapping[str, np.ndarray]
"""Data of shape ``(N, D)`` by name."""


def begin_embeddings(folder: Path, neighbours: NeighbourEmbeddings) -> None:
    """Begin with t-SNE of the raw inputs and of the codes of each layer that a run kept, unless it has begun.

    What fails here fails again in :func:`embeddings`, which explains it: a picture costs no run.
    """
    with contextlib.suppress(Exception):
        spaces, _ = _read_spaces(folder)
        neighbours.begin(list(_embeddable(spaces).values()))


def embeddings(folder: Path, neighbours: NeighbourEmbeddings) -> list[Markup]:
    """Figures of PCA and t-SNE of the raw inputs and of the codes of each layer that a run kept.

    Args:
        folder: Run directory.
        neighbours: t-SNE, by :func:`begin_embeddings`.
    """
    spaces, labels = _read_spaces(folder)
    labels = _named(labels, read_results(folder))
    if not spaces:
        return [missing("No validation inputs were kept: the run has not come that far, or is an older one.")]
    words = draw_or_explain("the neighbours in the codes", lambda: _embedding_words(spaces, labels))
    pictures = draw_or_explain("t-SNE", lambda: _neighbours(spaces, labels, neighbours))
    return [words, row(_principal_components(spaces, labels), "small"), pictures]


def _read_spaces(folder: Path) -> tuple[Spaces, np.ndarray | None]:
    """The raw inputs and the codes of each layer that a run kept, with their labels; empty without any."""
    inputs = read_arrays(folder / "stages" / "inputs.npz")
    if "inputs" not in inputs:
        return {}, None
    spaces = {"raw inputs": inputs["inputs"]}
    for path in sorted(folder.glob("stages/*/samples.npz")):
        if (codes := read_arrays(path).get("codes")) is not None:
            spaces[f"codes of {path.parent.name}"] = codes
    return spaces, inputs.get("labels")


def _embeddable(spaces: Spaces) -> Spaces:
    """The data that t-SNE can embed."""
    if not spaces or len(spaces["raw inputs"]) < MIN_POINTS:
        return {}
    return {name: x for name, x in spaces.items() if reason_not_embedded(x, _kind(name)) is None}


def _named(labels: np.ndarray | None, results: RunResult | None) -> np.ndarray | None:
    """Labels as the names of their classes, if these have names; real targets as their quarters."""
    if labels is not None and labels.dtype.kind == "f":
        quarters = np.searchsorted(np.quantile(labels, (0.25, 0.5, 0.75)), labels)
        return np.array(QUARTERS, object)[quarters]
    if labels is None or results is None or results.data.class_names is None or labels.dtype.kind not in "iu":
        return labels
    names = [short_name(name) for name in results.data.class_names]
    are_known = not len(labels) or (labels.min() >= 0 and labels.max() < len(names))
    return np.array(names, object)[labels] if are_known else labels


def _principal_components(spaces: Spaces, labels: np.ndarray | None) -> list[Markup]:
    return [draw_or_explain(f"PCA of the {name}", partial(_scatter, name, x, labels)) for name, x in spaces.items()]


def _scatter(name: str, x: np.ndarray, labels: np.ndarray | None) -> Markup:
    """Figure of data by PCA; if they have no picture, the reason."""
    if (reason := reason_not_embedded(x, _kind(name))) is not None:
        return figure(Markup(""), f"PCA, {name}.", f"Left out: {reason}.")
    return _figure(name, "PCA", principal_components(x), labels)


def _neighbours(spaces: Spaces, labels: np.ndarray | None, neighbours: NeighbourEmbeddings) -> Markup:
    """Figures of data by t-SNE; if they have no picture, the reason."""
    if len(spaces["raw inputs"]) < MIN_POINTS:
        return missing(f"t-SNE is left out: it needs at least {MIN_POINTS} examples.")
    reasons = {name: reason_not_embedded(x, _kind(name)) for name, x in spaces.items()}
    shown = [name for name, reason in reasons.items() if reason is None]
    found = dict(zip(shown, neighbours.points(), strict=True))
    parts = []
    for name, reason in reasons.items():
        points = found.get(name)
        if reason is not None or points is None:
            parts.append(figure(Markup(""), f"t-SNE, {name}.", f"Left out: {reason}."))
        elif isinstance(points, str):
            parts.append(explain(f"t-SNE of the {name} could not be drawn: {points}."))
        else:
            draw = partial(_figure, name, "t-SNE", points, labels)
            parts.append(draw_or_explain(f"t-SNE of the {name}", draw))
    return row(parts, "small")


def _figure(name: str, method: str, points: np.ndarray, labels: np.ndarray | None) -> Markup:
    return figure(scatter(points, labels, f"{method} of {name}"), method, name)


def _kind(name: str) -> str:
    """What data of this name are: codes or raw inputs."""
    return name.split(" of ")[0]


def _embedding_words(spaces: Spaces, labels: np.ndarray | None) -> Markup:
    count = len(spaces["raw inputs"])
    if labels is None:
        return paragraph(f"{count} validation examples. The data have no labels, so the points have one colour.")
    agree = [f"{neighbours_agree(x, labels):.0%} in the {name}" for name, x in spaces.items() if len(x) > 1]
    by = "the quarter of their target" if set(labels.tolist()) <= set(QUARTERS) else "their label"
    return paragraph(
        f"{count} validation examples, coloured by {by}, which pretraining never saw. The nearest other "
        f"example, in all dimensions, has the same label for {', '.join(agree)}. In t-SNE, distances between clusters "
        "mean nothing."
    )
