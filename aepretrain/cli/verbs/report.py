"""``aepretrain report``: write the single-file report again from the files of a run or comparison."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.cli.options import DESCRIPTIONS, OWN
from aepretrain.console import print_line
from aepretrain.errors import ConfigError
from aepretrain.report.comparison_report import is_comparison, write_comparison_report
from aepretrain.report.run_report import is_run, write_run_report
from aepretrain.runs.drawing import drawing_report


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = ArgumentParser(prog="aepretrain report", description=DESCRIPTIONS["report"], exit_on_error=False)
    (option,) = OWN["report"]
    parser.add_argument(option.name, type=Path, **option.keywords)
    try:
        folder: Path = parser.parse_args(list(arguments)).directory
    except ArgumentError as error:
        raise ConfigError(f"{' '.join(str(error).split())}. Usage: aepretrain report DIR") from error
    if not (is_comparison(folder) or is_run(folder)):
        raise ConfigError(f"{folder} is neither a run nor a comparison. Name a directory that fit or compare wrote.")
    with drawing_report(folder):
        print_line("drawing the report")
        path = write_comparison_report(folder) if is_comparison(folder) else write_run_report(folder)
    print_line(f"report   {path}")
