"""The section on the learning curves of a comparison."""

from collections.abc import Iterable, Mapping, Sequence

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


def learning_curves(files: ComparisonFiles) -> Markup:
    """Charts of validation error, or of what R² leaves unexplained, one per pair of arms and label budget."""
    figures = []
    for pair in files.pairs:
        for labels in files.labels:
            curves = {arm: _errors(files, arm, labels) for arm in pair}
            if all(curves.values()):
                figures.append(_curve(files, pair, labels, curves))
    if not figures:
        return missing("No curves: they need the arms pretrained and random, with at least one finished seed each.")
    return row(figures) + paragraph("Thin lines are seeds; a thick line is their mean until the first seed stopped.")


def _errors(files: ComparisonFiles, arm: str, labels: Labels) -> list[Curve]:
    """Curves of the validation error, or of 1 - R²."""
    if files.metric.name == "accuracy":
        return files.curves(arm, labels, "val/error")
    found = files.curves(arm, labels, "val/r2")
    return [{epoch: 1 - value for epoch, value in curve.items()} for curve in found]


def _curve(
    files: ComparisonFiles, pair: tuple[str, str], labels: Labels, curves: Mapping[str, Sequence[Curve]]
) -> Markup:
    words = f"{' and '.join(pair)} at {labels} labels"

    def draw() -> Markup:
        name = "Validation error" if files.metric.name == "accuracy" else "Unexplained variance (1 - R²)"
        chart = draw_overlaid_curves(curves, PLACEHOLDERS, files.arms, f"{name[0].lower()}{name[1:]} in %")
        svg = inline_svg(chart, f"curves-{pair[0]}-{labels}", f"{name} of {words}")
        return figure(svg, f"{labels} labels.", _curve_words(curves, name))

    return draw_or_explain(f"the learning curves of {words}", draw)


def _curve_words(curves: Mapping[str, Sequence[Curve]], name: str) -> str:
    words = [
        f"{arm} goes from {_mean(next(iter(curve.values())) for curve in found):.1%} "
        f"to {_mean(min(curve.values()) for curve in found):.1%}"
        for arm, found in curves.items()
    ]
    return f"{name}, first and best epoch, mean over seeds: {', '.join(words)}."


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
