"""Tables for a terminal of any width: no cell is cut, and what identifies a row is folded last of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_LEAST = 10
"""Narrowest column of words that is read without effort."""
_GAP = 2


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A table whose figures stay whole while names fold; where there is no room for that, all columns fold.

    Attributes:
        header: one name a column; its words may stand below each other.
        rows: cells as text, taken as they are: what looks like markup is none.
        title: above it.
        words: columns of names, aligned left; the others hold figures.
        total: whether the last row sums up the others.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    words: frozenset[int] = frozenset({0})
    total: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, _GAP - 1, 0, 0),
            pad_edge=False,
            show_edge=False,
            show_footer=self.total,
        )
        body = [[_visible(cell) for cell in row] for row in self.rows]
        footer = body.pop() if self.total else [""] * len(self.header)
        for place, width in enumerate(self._widths(options.max_width)):
            table.add_column(
                Text(self.header[place]),
                footer=Text(footer[place]),
                justify="left" if place in self.words else "right",
                overflow="fold",
                width=width,
            )
        for row in body:
            table.add_row(*map(Text, row))
        if self.title:
            yield Text(f"\n{self.title}", style="bold")
        yield table

    def _widths(self, most: int) -> list[int | None]:
        """Of each column; None leaves all of them to the table."""
        widths = []
        for place, name in enumerate(self.header):
            lines = [line for row in self.rows for line in _visible(row[place]).split("\n")]
            widths.append(max(map(cell_len, [*lines, *name.split(" ")]), default=1))
        room = most - _GAP * len(widths) - sum(w for place, w in enumerate(widths) if place not in self.words)
        # The narrowest first: what it leaves goes to the others.
        for left, place in zip(
            range(len(self.words), 0, -1), sorted(self.words, key=lambda each: widths[each]), strict=True
        ):
            if widths[place] > room // left < _LEAST:
                return [None] * len(widths)
            widths[place] = min(widths[place], room // left)
            room -= widths[place]
        return list(widths)


def cell(value: object) -> Text:
    """A cell of a table on one line, as it is: what looks like markup is none, and terminal codes are left out."""
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    return Text(_visible(shown).replace("\n", " "))


def _visible(text: str) -> str:
    """A cell without terminal codes; its line breaks stay."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)
