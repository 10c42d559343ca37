"""The section on the learning curves of a comparison."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from aepretrain.report.colours import PLACEHOLDERS
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.comparison_pictures import draw_overlaid_curves
from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.inline import inline_svg
from aepretrain.report.page import figure, missing, paragraph, row
from aepretrain.report.run_files import Curve
from aepretrain.results.cell import Labels
from aepretrain.results.metric import MetricName


@dataclass(frozen=True)
class CurveOf:
    """The learning curve of a metric.

    Args:
        word: What the values are.
        unit: Their unit on the axis.
        form: Their format in a sentence.
        factor: What the axis multiplies them by.
        key: Name of the curve in ``metrics.jsonl``.
        training: The training whose epochs are counted.
        is_share: Whether 1 minus the values is shown.
    """

    word: str
    unit: str
    form: str
    factor: float
    key: str
    training: str = "fine-tuning"
    is_share: bool = False


CURVES: Mapping[MetricName, CurveOf] = {
    "accuracy": CurveOf("Validation error", " in %", ".1%", 100, "val/error"),
    "r2": CurveOf("Unexplained variance (1 - R²)", " in %", ".1%", 100, "val/r2", is_share=True),
    "squared_error": CurveOf("Validation loss", " in nats", ".4g", 1, "val/reconstruction", "training together"),
}
"""The curve of each metric that networks are trained for."""


def learning_curves(files: ComparisonFiles) -> Markup:
    """Charts of validation errors over epochs, one per pair of arms and label budget."""
    figures, shown = [], CURVES[files.metric.name]
    for pair in files.pairs:
        for labels in files.labels:
            curves = {arm: _errors(files, arm, labels, shown) for arm in pair}
            if all(curves.values()):
                figures.append(_curve(files, pair, labels, curves, shown))
    if not figures:
        return missing("No curves: they need the arms pretrained and random, with at least one finished seed each.")
    return row(figures) + paragraph("Thin lines are seeds; a thick line is their mean until the first seed stopped.")


def _errors(files: ComparisonFiles, arm: str, labels: Labels, shown: CurveOf) -> list[Curve]:
    found = files.curves(arm, labels, shown.key)
    return [{epoch: 1 - value for epoch, value in curve.items()} for curve in found] if shown.is_share else found


def _curve(
    files: ComparisonFiles, pair: tuple[str, str], labels: Labels, curves: Mapping[str, Sequence[Curve]], shown: CurveOf
) -> Markup:
    at = f"{labels} {files.metric.counted}"
    words = f"{' and '.join(pair)} at {at}"

    def draw() -> Markup:
        name = f"{shown.word[0].lower()}{shown.word[1:]}{shown.unit}"
        chart = draw_overlaid_curves(curves, PLACEHOLDERS, files.arms, name, factor=shown.factor, of=shown.training)
        svg = inline_svg(chart, f"curves-{pair[0]}-{labels}", f"{shown.word} of {words}")
        return figure(svg, f"{at}.", _curve_words(curves, shown))

    return draw_or_explain(f"the learning curves of {words}", draw)


def _curve_words(curves: Mapping[str, Sequence[Curve]], shown: CurveOf) -> str:
    words = [
        f"{arm} goes from {_mean(next(iter(curve.values())) for curve in found):{shown.form}} "
        f"to {_mean(min(curve.values()) for curve in found):{shown.form}}"
        for arm, found in curves.items()
    ]
    return f"{shown.word}, first and best epoch, mean over seeds: {', '.join(words)}."


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
