"""Columns of a table: how wide, on which side, what a cell says. Ids, numbers and states are never cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from datadream.text import ID_LENGTH, IDS, TIMES, cell
from tui.clip import clip, clip_text
from tui.drawing import glyphs

Row = Mapping[str, Any]

WIDTHS = {
    **dict.fromkeys(IDS, ID_LENGTH),
    **dict.fromkeys(TIMES, 16),
    **{"state": 5, "stage": 8, "progress": 8, "accuracy": 8, "mean": 6, "std": 6, "bytes": 10, "slot": 8},
    **{"data": 10, "source": 6, "per": 7, "split": 5, "device": 6, "version": 7, "backbone": 10, "launcher": 8},
    **{"correct": 7, "total": 6, "train": 6, "test": 6, "val": 6, "seconds": 9, "seed": 5},
}
GROWING = {"title": 14, "reason": 12, "settings": 12, "method": 14, "name": 10, "tags": 4, "note": 10, "experiment": 10}
NUMBERS = frozenset(
    {
        *("accuracy", "mean", "std", "bytes", "files", "seconds", "shots", "seed", "split_seed", "correct", "total"),
        *("progress", "attempts", "priority", "done", "bad_lines", "rank", "steps", "image_passes", "classes", "runs"),
        *("num_classes", "images_per_class", "guidance_scale", "num_inference_steps", "train", "val", "test"),
    }
)
MEASURED = NUMBERS | {"state"}  # as wide as the widest that was seen, and never cut
SOURCE_MAX = 14
DESCENDING = NUMBERS - {"shots", "seed", "split_seed"} | frozenset(TIMES)  # biggest or newest first


@dataclass(frozen=True)
class Column:
    """`width` in cells, as it likes to be, and `least`, what it needs; a `grow`ing one shares the room that is left,
    those first that haven't got what is in them (`content`). `text` of a row.
    """

    name: str
    title: str
    width: int
    grow: bool = False
    right: bool = False
    text: Callable[[Row], Text | str] | None = None
    least: int = 0
    content: int = 0

    def holding(self, cells: int) -> Column:
        """The same for cells of which the widest is so wide."""
        if self.grow:
            return replace(self, content=cells)
        if self.name == "source":
            cells = min(cells, SOURCE_MAX)
        elif self.name not in MEASURED:
            return self
        return replace(self, width=max(self.width, cells), least=max(self.least, cells))

    def show(self, row: Row) -> Text | str:
        """What the cell says, uncut."""
        if self.text is not None:
            return self.text(row)
        if self.name == "state":
            return glyphs.state_text(str(row.get("state", "")), bool(row.get("paused")))
        return cell(self.name, row.get(self.name))


def column(name: str, text: Callable[[Row], Text | str] | None = None, width: int = 0) -> Column:
    """A column of the registry by its name; `text` replaces what its cells say, `width` what they need."""
    room = width or GROWING.get(name) or WIDTHS.get(name) or 5
    grow = name in GROWING
    wide = room if grow else max(room, cell_len(name) + 2)
    least = wide if grow else max(WIDTHS.get(name, 0), cell_len(name))
    return Column(name, name, wide, grow, name in NUMBERS, text, least)


def measure(columns: Sequence[Column], rows: Iterable[Row], known: dict[str, int]) -> bool:
    """Take into `known` how many cells these rows need in each column; whether one needs more than before."""
    grown = False
    for column in columns:
        need = max((cell_len(str(column.show(row))) for row in rows), default=0)
        if need > known.get(column.name, 0):
            known[column.name] = need
            grown = True
    return grown


def fit(columns: Sequence[Column], room: int, gap: int) -> list[int]:
    """Widths that fill `room` cells with `gap` between columns; wider than that where their needs don't fit.

    Fixed columns give the two cells of the sort arrow before anything has to scroll, or a name is cut.
    """
    widths = [column.width for column in columns]
    left = room - sum(widths) - gap * (len(widths) - 1)
    wanted = sum(max(0, column.content - column.width) for column in columns if column.grow)
    slack = [column.width - column.least for column in columns]
    for i in sorted(range(len(widths)), key=lambda i: -slack[i]):
        give = min(slack[i], max(0, wanted - left))
        widths[i] -= give
        left += give
    growing = [i for i, column in enumerate(columns) if column.grow]
    while left > 0 and growing:
        hungry = [i for i in growing if widths[i] < columns[i].content] or growing
        share = max(1, left // len(hungry))
        for i in hungry:
            wants = columns[i].content - widths[i]
            give = min(share, left, wants if wants > 0 else share)
            widths[i] += give
            left -= give
    return widths


def cut(text: Text | str, width: int, right: bool = False) -> Text | str:
    """`text` in exactly `width` cells; what doesn't fit ends in an ellipsis."""
    found = clip(text, width) if isinstance(text, str) else clip_text(text, width)
    plain = found if isinstance(found, str) else found.plain
    pad = " " * (width - (len(plain) if plain.isascii() else cell_len(plain)))
    if isinstance(found, str):
        return pad + found if right else found + pad
    return Text.assemble(pad, found) if right else Text.assemble(found, pad)
