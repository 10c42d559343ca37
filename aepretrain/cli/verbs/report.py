"""``aepretrain report``: write the single-file report again from the files of a run or comparison."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.console import print_line
from aepretrain.errors import ConfigError
from aepretrain.report.comparison_report import is_comparison, write_comparison_report
from aepretrain.report.run_report import is_run, write_run_report
from aepretrain.runs.drawing import drawing_report

DESCRIPTION = """\
Write report.html again from the files of a run or of a comparison: one file without outside references, with the
verdict first. Missing parts are left out, and the report lists them. Trains nothing and reads no data set.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = ArgumentParser(prog="aepretrain report", description=DESCRIPTION, exit_on_error=False)
    parser.add_argument("directory", type=Path, help="a run directory or the directory of a comparison")
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
