"""A commented config for data that were looked at: sizes by stated rules, likelihood, noise, and what was noticed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from aepretrain.cli.first_look import FirstLook, value_range
from aepretrain.data import DataModule, Table
from aepretrain.data.words import count_of

STEPS = 2000
"""Steps that each layer and the classifier train for, about."""
BATCH = 32
EPOCHS = (5, 200)
"""Least and most epochs."""
WIDTHS = (64, 512)
"""Least and most units of the first layer."""
BUDGETS = (5, 20)
"""Labels per class of the label budgets of a comparison, beside all."""
REAL_BUDGETS = (50, 200)
"""Labels of the budgets where the target is real."""


def first_config(look: FirstLook, name: str) -> str:
    """The config as YAML with comments.

    Args:
        look: What was found; its data are read.
        name: The file that it is written to, for the commands in its comments.

    Example:
        >>> from aepretrain.cli.first_look import look_at
        >>> print(first_config(look_at("Digits", None), "digits.yaml").splitlines()[0])
        # Two denoising layers on Digits: 1,197 training examples of 64 features, 10 classes.
    """
    data = look.data
    splits = data.splits()
    features, training = math.prod(data.in_shape), len(splits.unlabelled)
    size = f"{training:,} training examples of {features:,} features"
    classes = f", {data.num_classes} classes" if data.num_classes else ", a real target" if data.num_targets else ""
    lengths = f"for {STEPS:,} steps per layer, but {EPOCHS[0]} epochs at least and {EPOCHS[1]} at most"
    width = min(max(2 ** math.ceil(math.log2(4 * features)), WIDTHS[0]), WIDTHS[1])
    lines = [
        _comment(f"Two denoising layers on {look.name}: {size}{classes}."),
        _comment(f"Next: aepretrain validate --config {name}, then fit or compare with --out DIR."),
        *(_comment(sentence) for sentence in (*data.notes, *look.hints)),
        *(_comment(f"Warning: {sentence}") for sentence in data.warnings),
        *_data(look),
        "layers:",
        *_layer(width, f"first layer: 4 x {features:,} features, as a power of 2 from {WIDTHS[0]} to {WIDTHS[1]}"),
        *_input_model(data),
        *_layer(width // 2, "second layer: half of the first"),
        "      corruption: {class_path: Masking, init_args: {p: 0.25}}",
        f"pretrain: {{epochs: {_epochs(training)}, batch_size: {BATCH}}}  # {lengths}",
        *_head(data, len(splits.train)),
    ]
    return "\n".join(lines) + "\n"


def _comment(sentence: str) -> str:
    return f"# {' '.join(sentence.split())}"


def _entry(name: str, value: Any) -> str:
    """A key with its value in one line, quoted where YAML needs it."""
    key, own = (
        yaml.safe_dump(each, default_flow_style=True, width=float("inf"), allow_unicode=True)
        .removesuffix("...\n")
        .strip()
        for each in (name, value)
    )
    return f"{key}: {own}"


def _data(look: FirstLook) -> Iterator[str]:
    if not look.settings:
        yield f"data: {look.data.name}"
        return
    yield f"data:\n  class_path: {look.data.name}\n  init_args:"
    for name, value in look.settings.items():
        remark = f"  {_comment(look.remarks[name])}" if name in look.remarks else ""
        if isinstance(value, Mapping):
            yield f"    {name}:  # what each column holds, found in all rows: numeric, boolean, date or category"
            yield from (f"      {_entry(column, kind)}" for column, kind in value.items())
        else:
            yield f"    {_entry(name, value)}{remark}"
    if isinstance(look.data, Table):
        yield "    transform: standardize  # of numbers and dates; or rank_gauss (long tails), minmax, none"


def _layer(width: int, remark: str) -> list[str]:
    return [
        "  - class_path: DenoisingAutoencoder",
        "    init_args:",
        f"      coder: {{class_path: Dense, init_args: {{features: {width}, activation: relu}}}}  # {remark}",
    ]


def _input_model(data: DataModule) -> list[str]:
    """Likelihood and noise of the first layer."""
    if defaults := data.layer_defaults:
        return [
            f"      # likelihood, left out, is that of the columns: {defaults['likelihood']}",
            f"      # corruption, left out, replaces values by those of other rows: {defaults['corruption']}",
        ]
    low, high = value_range(data)
    noise = "      corruption: {class_path: Masking, init_args: {p: 0.25}}"
    is_unit = low >= 0 and high <= 1
    reason = "values lie in [0, 1]" if is_unit else "values are real numbers"
    return [noise, f"      likelihood: {'Bernoulli' if is_unit else 'Gaussian'}  # {reason}"]


def _head(data: DataModule, labelled: int) -> list[str]:
    if data.num_classes is None and data.num_targets is None:
        return ["# without labels, nothing is fine-tuned: aepretrain encode writes codes and reconstruction errors"]
    budgets, rule = _budgets(data, labelled)
    listed = ", ".join(["null" if n is None else str(n) for n in (*budgets, None)])
    epochs = _epochs(labelled)
    return [
        f"finetune: {{epochs: {epochs}, batch_size: {BATCH}, patience: {max(5, epochs // 5)}}}",
        "compare:",
        "  seeds: 5  # each divides the data anew; more seeds make the intervals narrower",
        f"  labels: [{listed}]  # {rule} where there are twice as many; null is all",
        _comment(f"{count_of(labelled, 'labelled training example')}."),
    ]


def _budgets(data: DataModule, labelled: int) -> tuple[Sequence[int | None], str]:
    """Label budgets below all, and the rule that gives them."""
    if data.num_classes is None:
        return [n for n in REAL_BUDGETS if n <= labelled // 2], f"{REAL_BUDGETS[0]} and {REAL_BUDGETS[1]}"
    y = data.splits().train.y
    assert y is not None
    most = data.num_classes * int(y.bincount(minlength=data.num_classes).min())
    counts = [n * data.num_classes for n in BUDGETS]
    return [n for n in counts if n <= most // 2], f"{BUDGETS[0]} and {BUDGETS[1]} per class"


def _epochs(examples: int) -> int:
    """Epochs of about ``STEPS`` steps."""
    return min(max(math.ceil(STEPS / math.ceil(examples / BATCH)), EPOCHS[0]), EPOCHS[1])
