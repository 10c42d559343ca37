"""Tables on the terminal: too wide a table goes on in further blocks, and no figure is ever cut or wrapped."""

from collections.abc import Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from aepretrain.console import console

MIN_WORDS = 8
"""Minimum width of a column of words, whose cells are wrapped if they are longer."""
GAP = 2
"""Width between two columns."""

Row = Sequence[str | Text]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Row], *, words: int = 1) -> None:
    """Print a table in as many blocks as the terminal needs, each with the first column.

    Args:
        title: Title, printed above.
        columns: Column names.
        rows: Cells; text is printed as it is, without markup.
        words: Number of leading columns that hold words, which may be wrapped; the others hold figures.
    """
    columns, cells = [_encodable(column) for column in columns], [[_cell(cell) for cell in row] for row in rows]
    needed = [_needed(place, columns, cells, is_figure=place >= words) for place in range(len(columns))]
    console.print(Text(_encodable(title), "bold"))
    for block in _blocks(needed):
        if sum(needed[place] + GAP for place in block) - GAP > console.width:
            # Not even one figure fits: the terminal wraps plain lines, which cuts nothing.
            for row in ([Text(column) for column in columns], *cells):
                console.print(Text((" " * GAP).join(row[place].plain for place in block)))
            continue
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for place, width in zip(block, _widths(block, needed, columns, cells), strict=True):
            justify: Literal["left", "right"] = "left" if place < words else "right"
            table.add_column(Text(columns[place]), justify=justify, width=width, overflow="fold")
        for row in cells:
            table.add_row(*(row[place] for place in block))
        console.print(table, soft_wrap=False, crop=False, no_wrap=False)
    console.print()


def _needed(place: int, columns: Sequence[str], rows: Sequence[Sequence[Text]], *, is_figure: bool) -> int:
    """Least width of a column: a figure is never wrapped, nor is a number among words; names of columns may be."""
    header = max(cell_len(word) for word in columns[place].split())
    longest = max((row[place].cell_len for row in rows), default=0)
    if is_figure:
        return max(header, longest)
    numbers = [len(word) for row in rows for word in row[place].plain.split() if word[0] in "+-0123456789"]
    return max(min(max(header, longest), MIN_WORDS), *(min(number, 2 * MIN_WORDS) for number in numbers), 0)


def _blocks(needed: Sequence[int]) -> list[list[int]]:
    """Distribute the columns to blocks that fit the terminal, in order; each begins with the first column."""
    blocks = [[0]]
    for place in range(1, len(needed)):
        block = [*blocks[-1], place]
        if len(blocks[-1]) > 1 and sum(needed[k] + GAP for k in block) - GAP > console.width:
            blocks.append([0])
        blocks[-1].append(place)
    return blocks


def _widths(
    block: Sequence[int], needed: Sequence[int], columns: Sequence[str], rows: Sequence[Sequence[Text]]
) -> list[int]:
    """Widths of the columns of a block: what is left of the terminal goes to those that would wrap, in order."""
    left = console.width - sum(needed[place] + GAP for place in block) + GAP
    widths = []
    for place in block:
        wanted = max(cell_len(columns[place]), *(row[place].cell_len for row in rows), 0)
        more = max(0, min(wanted - needed[place], left))
        widths.append(needed[place] + more)
        left -= more
    return widths


def _cell(cell: str | Text) -> Text:
    return Text(_encodable(cell)) if isinstance(cell, str) else Text(_encodable(cell.plain), cell.style)


def _encodable(text: str) -> str:
    """The text with what the terminal cannot show replaced: the name of a class must not end a run."""
    return text.encode(console.encoding, "replace").decode(console.encoding)
