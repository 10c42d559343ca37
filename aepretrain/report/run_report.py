"""The HTML report of a single run."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup

from aepretrain.report.colours import PLACEHOLDERS
from aepretrain.report.confusion import confusion_table, most_confused
from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.inline import inline_svg
from aepretrain.report.markup import fill
from aepretrain.report.page import (
    figure,
    heading,
    headline,
    missing,
    page,
    paragraph,
    row,
    section,
    table,
    warnings_list,
    write_page,
)
from aepretrain.report.predictions import predictions_figure
from aepretrain.report.pretraining import draw_losses, pretraining_sections
from aepretrain.report.provenance import provenance_section
from aepretrain.report.run_files import Curve, last_curves, read_results
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.results import figures
from aepretrain.results.classifier import Measurement
from aepretrain.results.head import HeadResult
from aepretrain.results.predictions import Predictions
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.regressor import RegressionMeasurement, RegressorResult
from aepretrain.results.run import RunResult
from aepretrain.results.statistics import sampling_error

ONCE = "The test set was read once, at the end."
ONE_RUN = (
    "One run does not say whether pretraining helped: that takes the same network from random weights, over several "
    "seeds, which aepretrain compare runs."
)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return any((folder / name).is_file() for name in ("results.json", "metrics.jsonl"))


def write_run_report(folder: Path, neighbours: NeighbourEmbeddings | None = None) -> Path:
    """Write ``report.html`` of a run from its files; missing parts are left out, and the report gives the reason.

    Args:
        folder: Run directory.
        neighbours: t-SNE of its codes, if it has begun.

    Returns:
        The path of the report.

    Raises:
        StorageError: If a file is damaged or the report cannot be written.
    """
    results = read_results(folder)
    curves = last_curves(folder)
    name = "A run" if results is None else results.data.name
    parts = [
        heading(f"{name}: pretrained layer by layer", 1),
        paragraph(_facts(results), "facts"),
        warnings_list(() if results is None else results.warnings or ()),
        *_answer(results),
        *pretraining_sections(folder, neighbours),
        *_head(folder, results, curves),
        provenance_section(folder, results),
        fill("<footer>{}</footer>", _which_data(results)),
    ]
    return write_page(folder / "report.html", page(f"{name} · aepretrain", parts))


def _facts(results: RunResult | None) -> str:
    if results is None:
        return "This run has not finished: what its files say so far."
    data = results.data
    network = ""
    if layers := [stage for stage in results.stages if stage.stage != UNROLLED]:
        widths = [math.prod(layers[0].in_shape), *(math.prod(layer.code_shape) for layer in layers)]
        network = f"{'-'.join(map(str, widths))} network, "
    counts = f"{data.unlabelled:,} unlabelled, {data.labelled:,} labelled, {data.validation:,} validation"
    return f"{network}{counts}, {data.test:,} test examples, seed {results.seed}, {results.device}"


def _answer(results: RunResult | None) -> list[Markup]:
    """The headline: test and validation error, or the reason why there are none."""
    if results is not None and results.regressor is not None:
        found = {"test": results.regressor.test, "validation": results.regressor.validation}
        cards = [(f"{name} R²", f"{each.r2:.3f}", _with_r2_error(each), "") for name, each in found.items()]
        return [headline(cards), paragraph(f"{figures.R2_WORDS} {ONCE} {ONE_RUN}")]
    if results is not None and results.classifier is None and results.reconstruction is not None:
        splits = {"test": results.reconstruction.test, "validation": results.reconstruction.validation}
        cards = [
            (f"{name} squared error", figures.nats(found.squared_error), f"{figures.nats(found.nats)} nats", "")
            for name, found in splits.items()
        ]
        return [headline(cards), paragraph(f"Of reconstructions through all layers. {ONCE} {ONE_RUN}")]
    if results is None or results.classifier is None:
        why = missing(_no_classifier(results))
        solved = [pattern.solved for pattern in (results and results.patterns) or ()]
        if solved:
            cards = [("patterns that come back", f"{sum(solved)} of {len(solved)}", "through encoder and decoder", "")]
            return [headline(cards), why]
        return [why]
    cards = [
        (f"{name} error", f"{found.error:.2%}", _with_error(found), "")
        for name, found in (("test", results.classifier.test), ("validation", results.classifier.validation))
    ]
    return [headline(cards), paragraph(f"{ONCE} {ONE_RUN}")]


def _with_error(found: Measurement) -> str:
    points = 100 * sampling_error(found.accuracy, found.examples)
    return f"± {points:.2f} points from the sampling of {found.examples:,} examples"


def _with_r2_error(found: RegressionMeasurement) -> str:
    error = figures.number(found.sampling_error, ".3f")
    return f"± {error} from the sampling of {found.examples:,} examples; RMSE {figures.number(found.rmse, '.4g')}"


def _head(folder: Path, results: RunResult | None, curves: Mapping[str, Curve]) -> list[Markup]:
    """The section on the head."""
    if results is None or results.regressor is None:
        return [section("Classifier", *_classifier(results, curves))]
    return [section("Regressor", *_regressor(folder, results.regressor, curves))]


def _regressor(folder: Path, found: RegressorResult, curves: Mapping[str, Curve]) -> list[Markup]:
    """Metrics, curves and predictions of the regressor."""
    columns, rows = figures.regression_table({"validation": found.validation, "test": found.test})
    pictures = [draw_or_explain("the learning curves of the regressor", lambda: _curves(curves, found.kept_epoch))]
    if (predictions := Predictions.read(folder / "stages" / "regressor")) is not None:
        draw = partial(predictions_figure, predictions, "predictions", "Predicted and true values on test data.")
        pictures.append(draw_or_explain("the predictions", draw))
    return [table(columns, rows), paragraph(_how_trained(found)), row(pictures, "wide")]


def _how_trained(found: HeadResult) -> str:
    words = "frozen encoder, head alone trained" if found.frozen_encoder else "fine-tuned end to end"
    sentence = f"{found.epochs} epochs, {words}; the weights of epoch {found.kept_epoch}, counted from 0, were kept."
    if found.weights_arrived:
        sentence += " Before its first step it held the pretrained weights, bit for bit."
    return sentence


def _no_classifier(results: RunResult | None) -> str:
    if results is None:
        return "There is no classifier yet: the run has not finished."
    if results.data.classes is None:
        return "There is no classifier: the data have no labels."
    return "There is no classifier: the run only pretrained."


def _classifier(results: RunResult | None, curves: Mapping[str, Curve]) -> list[Markup]:
    """Accuracies, curves and confusion matrix of the classifier."""
    if results is None or results.classifier is None:
        return [missing(_no_classifier(results))]
    found, names = results.classifier, results.data.class_names
    columns, rows = figures.measurement_table({"validation": found.validation, "test": found.test})
    pictures = [
        draw_or_explain("the learning curves of the classifier", lambda: _curves(curves, found.kept_epoch)),
        draw_or_explain("the confusion matrix", lambda: _confusion(found.test.confusion_matrix, names)),
    ]
    return [table(columns, rows), paragraph(_how_trained(found)), _recall(results), row(pictures, "wide")]


def _recall(results: RunResult) -> Markup:
    """Table of recall per class; empty if there are too many classes."""
    assert results.classifier is not None
    found = results.classifier
    columns, rows = figures.recall_table(found.validation, found.test, results.data.class_names)
    return heading("Recall of each class") + table(columns, rows) if rows else Markup("")


def _curves(curves: Mapping[str, Curve], kept: int) -> Markup:
    shown = {name: curve for name, curve in curves.items() if name in ("train/loss", "val/loss")}
    if not shown:
        return missing("There are no curves of the head: metrics.jsonl is empty or missing.")
    chart = draw_losses(shown, PLACEHOLDERS, kept_epoch=kept)
    words = ""
    for key, name, form in (("val/error", "error", ".1%"), ("val/r2", "R²", ".3f")):
        if key not in curves:
            continue
        values = curves[key]
        first = next(iter(values))
        words = f"Validation {name} is {values[first]:{form}} after epoch {first}"
        if kept in values:
            words += f" and {values[kept]:{form}} after epoch {kept}, whose weights were kept"
        words += "; epochs are counted from 0."
    return figure(inline_svg(chart, "curves-head", "Losses of the head over its epochs"), "Loss.", words)


def _confusion(matrix: list[list[int]], names: Sequence[str] | None) -> Markup:
    if len(matrix) > figures.MAX_CLASSES:
        return missing(f"{len(matrix)} classes are too many for a matrix. {most_confused(matrix, names)}")
    body = confusion_table(np.array(matrix), "series-0", names)
    words = f"Rows are the true classes, columns the answers. {most_confused(matrix, names)}"
    return figure(body, "Confusion on test data.", words)


def _which_data(results: RunResult | None) -> str:
    if results is not None and results.head is None and results.reconstruction is not None:
        return (
            "The test errors of reconstruction are of test data, which were read once, after every choice was made. "
            "All other figures and pictures are of training and validation data."
        )
    if results is None or results.head is None:
        return "All figures and pictures are of training and validation data; no test example was read."
    which = "The test error and the confusion matrix" if results.classifier else "The test metrics and the predictions"
    return (
        f"{which} are of test data, which were read once, after every choice was made. "
        "All other figures and pictures are of training and validation data."
    )
