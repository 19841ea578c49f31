"""Numbers with their intervals as dots on bars over one axis, a line each: what overlaps is seen at once."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tui.drawing import glyphs

Span = tuple[float, float, float]  # low, middle, high
Axis = tuple[float, float]
LEFT, LINE, DOT, RIGHT = ("[", "-", "o", "]") if glyphs.ASCII else ("├", "─", "●", "┤")


def axis_of(spans: Iterable[Span | None]) -> Axis | None:
    """From the lowest to the highest, in whole numbers; None where there is no span."""
    known = [span for span in spans if span is not None]
    if not known:
        return None
    low, high = math.floor(min(span[0] for span in known)), math.ceil(max(span[2] for span in known))
    return float(low), float(max(high, low + 1))


def head(axis: Axis, title: str, width: int) -> str:
    """`60  4 shots  93`: both ends of the axis, and between them the title where there is room."""
    low, high = f"{axis[0]:g}", f"{axis[1]:g}"
    room = width - len(low) - len(high) - 2
    middle = title if len(title) <= room else ""
    return f"{low} {middle.center(max(0, room))} {high}"[:width]


def line(span: Span | None, axis: Axis, width: int) -> str:
    """`  ├───●──┤  `, `width` cells; blank without a span."""
    cells = [" "] * width
    if span is None:
        return "".join(cells)
    left, dot, right = (_at(value, axis, width) for value in span)
    cells[left : right + 1] = LINE * (right + 1 - left)
    cells[left], cells[right] = LEFT, RIGHT
    cells[dot] = DOT
    return "".join(cells)


def _at(value: float, axis: Axis, width: int) -> int:
    return max(0, min(width - 1, round((value - axis[0]) / (axis[1] - axis[0]) * (width - 1))))
