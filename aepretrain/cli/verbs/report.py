"""``aepretrain report``: write the single-file report again from the files of a run or comparison."""

from collections.abc import Sequence
from pathlib import Path

from aepretrain.cli.own_options import parse_own
from aepretrain.console import print_line
from aepretrain.errors import ConfigError
from aepretrain.report.comparison_report import is_comparison, write_comparison_report
from aepretrain.report.run_report import is_run, write_run_report
from aepretrain.runs.drawing import drawing_report


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    folder = Path(parse_own("report", arguments, "DIR").directory)
    if not (is_comparison(folder) or is_run(folder)):
        raise ConfigError(f"{folder} is neither a run nor a comparison. Name a directory that fit or compare wrote.")
    with drawing_report(folder):
        print_line("drawing the report")
        path = write_comparison_report(folder) if is_comparison(folder) else write_run_report(folder)
    print_line(f"report   {path}")
