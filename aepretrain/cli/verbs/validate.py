"""``aepretrain validate``: check a config and print the plan of its run."""

from collections.abc import Sequence

from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.terminal import print_data, print_plan
from aepretrain.training.recovery.signals import stop_at_signal


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = build_parser("validate")
    experiment = parse(parser, arguments, own=()).experiment
    with stop_at_signal("while the data were looked at"):
        stack = experiment.prepare()
    print_plan(experiment, stack)
    print_data(experiment, stack)
