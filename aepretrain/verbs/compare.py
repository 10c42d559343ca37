"""``aepretrain compare``: pretrained against random initialization, over seeds and label budgets."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from aepretrain.compare import compare
from aepretrain.config import build_parser, parse
from aepretrain.errors import ConfigError, StorageError
from aepretrain.run_directory import log_to
from aepretrain.tables import print_comparison

DESCRIPTION = """\
Does pretraining help on these data, by how much, at how many labels? Runs arms x seeds x label budgets that share all
but the encoder's weights, beside baselines on the raw input. The same command goes on where a comparison stopped; more
seeds or budgets run by themselves.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with what follows it on the command line."""
    parsed = parse(build_parser("compare", DESCRIPTION, _add_own), arguments, own=("out",))
    parsed.experiment.prepare()
    out = Path(parsed.arguments.out)
    _take_directory(out, parsed.yaml)
    with log_to(out / "train.log"):
        print_comparison(compare(parsed.experiment, parsed.comparison, out), out)


def _add_own(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, help="directory of the comparison; named again, it goes on")


def _take_directory(out: Path, text: str) -> None:
    """Make the directory, or see that what it holds belongs to the same comparison, whatever seeds and budgets."""
    config = out / "config.yaml"
    if config.is_file():
        before, now = (yaml.safe_load(words) for words in (config.read_text(encoding="utf-8"), text))
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        changed = [key for key in changed if key not in ("compare", "loggers", "wandb")]
        if changed:
            raise ConfigError(
                f"{out} holds a comparison with other settings: {', '.join(changed)} changed. Name a new --out."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty and holds no comparison. Name a new one by --out.")
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        config.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}. Name another one by --out.") from error
