"""``aepretrain fit``: from a config to a run directory."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from aepretrain.config import build_parser, parse
from aepretrain.run_directory import choose_run_directory, log_to, record_command
from aepretrain.tables import print_results
from aepretrain.training.processes import is_first_process
from aepretrain.training.progress import say

DESCRIPTION = """\
Pretrain a stack of autoencoders layer by layer, save its encoder, fine-tune a classifier on it, and test it once.
Settings come from YAML files and from dotted arguments, such as --pretrain.epochs 5 or --data.labels 100.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with what follows it on the command line."""
    parsed = parse(build_parser("fit", DESCRIPTION, _add_own), arguments, own=("out",))
    configs = parsed.arguments.config or []
    name = Path(str(configs[-1])).stem if configs else parsed.experiment.data.name.lower()
    stack = parsed.experiment.prepare()
    out = choose_run_directory(parsed.arguments.out, name)
    if is_first_process():
        (out / "config.yaml").write_text(parsed.yaml, encoding="utf-8")
    record_command(out, "fit", arguments)
    with log_to(out / "train.log"):
        for warning in stack.warnings():
            say(f"warning: {warning}")
        say(f"run directory {out}")
        results = parsed.experiment.run(out, stack)
        print_results(results, out)


def _add_own(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, help="run directory; must be new or empty (default: runs/NAME-TIME)")
