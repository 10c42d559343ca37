"""``aepretrain predict``: classes or values of any rows, from the head of a finished run."""

from collections.abc import Sequence
from pathlib import Path

from aepretrain.cli.finished_run import FinishedRun, write_outputs
from aepretrain.cli.own_options import parse_own
from aepretrain.errors import ConfigError
from aepretrain.export.row_files import check_format
from aepretrain.runs.row_outputs import RowOutputs


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    needed = {"--data": {"required": True}, "--out": {"required": True}}
    parsed = parse_own("predict", arguments, "RUN --data PATH --out FILE", needed)
    out = Path(parsed.out).expanduser()
    check_format(out)
    finished = FinishedRun(Path(parsed.run).expanduser())
    encoder = finished.encoder
    is_real = finished.classifier is not None and not finished.classifier.predicts_classes
    if out.suffix == ".npy" and not is_real:
        raise ConfigError("a .npy file holds one array, but predictions are two. Let --out end in .npz or .csv.")
    outputs = RowOutputs(
        ["value"] if is_real else ["prediction", "probability"],
        encoder.transform,
        encoder.layers,
        classifier=finished.classifier,
        class_names=encoder.class_names,
        device=parsed.device,
    )
    names = {"probability": [f"probability_{name}" for name in encoder.class_names or ()]}
    write_outputs(outputs, finished.open(Path(parsed.data)), out, names)
