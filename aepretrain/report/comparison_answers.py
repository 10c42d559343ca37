"""The section on the answers of a comparison: confusion matrices, predictions of real targets, reconstructions."""

from functools import partial
from typing import Any

from markupsafe import Markup
from numpy.typing import NDArray

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.colours import PLACEHOLDERS, arm_colours
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.confusion import confusion_table, most_confused
from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.example_rows import example_rows
from aepretrain.report.markup import join
from aepretrain.report.page import figure, missing, paragraph, row, section
from aepretrain.report.predictions import predictions_figure
from aepretrain.results.figures import MAX_CLASSES
from aepretrain.results.run import RunResult


def answers_section(files: ComparisonFiles, facts: RunResult | None) -> Markup:
    """The section on single answers: confusion matrices, predictions of real targets, or reconstructions.

    Args:
        files: The comparison.
        facts: Results of a run that name the classes; ``None``: there are none.
    """
    if files.metric.name == "r2":
        draw = partial(_predictions, files)
        return section("Predictions on test data, of all seeds", draw_or_explain("the predictions", draw))
    if files.metric.name == "squared_error":
        pictures = draw_or_explain("the reconstructions", partial(_reconstructions, files))
        return section("Reconstructions of validation examples, of the first seed", pictures)
    title = "Confusion on test data, summed over seeds"
    return section(title, draw_or_explain("the confusion matrices", lambda: _confusion(files, facts)))


def _predictions(files: ComparisonFiles) -> Markup:
    """Charts of predicted and true values: a row per paired arm, with a chart per label budget."""
    rows, colours = [], _series(files)
    for arm in (arm for pair in files.pairs for arm in pair):
        found = {labels: files.predictions(arm, labels) for labels in files.labels}
        rows.append(
            [
                predictions_figure(each, f"predictions-{arm}-{labels}", f"{arm}, {labels} labels.", colours[arm])
                for labels, each in found.items()
                if each is not None
            ]
        )
    if not any(rows):
        return missing("No predictions: they need the arms pretrained and random.")
    return join(map(row, rows))


def _reconstructions(files: ComparisonFiles) -> Markup:
    """Validation inputs above what comes back from the codes of each arm."""
    found = {arm: files.pictures(arm, labels) for labels in files.labels for arm in _series(files)}
    rows: dict[str, NDArray[Any]] = {}
    for arm, arrays in found.items():
        if {"original", "reconstructed"} <= arrays.keys():
            rows |= {"original": arrays["original"], arm: arrays["reconstructed"]}
    if not rows:
        return missing("The inputs are neither pictures nor windows, so there is nothing to look at.")
    title = "Reconstructed through all layers."
    return example_rows(rows, "validation examples by arm", title, "The nearer to the original, the better.")


def _confusion(files: ComparisonFiles, facts: RunResult | None) -> Markup:
    """Confusion matrices: a row per paired arm, with a matrix per label budget."""
    figures: dict[str, list[Markup]] = {}
    names = None if facts is None else facts.data.class_names
    colours = {arm: f"series-{PLACEHOLDERS.series.index(c)}" for arm, c in _series(files).items()}
    for arm in (arm for pair in files.pairs for arm in pair):
        for labels in files.labels:
            matrix = files.confusion(arm, labels)
            if matrix is None:
                continue
            if len(matrix) > MAX_CLASSES:
                return missing(f"{len(matrix)} classes are too many for a matrix; results.json of each cell has it.")
            body = confusion_table(matrix, colours[arm], names)
            figures.setdefault(arm, []).append(figure(body, f"{arm}, {labels} labels.", most_confused(matrix, names)))
    if not figures:
        return missing("No confusion matrices: they need the arms pretrained and random.")
    return paragraph("Rows are the true classes, columns the answers.") + join(map(row, figures.values()))


def _series(files: ComparisonFiles) -> dict[str, str]:
    colours = arm_colours(files.arms, PLACEHOLDERS)
    return {arm: colour for arm, colour in colours.items() if arm not in BASELINES}
