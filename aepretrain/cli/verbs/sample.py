"""``aepretrain sample``: new items, reconstructions and ways between rows, from a finished run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.cli.finished_run import FinishedRun
from aepretrain.cli.own_options import parse_own
from aepretrain.cli.run_data import raw_validation_rows
from aepretrain.console import print_line
from aepretrain.data.rows import Inputs
from aepretrain.data.table_transform import TableTransform
from aepretrain.errors import ConfigError, DataError
from aepretrain.export.row_files import check_format, write_rows
from aepretrain.parts.noise import Noise
from aepretrain.pretraining.generating import draw_codes, interpolate, manifold_codes, starts_from_rows
from aepretrain.report.pictures import draw_grid, draw_image_rows, write_picture
from aepretrain.report.windows import are_windows, draw_windows
from aepretrain.training.recovery.signals import stop_at_signal

MODES = ("manifold", "interpolate", "reconstruct")
COUNTS = {"manifold": 400, "interpolate": 10, None: 64}
"""Numbers of items where none is asked for."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parsed = _parse(arguments)
    out, mode = Path(parsed.out).expanduser(), _mode(parsed)
    if out.suffix != ".png":
        check_format(out)
    finished = FinishedRun(Path(parsed.run).expanduser())
    if out.suffix == ".png":
        _check_pictures(finished)
    try:
        with stop_at_signal(f"while {out} was written, which is not there yet"), torch.no_grad():
            items = _items(finished, mode, parsed)
            _write(finished, items, out)
    except NotImplementedError as error:
        raise ConfigError(f"{finished.folder}: {error} Train layers with a decoder.") from error
    print_line(f"{items.words}  {out}")


@dataclass(frozen=True)
class Items:
    """What is written.

    Args:
        scaled: Items by name, each of shape ``(N, *in_shape)``, scaled as the layers take them.
        codes: Codes of the last layer, ``(N, *code_shape)``.
        columns: Pictures in a row of the mosaic.
        words: What the items are, for people.
    """

    scaled: Mapping[str, Tensor]
    codes: Tensor
    columns: int
    words: str


def _parse(arguments: Sequence[str]) -> Namespace:
    keywords: dict[str, dict[str, Any]] = {
        "--out": {"required": True},
        "--count": {"type": int | None, "default": None},
        "--seed": {"type": int},
        "--steps": {"type": int},
        "--draw": {"action": "store_true"},
        "--manifold": {"action": "store_true"},
        "--interpolate": {"type": int, "nargs": 2},
        "--reconstruct": {"type": int | None, "default": None},
        "--data": {"type": str | None, "default": None},
    }
    return parse_own("sample", arguments, "RUN --out FILE [--count N]", keywords)


def _mode(parsed: Namespace) -> str | None:
    """What is asked for beside new items; ``None``: new items."""
    asked = [name for name in MODES if parsed[name] not in (None, False)]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]} and --{asked[1]} are two commands. Leave one of them out.")
    for name in ("count", "steps", "reconstruct"):
        if parsed[name] is not None and parsed[name] < 1:
            raise ConfigError(f"--{name} must be at least 1, but is {parsed[name]}.")
    mode = asked[0] if asked else None
    if mode == "reconstruct" and parsed.count is not None:
        raise ConfigError(f"--reconstruct {parsed.reconstruct} says how many rows. Leave --count out.")
    if mode == "interpolate" and parsed.count == 1:
        raise ConfigError("--interpolate needs --count of at least 2, since both ends are items, but is 1.")
    return mode


def _check_pictures(finished: FinishedRun) -> None:
    shape = finished.encoder.in_shape
    is_picture = len(shape) == 3 and shape[0] in (1, 3)
    if not is_picture and not are_windows(shape, finished.encoder.columns):
        what = "rows of a table" if isinstance(finished.encoder.transform, TableTransform) else f"of shape {shape}"
        raise ConfigError(
            f"a .png shows pictures and windows, but the items of this run are {what}. Let --out end in .csv or .npz."
        )


def _items(finished: FinishedRun, mode: str | None, parsed: Namespace) -> Items:
    stack, noise = finished.stack, Noise(torch.Generator().manual_seed(parsed.seed))
    count = parsed.count or COUNTS.get(mode, 0)
    if mode == "reconstruct":
        x = finished.encoder.preprocess(_rows(finished, parsed.data)[: parsed.reconstruct])
        h = stack.encode(x)
        found = {"original": x, "reconstructed": _decoded(finished, h, noise, draw=parsed.draw)}
        return Items(found, h, len(x), f"{len(x)} rows and their reconstructions")
    if mode == "interpolate":
        first, last = parsed.interpolate
        ends = stack.encode(finished.encoder.preprocess(_ends(_rows(finished, parsed.data), [first, last])))
        h, columns, words = interpolate(ends[0], ends[1], count), count, f"{count} items from row {first} to row {last}"
    elif mode == "manifold":
        columns = math.isqrt(count)
        if columns**2 != count:
            raise ConfigError(f"--manifold is a square, but --count is {count}. Take {max(columns, 1) ** 2}.")
        h, words = manifold_codes(stack, columns), f"{columns} x {columns} items at the quantiles of the code"
    else:
        chains = starts_from_rows(stack)
        start = finished.encoder.preprocess(_rows(finished, parsed.data)[:count]) if chains else None
        h, columns = draw_codes(stack, count, noise, x=start, steps=parsed.steps), math.ceil(math.sqrt(count))
        words = f"{count} items" + (f" after {parsed.steps} steps of a chain from rows of data" if chains else "")
    return Items({"items": _decoded(finished, h, noise, draw=parsed.draw)}, h, columns, words)


def _decoded(finished: FinishedRun, h: Tensor, noise: Noise, *, draw: bool) -> Tensor:
    """Scaled items of codes ``(N, *code_shape)``: expected or drawn ones."""
    for layer in finished.stack:
        layer.noise = noise
    return finished.stack.sample(h) if draw else finished.stack.decode(h)


def _rows(finished: FinishedRun, path: str | None) -> Inputs:
    """Raw rows: of a file, where they stay, or validation rows of the run."""
    if path is not None:
        return finished.open(Path(path)).x
    try:
        return raw_validation_rows(finished).x
    except (ConfigError, DataError) as error:
        raise type(error)(f"{error} Or name other rows by --data PATH.") from error


def _ends(rows: Inputs, places: Sequence[int]) -> Tensor:
    for place in places:
        if not 0 <= place < len(rows):
            raise ConfigError(f"--interpolate takes two rows out of 0 to {len(rows) - 1}, but got {place}.")
    return rows[torch.tensor(places)]


def _write(finished: FinishedRun, items: Items, out: Path) -> None:
    if out.suffix == ".png":
        write_picture(out, _picture(items))
        out = out.with_suffix(".npz")
    transform, is_table = finished.encoder.transform, out.suffix in (".csv", ".parquet")
    raw = {name: transform.restore(x).numpy() for name, x in items.scaled.items()}
    if is_table and isinstance(transform, TableTransform):
        write_rows(out, [_texts(raw, transform)], len(items.codes))
        return
    features = finished.encoder.columns or []
    if len(features) != math.prod(finished.encoder.in_shape):  # a column of lists holds several features
        features = []
    names = {name: [_named(name, feature, raw) for feature in features] for name in raw}
    beside = {} if is_table or out.suffix == ".npy" else {"codes": items.codes.numpy()}
    write_rows(out, [{**raw, **beside}], len(items.codes), names)


def _picture(items: Items) -> Figure:
    pictures = {name: x.numpy() for name, x in items.scaled.items()}
    if next(iter(pictures.values())).ndim < 4:
        return draw_windows(pictures)
    if len(pictures) > 1:
        return draw_image_rows(pictures)
    return draw_grid(next(iter(pictures.values())), columns=items.columns)


def _texts(raw: Mapping[str, NDArray[np.floating]], transform: TableTransform) -> dict[str, NDArray[Any]]:
    """The columns of a table as text, as its file has them."""
    return {
        _named(name, column.name, raw): np.array(column.decode(x[:, place]))
        for name, x in raw.items()
        for place, column in enumerate(transform.columns)
    }


def _named(name: str, feature: str, raw: Mapping[str, Any]) -> str:
    """The name of a column: that of the feature, and of what it holds where there are several."""
    return feature if len(raw) == 1 else f"{name}_{feature}"
