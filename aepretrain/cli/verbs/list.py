"""``aepretrain list``: the variants, sources and configs that there are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aepretrain.cli.config_keys import known_classes
from aepretrain.cli.own_options import parse_own
from aepretrain.cli.tables import print_table
from aepretrain.data import DataModule
from aepretrain.errors import ConfigError
from aepretrain.layers import Layer
from aepretrain.storage.guard import read_text
from aepretrain.storage.yaml_files import LARGEST


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    folder = Path(parse_own("list", arguments, "[FOLDER]", {"folder": {"nargs": "?"}}).folder).expanduser()
    if folder != Path("configs") and not folder.is_dir():
        raise ConfigError(
            f"{folder} is not a folder. Name a folder of configs (default: configs/). A class is explained by "
            "aepretrain fit --layers.help NAME or --data.help NAME."
        )
    for title, base in (("layers", Layer), ("data", DataModule)):
        rows = [[name, _first_line(cls)] for name, cls in sorted(known_classes(base).items())]
        heading = f"{title}: aepretrain fit --{title}.help NAME explains the settings"
        print_table(heading, ("class", "what it is"), rows, words=2)
    if rows := list(_configs(folder)):
        print_table(f"configs in {folder}", ("file", "what it shows"), rows, words=2)


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0].replace("``", "")


def _configs(folder: Path) -> Iterator[list[str]]:
    for path in sorted(folder.glob("*.yaml")):
        try:
            first = read_text(path, LARGEST).partition("\n")[0]
        except (OSError, UnicodeDecodeError):
            continue
        yield [path.name, first.removeprefix("# ") if first.startswith("# ") else ""]
