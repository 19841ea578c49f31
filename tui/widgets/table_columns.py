"""Columns of a table: how wide, on which side, what a cell says. Ids and accuracies are never cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from datadream.text import ID_LENGTH, IDS, TIMES, cell
from tui import glyphs

Row = Mapping[str, Any]

WIDTHS = {
    **dict.fromkeys(IDS, ID_LENGTH),
    **dict.fromkeys(TIMES, 16),
    **{"state": 12, "stage": 8, "progress": 8, "accuracy": 8, "mean": 6, "std": 6, "bytes": 10, "slot": 8},
    **{"data": 10, "source": 10, "per": 7, "split": 5, "device": 6, "version": 7, "backbone": 10, "launcher": 8},
    **{"correct": 7, "total": 6, "train": 6, "test": 6, "val": 6, "seconds": 9, "seed": 5},
}
GROWING = {"title": 14, "reason": 12, "settings": 12, "method": 14, "name": 10, "tags": 8, "note": 10, "experiment": 10}
NUMBERS = frozenset(
    {
        *("accuracy", "mean", "std", "bytes", "files", "seconds", "shots", "seed", "split_seed", "correct", "total"),
        *("progress", "attempts", "priority", "done", "bad_lines", "rank", "steps", "image_passes", "classes", "runs"),
        *("num_classes", "images_per_class", "guidance_scale", "num_inference_steps", "train", "val", "test"),
    }
)
DESCENDING = NUMBERS - {"shots", "seed", "split_seed"} | frozenset(TIMES)  # biggest or newest first


@dataclass(frozen=True)
class Column:
    """`width` in cells, what it needs at least; a `grow`ing one shares the room that is left. `text` of a row."""

    name: str
    title: str
    width: int
    grow: bool = False
    right: bool = False
    text: Callable[[Row], Text | str] | None = None

    def show(self, row: Row) -> Text | str:
        """What the cell says, uncut."""
        if self.text is not None:
            return self.text(row)
        if self.name == "state":
            return glyphs.state_text(str(row.get("state", "")), str(row.get("reason", "")).startswith("paused"))
        return cell(self.name, row.get(self.name))


def column(name: str, text: Callable[[Row], Text | str] | None = None, width: int = 0) -> Column:
    """A column of the registry by its name; `text` replaces what its cells say, `width` what they need."""
    room = width or GROWING.get(name) or WIDTHS.get(name) or 5
    grow = name in GROWING
    return Column(name, name, room if grow else max(room, cell_len(name) + 2), grow, name in NUMBERS, text)


def fit(columns: Sequence[Column], room: int, gap: int) -> list[int]:
    """Widths that fill `room` cells with `gap` between columns; wider than that where their needs don't fit.

    Fixed columns may give the two cells of the sort arrow before anything has to scroll.
    """
    widths = [column.width for column in columns]
    left = room - sum(widths) - gap * (len(widths) - 1)
    if left < 0:
        slack = [
            0 if column.grow else max(0, column.width - max(WIDTHS.get(column.name, 0), cell_len(column.title)))
            for column in columns
        ]
        for i in sorted(range(len(widths)), key=lambda i: -slack[i]):
            give = min(slack[i], -left)
            widths[i] -= give
            left += give
    growing = [i for i, column in enumerate(columns) if column.grow]
    while left > 0 and growing:
        share = max(1, left // len(growing))
        for i in growing:
            give = min(share, left)
            widths[i] += give
            left -= give
    return widths


def cut(text: Text | str, width: int, right: bool = False) -> Text | str:
    """`text` in exactly `width` cells; what doesn't fit ends in an ellipsis."""
    plain = text.plain if isinstance(text, Text) else text
    size = len(plain) if plain.isascii() else cell_len(plain)
    if isinstance(text, str):
        if size > width:
            text = _kept(text, width)
            size = cell_len(text)
        pad = " " * (width - size)
        return pad + text if right else text + pad
    found = text.copy()
    if size > width:
        kept = _kept(plain, width)
        found = text[: len(kept) - len(glyphs.ELLIPSIS[:width])]
        found.append(glyphs.ELLIPSIS[:width])
        size = cell_len(found.plain)
    pad = " " * (width - size)
    return Text.assemble(pad, found) if right else Text.assemble(found, pad)


def _kept(text: str, width: int) -> str:
    dots = glyphs.ELLIPSIS[:width]
    return set_cell_size(text, max(0, width - cell_len(dots))).rstrip() + dots
