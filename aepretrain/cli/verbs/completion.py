"""``aepretrain completion``: print a script by which a shell completes the command."""

from collections.abc import Sequence

from aepretrain.cli.completion import SCRIPTS
from aepretrain.cli.own_options import parse_own


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    usage = "|".join(SCRIPTS)
    shell = parse_own("completion", arguments, usage, {"shell": {"choices": list(SCRIPTS)}}).shell
    print(SCRIPTS[shell](), end="")
