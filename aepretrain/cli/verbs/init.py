"""``aepretrain init``: look at data and write a first config for them."""

from collections.abc import Sequence
from pathlib import Path

from aepretrain.cli.first_config import first_config
from aepretrain.cli.first_look import look_at
from aepretrain.cli.own_options import parse_own
from aepretrain.console import print_line
from aepretrain.errors import ConfigError
from aepretrain.storage.files import make_folder, write_atomically
from aepretrain.training.recovery.signals import stop_at_signal


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    needed = {"--data": {"required": True}, "--out": {"required": True}}
    parsed = parse_own("init", arguments, "--data PATH [--target COLUMN] --out FILE.yaml", needed)
    out = Path(parsed.out).expanduser()
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out must end in .yaml, but is {out}. Rename it.")
    if out.exists():
        raise ConfigError(f"{out} exists, and is not replaced. Delete it, or name another file by --out.")
    with stop_at_signal("while the data were looked at"):
        look = look_at(parsed.data, parsed.target)
        text = first_config(look, str(out))
    make_folder(out.parent)
    write_atomically(out, text.encode())
    for note in (*look.data.notes, *look.hints):
        print_line(f"data: {note}")
    for warning in look.data.warnings:
        print_line(f"warning: {warning}")
    print_line(f"config  {out}")
    print_line(f"next: aepretrain validate --config {out}")
