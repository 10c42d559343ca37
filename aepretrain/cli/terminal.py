"""Terminal output: tables of the plan and the results of a run."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.text import Text
from torch import nn

from aepretrain.cli.tables import Row, print_table
from aepretrain.console import console, print_line
from aepretrain.data.budget import format_bytes
from aepretrain.evaluation.baselines import BASELINES
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.pretraining.unroll import unroll
from aepretrain.results import figures
from aepretrain.results.classifier import Measurement
from aepretrain.results.comparison import BudgetResult, ComparisonResult
from aepretrain.results.metric import Metric
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.regressor import RegressionMeasurement
from aepretrain.results.run import PatternCode, RunResult
from aepretrain.runs.experiment import Experiment

BYTES_PER_VALUE = 4
COPIES_WHILE_TRAINING = 4
"""Copies of the parameters during training: weights, gradients, and the two moments of Adam."""


IN_STAGES = ("epochs", "kept epoch", "seconds", "reconstruction", "active", "dead", "identity")
"""The figures of a stage on the terminal; the report has all."""


@rank_zero_only
def print_results(results: RunResult, out: Path) -> None:
    """Print the results of a run: a table of the stages, the classifier's metrics, warnings, and the paths of files."""
    columns, rows = figures.stage_table(results.stages, IN_STAGES)
    columns = [column.replace("reconstruction", "nats").replace("‖", "|") for column in columns]
    for stage, row in zip(results.stages, rows, strict=True):
        row[:0] = [stage.stage, f"{figures.shape(stage.in_shape)} > {figures.shape(stage.code_shape)}"]
    title = "greedy pretraining: reconstruction in nats on validation data; epochs are counted from 0"
    print_table(title, ["stage", "shape", *columns], rows, words=2)
    if results.patterns is not None:
        _print_patterns(results.patterns)
    if results.reconstruction is not None:
        print_line(results.reconstruction.summary)
    if (head := results.head) is not None:
        print_measurements(head.validation, head.test, results.data.class_names)
        print_line(f"the weights of epoch {head.kept_epoch} of 0 to {head.epochs - 1} were kept")
        if head.weights_arrived:
            name = "classifier" if results.classifier else "regressor"
            print_line(f"the pretrained weights were in the {name} before its first step, bit for bit")
    for warning in results.warnings or ():
        print_line(f"warning: {warning}")
    print_line(f"encoder  {out / 'encoder'}")
    print_line(f"results  {out / 'results.json'}")


@rank_zero_only
def print_measurements(
    validation: Measurement | RegressionMeasurement,
    test: Measurement | RegressionMeasurement,
    class_names: Sequence[str] | None = None,
) -> None:
    """Print metrics of a head on validation and test data, and the recall of each class if they are few."""
    if isinstance(validation, RegressionMeasurement):
        assert isinstance(test, RegressionMeasurement)
        columns, rows = figures.regression_table({"validation": validation, "test": test})
        print_table("regressor", columns, rows)
        print_line(figures.R2_WORDS)
        return
    assert isinstance(test, Measurement)
    columns, rows = figures.measurement_table({"validation": validation, "test": test})
    print_table("classifier", columns, rows)
    columns, rows = figures.recall_table(validation, test, class_names)
    if rows:
        print_table("recall of each class", columns, rows)


def _print_patterns(patterns: Sequence[PatternCode]) -> None:
    rows = [[str(row.pattern), "  ".join(f"{value:5.2f}" for value in row.code), str(row.answer)] for row in patterns]
    print_table("codes", ("pattern", "code", "answer"), rows, words=2)
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
    rows, parameters = [], []
    for k, (stage, layer) in enumerate(zip(stack.stages, stack, strict=True)):
        epochs, batch_size, _ = experiment.pretrain.of_layer(k, len(stack.layers))
        parameters.append(_count(layer))
        shape = f"{figures.shape(layer.in_shape)} > {figures.shape(layer.code_shape)}"
        epochs = 0 if k < experiment.pretrain.freeze_layers else epochs
        rows.append(_plan_of_stage(stage, shape, parameters[-1], epochs, batch_size, facts.unlabelled))
    if unrolled := experiment.pretrain.unroll:
        parameters.append(_count(unroll(list(stack))))
        shape = f"{figures.shape(stack.in_shape)} > {figures.shape(stack.code_shape)} > {figures.shape(stack.in_shape)}"
        rows.append(_plan_of_stage(UNROLLED, shape, parameters[-1], unrolled, batch_size, facts.unlabelled))
    if experiment.has_classifier:
        head = experiment.build_classifier(stack.encoder)
        parameters.append(_count(head))
        outputs = f"{facts.classes} classes" if facts.targets is None else "1 value"
        shape = f"{figures.shape(stack.in_shape)} > {outputs}"
        finetune = experiment.finetune
        lengths = (finetune.epochs, finetune.batch_size, facts.labelled)
        rows.append(_plan_of_stage(head.stage, shape, parameters[-1], *lengths))
    print_table("plan", ("stage", "shape", "parameters", "epochs", "batch", "steps"), rows, words=2)
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


def _plan_of_stage(stage: str, shape: str, parameters: int, epochs: int, batch_size: int, examples: int) -> list[str]:
    steps = -(-examples // batch_size) * epochs
    return [stage, shape, f"{parameters:,}", str(epochs), str(batch_size), f"{steps:,}"]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def print_comparison(summary: ComparisonResult, out: Path) -> None:
    """Print the verdicts, then tables of all arms per label budget and of their paired differences."""
    metrics = [summary, *summary.also]
    for each in metrics:
        _print_verdicts(each)
    for each in metrics:
        _print_figures(each)
    chosen = f"{summary.combinations} settings and the epoch" if summary.combinations > 1 else "the epoch"
    console.print(
        f"{chosen} chosen on {summary.validation_examples:,} validation {summary.measures.counted}; "
        f"tested once per cell on {summary.test_examples:,} examples",
        markup=False,
    )
    console.print(summary.splits_text, markup=False)
    for each in metrics:
        if each.measures.meaning:
            console.print(each.measures.meaning, markup=False)
        if better := each.better_baselines(BASELINES):
            console.print(better, markup=False)
    for warning in summary.warnings or ():
        print_line(f"warning: {warning}")
    console.print(f"results  {out / 'results.csv'}", markup=False)


def _print_verdicts(summary: ComparisonResult) -> None:
    for budget in summary.budgets:
        for verdict, subject in (
            (budget.verdict, "pretraining"),
            (budget.longer_verdict, "pretraining at equal compute"),
            (budget.control_verdict, "pretraining the control"),
        ):
            if verdict:
                says = "" if verdict.startswith(("helps", "hurts")) else ":"
                console.print(f"{subject}{says} {verdict}", markup=False)


def _print_figures(summary: ComparisonResult) -> None:
    budgets, metric = summary.budgets, summary.measures
    rows: list[Row] = [
        [arm, *(_mean_and_spread(budget, arm, metric) for budget in budgets)]
        for arm in dict.fromkeys(arm for budget in budgets for arm in budget.arms)
    ]
    rows.append(["sampling error", *(figures.sampling_error(budget, metric) for budget in budgets)])
    rows.append(["seeds", *(str(max(row.seeds for row in budget.arms.values())) for budget in budgets)])
    title = f"test {metric.title}: mean ± standard deviation over seeds"
    print_table(title, [metric.counted, *(str(budget.labels) for budget in budgets)], rows)
    if metric.name == "r2":
        print_table(figures.ERRORS_TITLE, *figures.errors_table(budgets))
    columns, differences = figures.differences_table(budgets, metric)
    if differences:
        named = [[f"{labels} {metric.counted}: {name}", *values] for labels, name, *values in differences]
        print_table(f"paired differences of test {metric.difference}", ["difference", *columns[2:]], named)


def _mean_and_spread(budget: BudgetResult, arm: str, metric: Metric) -> Text:
    found = budget.arms[arm]
    return Text(figures.mean_and_spread(found.mean, found.std, metric), "bold" if budget.best == arm else "")
