"""``aepretrain validate``: check a config and print the plan of its run."""

from collections.abc import Sequence

from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.terminal import print_data, print_plan
from aepretrain.compare import check_comparison, complete
from aepretrain.training.recovery.signals import stop_at_signal


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parsed = parse(build_parser("validate"), arguments, own=())
    experiment, comparison = parsed.experiment, parsed.comparison
    with stop_at_signal("while the data were looked at"):
        stack = experiment.prepare()
        if not comparison.has_default_cells:
            check_comparison(experiment, complete(comparison, experiment), parsed.control, parsed.trials)
    print_plan(experiment, stack)
    print_data(experiment, stack)
