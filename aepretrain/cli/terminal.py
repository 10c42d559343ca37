"""Terminal output: tables of the plan and the results of a run."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from torch import nn

from aepretrain.console import console, print_line
from aepretrain.data.budget import format_bytes
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.results.classifier import Measurement
from aepretrain.results.comparison import ArmResult, ComparisonResult
from aepretrain.results.run import PatternCode, RunResult
from aepretrain.runs.experiment import Experiment

BYTES_PER_VALUE = 4
COPIES_WHILE_TRAINING = 4
"""Copies of the parameters during training: weights, gradients, and the two moments of Adam."""


@rank_zero_only
def print_results(results: RunResult, out: Path) -> None:
    """Print the results of a run: a table of the stages, the classifier's metrics, and the paths of the files."""
    columns = ("stage", "shape", "epochs", "time", "nats", "active", "dead", "identity")
    table = _table("greedy pretraining: reconstruction in nats on validation data", columns, words=2)
    for stage in results.stages:
        table.add_row(
            stage.stage,
            f"{_shape(stage.in_shape)} > {_shape(stage.code_shape)}",
            str(stage.epochs),
            f"{stage.seconds:.0f} s",
            f"{stage.losses.reconstruction:.4g}",
            _number(stage.diagnostics.get("active_share"), ".0%"),
            _number(stage.diagnostics.get("dead_units"), ".0f"),
            _number(stage.diagnostics.get("identity_score"), ".2f"),
        )
    console.print(table)
    if results.patterns is not None:
        _print_patterns(results.patterns)
    if (classifier := results.classifier) is not None:
        print_classifier(classifier.validation, classifier.test)
        if classifier.weights_arrived:
            console.print("the pretrained weights were in the classifier before its first step, bit for bit")
    console.print(f"encoder  {out / 'encoder'}", markup=False)
    console.print(f"results  {out / 'results.json'}", markup=False)
    _print_report(out)


@rank_zero_only
def print_classifier(validation: Measurement, test: Measurement) -> None:
    """Print accuracy, error and loss of a classifier on validation and test data."""
    table = _table("classifier", ("data", "examples", "accuracy", "error", "loss"), words=1)
    for split, found in (("validation", validation), ("test", test)):
        metrics = (f"{found.accuracy:.2%}", f"{found.error:.2%}", f"{found.loss:.4f}")
        table.add_row(split, str(found.examples), *metrics)
    console.print(table)


def _print_patterns(patterns: Sequence[PatternCode]) -> None:
    table = _table("codes", ("pattern", "code", "answer"), words=2)
    for row in patterns:
        table.add_row(str(row.pattern), "  ".join(f"{value:5.2f}" for value in row.code), str(row.answer))
    console.print(table)
    solved = sum(row.solved for row in patterns)
    console.print(f"{solved} of {len(patterns)} patterns come back as they went in")


@rank_zero_only
def print_data(experiment: Experiment, stack: GreedyStack) -> None:
    """Print what was read, and what is likely to disappoint."""
    for note in experiment.data.notes:
        print_line(f"data: {note}")
    for warning in experiment.warnings(stack):
        print_line(f"warning: {warning}")


def print_plan(experiment: Experiment, stack: GreedyStack) -> None:
    """Print the plan of a run: its data, its stages, and the disk space and memory it needs."""
    facts = experiment.describe_data()
    console.print(
        f"{facts.name}: {facts.unlabelled:,} unlabelled, {facts.labelled:,} labelled, "
        f"{facts.validation:,} validation, {facts.test:,} test examples of shape {facts.in_shape}"
    )
    table = _table("plan", ("stage", "shape", "parameters", "epochs", "batch", "steps"), words=2)
    parameters = []
    for k, (stage, layer) in enumerate(zip(stack.stages, stack, strict=True)):
        epochs, batch_size, _ = experiment.pretrain.of_layer(k, len(stack.layers))
        parameters.append(_count(layer))
        shape = f"{_shape(layer.in_shape)} > {_shape(layer.code_shape)}"
        _add_stage(table, stage, shape, parameters[-1], epochs, batch_size, facts.unlabelled)
    if experiment.has_classifier:
        classifier = experiment.build_classifier(stack.encoder)
        parameters.append(_count(classifier))
        shape = f"{_shape(stack.in_shape)} > {classifier.num_classes} classes"
        finetune = experiment.finetune
        _add_stage(table, "classifier", shape, parameters[-1], finetune.epochs, finetune.batch_size, facts.labelled)
    console.print(table)
    codes = stack.disk_for_codes(experiment.data, experiment.pretrain, experiment.seed)
    disk = sum(parameters) * (COPIES_WHILE_TRAINING + 1) * BYTES_PER_VALUE + codes
    examples = facts.unlabelled + facts.validation + facts.test
    widths = [stack.in_shape, *(layer.code_shape for layer in stack)]
    sizes = [math.prod(width) * examples * BYTES_PER_VALUE for width in widths]
    memory = sizes[0] + max(a + b for a, b in pairwise(sizes))
    limit = experiment.data.memory_limit
    memory = memory if limit is None else min(memory, limit)
    memory += max(parameters) * COPIES_WHILE_TRAINING * BYTES_PER_VALUE
    console.print(f"disk about {format_bytes(disk)}, memory about {format_bytes(memory)} beside the program itself")
    if codes:
        console.print(
            f"{format_bytes(codes)} of the disk are for codes that do not fit data.memory_budget, while it runs"
        )


def _table(title: str, columns: Sequence[str], *, words: int) -> Table:
    """A table that fits 80 columns; the first ``words`` columns are text, the others numbers."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < words else "right", no_wrap=True)
    return table


def _add_stage(
    table: Table, stage: str, shape: str, parameters: int, epochs: int, batch_size: int, examples: int
) -> None:
    steps = -(-examples // batch_size) * epochs
    table.add_row(stage, shape, f"{parameters:,}", str(epochs), str(batch_size), f"{steps:,}")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def print_comparison(summary: ComparisonResult, out: Path) -> None:
    """Print the verdicts, then a table of all arms per label budget."""
    budgets = summary.budgets
    for budget in budgets:
        for verdict, subject in (
            (budget.verdict, "pretraining"),
            (budget.longer_verdict, "pretraining at equal compute"),
            (budget.control_verdict, "pretraining the control"),
        ):
            if verdict:
                says = "" if verdict.startswith(("helps", "hurts")) else ":"
                console.print(f"{subject}{says} {verdict}", markup=False)
    title = "test accuracy in %: mean ± standard deviation over seeds"
    table = _table(title, ["labels", *(str(budget.labels) for budget in budgets)], words=1)
    for arm in budgets[0].arms:
        best = ["bold" if budget.best == arm else "" for budget in budgets]
        means = [_mean_and_spread(budget.arms[arm]) for budget in budgets]
        table.add_row(arm, *(Text(mean, style) for mean, style in zip(means, best, strict=True)))
    table.add_section()
    table.add_row("sampling error", *(f"± {100 * budget.sampling_error:.1f}" for budget in budgets))
    table.add_row("seeds", *(str(max(row.seeds for row in budget.arms.values())) for budget in budgets))
    console.print(table)
    chosen = f"{summary.combinations} settings and the epoch" if summary.combinations > 1 else "the epoch"
    console.print(
        f"{chosen} chosen on {summary.validation_examples:,} validation labels; "
        f"tested once per cell on {summary.test_examples:,} examples",
        markup=False,
    )
    console.print(summary.splits_text, markup=False)
    console.print(f"results  {out / 'results.csv'}", markup=False)
    _print_report(out)


def _print_report(out: Path) -> None:
    if (out / "report.html").is_file():
        console.print(f"report   {out / 'report.html'}", markup=False)


def _mean_and_spread(row: ArmResult) -> str:
    spread = "" if math.isnan(row.std) else f" ± {100 * row.std:.1f}"
    return f"{100 * row.mean:.1f}{spread}"
