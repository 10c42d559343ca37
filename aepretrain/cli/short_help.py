"""``aepretrain VERB --help``: the settings of a verb on two screens, the common ones first, without importing torch."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aepretrain.cli.docstrings import class_options
from aepretrain.cli.options import CONFIG, CONTROL, DESCRIPTIONS, OWN, SETTINGS, Option

WIDTH = 80
COLUMN = 30
"""Where the texts begin."""
FROM_THE_RUN = ("--classifier.code_features",)
"""What the run, and no config, gives."""
COMMON = (
    "--data", "--data.labels", "--data.unlabelled", "--layers", "--pretrain.epochs", "--classifier.dropout",
    "--finetune.epochs", "--warm_start", "--seed", "--trainer.accelerator", "--report",
)  # fmt: skip
"""The settings that most runs change."""
GROUPS = {
    "data": ("data/base.py", "DataModule"),
    "pretrain": ("training/options.py", "Pretraining"),
    "classifier": ("heads/classification.py", "Classifier"),
    "finetune": ("training/options.py", "FineTuning"),
    "trainer": ("training/options.py", "TrainerOptions"),
    "checkpoint": ("training/options.py", "Saving"),
    "compare": ("compare/options.py", "Comparison"),
    "wandb": ("tracking/options.py", "WandbOptions"),
}
"""Where the settings of each group are declared."""
SECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "fit": {
        "pretraining; a list has one value per layer": ("pretrain",),
        "classifier": ("classifier",),
        "fine-tuning": ("finetune",),
        "devices, saving and logging": ("trainer", "checkpoint", "wandb", "other"),
    },
    "compare": {"comparison": ("compare",)},
}
"""The titles and groups of the settings that the help of a verb shows below the common ones."""
RARE = (
    "--data.split_seed", "--pretrain.codes", "--pretrain.freeze_layers", "--pretrain.picture_epochs",
    "--pretrain.unroll", "--head", "--warm_start_layers", "--warm_start_sha256",
    "--classifier.layer_lr_decay", "--trainer.strategy", "--trainer.num_nodes", "--trainer.engine",
    "--trainer.gradient_clip_val", "--trainer.accumulate", "--trainer.chunk_steps", "--trainer.steps",
    "--trainer.float32_matmul", "--checkpoint.every_steps", "--checkpoint.keep_last", "--on_nan", "--callbacks",
    "--wandb.entity",
    "--wandb.group", "--wandb.name", "--wandb.tags", "--wandb.report",
)  # fmt: skip
"""Settings that the help names without a text."""


def short_help(verb: str) -> str:
    """The help of a verb.

    Example:
        >>> print(short_help("report").splitlines()[0])
        usage: aepretrain report DIR
    """
    parts = [f"usage: {_usage(verb)}", *textwrap.wrap(DESCRIPTIONS[verb], WIDTH)]
    blocks = [[parts[0]], parts[1:], *(_block(title, options) for title, options in sections(verb))]
    return "\n\n".join("\n".join(block) for block in [*blocks, _ending(verb)] if block) + "\n"


def sections(verb: str) -> Iterator[tuple[str, list[Option]]]:
    """The titles and options of the help of a verb."""
    own = [CONFIG, *OWN[verb]] if verb in ("fit", "compare", "validate") else list(OWN[verb])
    shown = SECTIONS.get(verb, {})
    common = [option for name in COMMON for option in group_options(_group(name)) if option.name == name]
    yield ("common settings" if verb == "fit" else "arguments"), [*own, *(common if verb == "fit" else [])]
    for title, groups in shown.items():
        options = [option for group in groups for option in group_options(group)]
        yield title, [option for option in options if option.name not in (*COMMON, *RARE)]


def group_options(name: str) -> list[Option]:
    """The settings of a group with their defaults; of ``other``, those of no group."""
    if name == "other":
        return list(SETTINGS.values())
    options = class_options(*GROUPS[name], f"--{name}.")
    if name == "classifier":
        options += class_options("heads/base.py", "Head", "--classifier.")
    return [option for option in options if option.name not in FROM_THE_RUN]


def _group(name: str) -> str:
    group, is_inner, _ = name.removeprefix("--").partition(".")
    return group if is_inner else "other"


def _usage(verb: str) -> str:
    if verb == "init":
        return "aepretrain init --data PATH [--target COLUMN] --out FILE"
    if verb == "completion":
        return "aepretrain completion bash|zsh|fish"
    if verb == "list":
        return "aepretrain list [FOLDER]"
    positional = [option.value for option in OWN[verb] if not option.name.startswith("-")]
    if positional:
        rows = " --data PATH --out FILE"
        needed = {"export": " --out PATH", "sample": " --out FILE", "encode": rows, "predict": rows}
        more = " [--NAME VALUE ...]" if len(OWN[verb]) > len(positional) else ""
        return f"aepretrain {verb} {' '.join(positional)}{needed.get(verb, '')}{more}"
    out = {"fit": " [--out DIR]", "compare": " --out DIR"}.get(verb, "")
    return f"aepretrain {verb} --config FILE{out} [--NAME VALUE ...]"


def _ending(verb: str) -> list[str]:
    if verb not in ("fit", "compare", "validate"):
        return []
    others = {
        "fit": f"--help-all lists the rest, with types and known classes: {', '.join(RARE)}.",
        "compare": "All settings of aepretrain fit but --out and --resume apply, too: see aepretrain fit --help. "
        f"{CONTROL.name} LIST and other settings that begin with --control are those of {CONTROL.help}. --help-all "
        "lists all.",
        "validate": "All settings of aepretrain fit apply: see aepretrain fit --help. --help-all lists all.",
    }[verb]
    classes = "--data.help NAME, --layers.help NAME and --classifier.optimizer.help NAME explain a class."
    return [line for text in (others, classes) for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False)]


def _block(title: str, options: Sequence[Option]) -> list[str]:
    return [f"{title}:", *(line for option in options for line in _lines(option))]


def _lines(option: Option) -> Iterable[str]:
    """An option and its text, which begins on the same line if the option is short enough."""
    head = f"  {option.name} {option.value}".rstrip() if option.name.startswith("-") else f"  {option.value}"
    text = option.help if option.default in (None, [], {}) else f"{option.help} [{_shown(option.default)}]"
    lines = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False)
    if len(head) < COLUMN:
        yield f"{head:<{COLUMN}}{lines.pop(0)}"
    else:
        yield head
    yield from (" " * COLUMN + line for line in lines)


def _shown(default: Any) -> str:
    """A default as a config has it; of a class its name."""
    if isinstance(default, dict) and "class_path" in default:
        return str(default["class_path"])
    if isinstance(default, list):
        return ", ".join(map(_shown, default))
    return default if isinstance(default, str) else json.dumps(default)
