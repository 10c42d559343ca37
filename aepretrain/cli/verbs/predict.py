"""``aepretrain predict``: classes of any rows, from the classifier of a finished run."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.cli.finished_run import FinishedRun, write_outputs
from aepretrain.errors import ConfigError
from aepretrain.export.row_files import check_format
from aepretrain.runs.row_outputs import RowOutputs

DESCRIPTION = """\
Write the predicted class of any rows, by name, and the probability of each class to a file: .npz, .parquet or .csv by
its ending. Rows are raw, as the data of the run were; they stay in their order, and may exceed memory.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = ArgumentParser(prog="aepretrain predict", description=DESCRIPTION, exit_on_error=False)
    parser.add_argument("run", type=str, help="a run directory of fit")
    parser.add_argument("--data", type=str, required=True, help=".npy file, Parquet file or folder, or pictures")
    parser.add_argument("--out", type=str, required=True, help="the file to write")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1 or mps")
    try:
        parsed = parser.parse_args(list(arguments))
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{reason}. Usage: aepretrain predict RUN --data PATH --out FILE") from error
    out = Path(parsed.out).expanduser()
    check_format(out)
    if out.suffix == ".npy":
        raise ConfigError("a .npy file holds one array, but predictions are two. Let --out end in .npz or .csv.")
    finished = FinishedRun(Path(parsed.run).expanduser())
    encoder = finished.encoder
    outputs = RowOutputs(
        ["prediction", "probability"],
        encoder.transform,
        encoder.layers,
        classifier=finished.classifier,
        class_names=encoder.class_names,
        device=parsed.device,
    )
    names = {"probability": [f"probability_{name}" for name in encoder.class_names or ()]}
    write_outputs(outputs, finished.open(Path(parsed.data)), out, names)
