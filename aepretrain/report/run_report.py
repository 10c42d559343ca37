"""The report of a single run."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from aepretrain.evaluation.statistics import sampling_error
from aepretrain.report.colours import STAND_INS
from aepretrain.report.confusion import MOST_CLASSES, confusion_table, most_confused
from aepretrain.report.inline import inline_svg
from aepretrain.report.page import figure, headline, missing, page, paragraph, row, section, table, write_page
from aepretrain.report.pretraining import draw_losses, pretraining_sections
from aepretrain.report.provenance import provenance_section
from aepretrain.report.run_files import Curve, read_curves, read_results

ONE_RUN = (
    "One run does not say whether pretraining helped: that takes the same network from random weights, over several "
    "seeds, which aepretrain compare runs."
)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return any((folder / name).is_file() for name in ("results.json", "metrics.jsonl"))


def write_run_report(folder: Path) -> Path:
    """Write ``report.html`` of a run from its files; what is missing is left out, and the report says why.

    Args:
        folder: A run directory.

    Returns:
        The path of the report.

    Raises:
        StorageError: If a file is damaged or the report cannot be written.
    """
    results = read_results(folder / "results.json")
    curves = read_curves(folder / "metrics.jsonl").get("classifier", {})
    name = results.get("data", {}).get("name", "A run")
    parts = [
        f"<h1>{escape(name)}: pretrained layer by layer</h1>",
        paragraph(_facts(results), "facts"),
        *_answer(results),
        *pretraining_sections(folder),
        section("Classifier", *_classifier(results, curves)),
        provenance_section(folder, results),
        f"<footer>{_which_data(results)}</footer>",
    ]
    return write_page(folder / "report.html", page(f"{name} · aepretrain", parts))


def _facts(results: Mapping[str, Any]) -> str:
    if not results:
        return "This run has not finished: what its files say so far."
    data = results.get("data", {})
    shapes = [results["stages"][0]["in_shape"], *(stage["code_shape"] for stage in results["stages"])]
    network = "-".join(str(int(np.prod(shape))) for shape in shapes) if results["stages"] else ""
    counts = [f"{data[split]:,} {split}" for split in ("unlabelled", "labelled", "validation", "test") if split in data]
    return f"{network} network, {', '.join(counts)} examples, seed {results.get('seed')}, {results.get('device')}"


def _answer(results: Mapping[str, Any]) -> list[str]:
    """The headline: test and validation error, or why there are none."""
    measured = results.get("classifier")
    if not measured:
        why = _no_classifier(results)
        solved = [pattern["solved"] for pattern in results.get("patterns", [])]
        if solved:
            cards = [("patterns that come back", f"{sum(solved)} of {len(solved)}", "through encoder and decoder", "")]
            return [headline(cards), missing(why)]
        return [missing(why)]
    test, validation = measured["test"], measured["validation"]
    cards = [
        (f"{name} error", f"{part['error']:.2%}", _with_error(part), "")
        for name, part in (("test", test), ("validation", validation))
    ]
    return [headline(cards), paragraph(f"The test set was read once, at the end. {ONE_RUN}")]


def _with_error(part: Mapping[str, Any]) -> str:
    points = 100 * sampling_error(part["accuracy"], part["examples"])
    return f"± {points:.2f} points from the sampling of {part['examples']:,} examples"


def _no_classifier(results: Mapping[str, Any]) -> str:
    if not results:
        return "There is no classifier yet: the run has not finished."
    if results.get("data", {}).get("classes") is None:
        return "There is no classifier: the data have no labels."
    return "There is no classifier: the run only pretrained."


def _classifier(results: Mapping[str, Any], curves: Mapping[str, Curve]) -> list[str]:
    """Curves, figures and confusion matrix of the classifier."""
    measured = results.get("classifier")
    if not measured:
        return [missing(_no_classifier(results))]
    columns = ("data", "examples", "accuracy", "error", "loss (nats)")
    rows = [
        (name, f"{part['examples']:,}", f"{part['accuracy']:.2%}", f"{part['error']:.2%}", f"{part['loss']:.4f}")
        for name, part in ((name, measured[name]) for name in ("validation", "test"))
    ]
    words = "frozen encoder, head alone trained" if measured["frozen_encoder"] else "fine-tuned end to end"
    arrived = measured.get("weights_arrived")
    sentence = f"{measured['epochs']} epochs, {words}; the weights of epoch {measured['kept_epoch'] + 1} were kept."
    if arrived:
        sentence += " Before its first step it held the pretrained weights, bit for bit."
    figures = [_curves(curves, measured["kept_epoch"]), _confusion(measured["test"]["confusion_matrix"])]
    return [table(columns, rows), paragraph(sentence), row(figures, "wide")]


def _curves(curves: Mapping[str, Curve], kept: int) -> str:
    shown = {name: curve for name, curve in curves.items() if name in ("train/loss", "val/loss")}
    if not shown:
        return missing("There are no curves of the classifier: metrics.jsonl is empty or missing.")
    chart = draw_losses(shown, STAND_INS, kept_epoch=kept)
    words = ""
    if "val/error" in curves:
        errors = curves["val/error"]
        first = next(iter(errors))
        words = f"Validation error is {errors[first]:.1%} after epoch {first + 1}"
        if kept in errors:
            words += f" and {errors[kept]:.1%} after epoch {kept + 1}, whose weights were kept"
        words += "."
    return figure(inline_svg(chart, "curves-classifier", "Losses of the classifier over its epochs"), "Loss.", words)


def _confusion(matrix: list[list[int]]) -> str:
    if len(matrix) > MOST_CLASSES:
        return missing(f"{len(matrix)} classes are too many for a matrix. {most_confused(matrix)}")
    body = confusion_table(np.array(matrix), "series-0")
    words = f"Rows are the true classes, columns the answers. {most_confused(matrix)}"
    return figure(body, "Confusion on test data.", words)


def _which_data(results: Mapping[str, Any]) -> str:
    if not results.get("classifier"):
        return "All figures and pictures are of training and validation data; no test example was read."
    return (
        "The test error and the confusion matrix are of test data, which were read once, after every choice was made. "
        "All other figures and pictures are of training and validation data."
    )
