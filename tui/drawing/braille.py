"""Line charts as text: pure functions from curves and a size to lines of (text, role) pieces.

Each cell is 2 x 4 braille dots, or one sign where the locale has no Unicode. A column of dots shows the least and the
greatest value that fall into it, so a spike of one step survives any width. Curves are told apart by letters on them,
not by colour alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from datadream.text import shown
from tui.clip import clip

AXIS, TEXT = -1, -2
Piece = tuple[str, int]  # text and whose it is: the number of a curve, AXIS or TEXT
Line = list[Piece]
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LETTER_EVERY = 24  # cells between two letters of one curve
MIN_WIDTH, MIN_HEIGHT = 16, 4


@dataclass(frozen=True)
class Series:
    """One curve: finite x in order, and a y for each; a y that isn't finite is a gap."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Look:
    """How to draw: logarithmic y, smoothing (0 none, below 1), and the newest 1/2^`zoom` of the x range."""

    log: bool = False
    smooth: float = 0.0
    zoom: int = 0
    ascii: bool = False


@dataclass(frozen=True)
class Column:
    """What falls into one column of dots: the least and greatest value, the first and the last."""

    low: float
    high: float
    first: float
    last: float


GAP = Column(math.nan, math.nan, math.nan, math.nan)


def smoothed(ys: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average, unbiased: each is sum(w^k y) / sum(w^k) over what came before. Gaps stay gaps."""
    if not 0 < weight < 1:
        return list(ys)
    found, mean, norm = [], 0.0, 0.0
    for y in ys:
        if not math.isfinite(y):
            found.append(y)
            continue
        mean, norm = weight * mean + (1 - weight) * y, weight * norm + (1 - weight)
        found.append(mean / norm)
    return found


def window(series: Sequence[Series], zoom: int) -> tuple[float, float]:
    """The x range that is drawn: the newest 1/2^`zoom` of all there is."""
    starts = [float(curve.xs[0]) for curve in series if len(curve.xs)]
    ends = [float(curve.xs[-1]) for curve in series if len(curve.xs)]
    if not starts:
        return 0.0, 1.0
    low, high = min(starts), max(ends)
    return high - (high / 2 - low / 2) * 2.0 ** (1 - zoom) if zoom else low, high


def columns(
    xs: Sequence[float], ys: Sequence[float], span: tuple[float, float], count: int, log: bool = False
) -> list[Column | None]:
    """What falls into each of `count` equal parts of `span`; None where nothing does, GAP where that can't be drawn.

    Where `span` is one number only, that is in the middle.
    """
    low, high = span
    if low < high:
        # Rounding may let a bound fall behind the one before it.
        bounds = list(accumulate((low * (1 - i / count) + high * (i / count) for i in range(count)), max))
    else:  # a point: all of it is in the middle
        bounds = [low if i <= count // 2 else math.inf for i in range(count)]
    starts = [bisect_left(xs, bound) for bound in bounds]
    ends = [*starts[1:], len(xs)]
    return [_column(ys[start:end], log) for start, end in zip(starts, ends, strict=True)]


def _column(part: Sequence[float], log: bool) -> Column | None:
    if not part:
        return None
    if not (math.isfinite(sum(part)) and (not log or min(part) > 0)):
        part = [y for y in part if math.isfinite(y) and (not log or y > 0)]
    return Column(min(part), max(part), part[0], part[-1]) if part else GAP


def left_out(ys: Sequence[float], log: bool = False) -> int:
    """How many can't be drawn: not finite, or not above 0 on a logarithmic scale."""
    return sum(1 for y in ys if not math.isfinite(y) or (log and y <= 0))


def number(value: float) -> str:
    """Four digits at most, short: 0.1235, 1.5e-05, 12000."""
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def place(x: float) -> str:
    """A step: whole where it is, with commas."""
    return f"{x:,.0f}" if x == round(x) and abs(x) < 1e9 else number(x)


def draw(series: Sequence[Series], width: int, height: int, look: Look = Look()) -> list[Line]:
    """`height` lines of `width` cells: plot, axis, labels of x, and a legend. Too small: a sentence. Never raises."""
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return _sentence("no room for a chart", width, height)
    series = [curve for curve in series if len(curve.xs)]
    legend = 1 if series and height > MIN_HEIGHT else 0
    span = window(series, look.zoom)
    rows = height - 2 - legend
    curves = [smoothed(curve.ys, look.smooth) for curve in series]
    # Twice, because the labels' width, which the columns depend on, needs the range of y.
    lines = [columns(c.xs, ys, span, 2 * width, look.log) for c, ys in zip(series, curves, strict=True)]
    known = [column for line in lines for column in line if column and column is not GAP]
    if not known:
        why = "no value above 0 for a log scale" if look.log and series else "nothing to plot yet"
        return _sentence(why, width, height)
    low, high = min(column.low for column in known), max(column.high for column in known)
    part = _scale(low, high, look.log)
    labels = _labels(low, high, rows, look.log)
    margin = max(len(text) for text in labels.values()) + 1
    cells = width - margin - 1
    if cells < 4:
        return _sentence("no room for a chart", width, height)
    lines = [columns(c.xs, ys, span, 2 * cells, look.log) for c, ys in zip(series, curves, strict=True)]
    plot = _plot(lines, cells, rows, part, look.ascii)
    edge, tick, corner, dash = ("|", "+", "+", "-") if look.ascii else ("│", "┤", "└", "─")
    drawn: list[Line] = [
        [(labels.get(row, "").rjust(margin) + (tick if row in labels else edge), AXIS), *plot[row]]
        for row in range(rows)
    ]
    drawn.append([(" " * margin + corner + dash * cells, AXIS)])
    drawn.append([(_ends(place(span[0]), place(span[1]), margin + 1, cells), AXIS)])
    if legend:
        drawn.append(_legend(series, curves, width, look))
    return drawn


def _scale(low: float, high: float, log: bool) -> Callable[[float], float]:
    """A function from a value to 0..1 of the height; the middle when all values are one."""
    bend = math.log if log else (lambda value: value / 2)  # halves: the range of two floats may be too big for one
    bottom, top = bend(low), bend(high)
    if top <= bottom:
        return lambda value: 0.5
    return lambda value: min(1.0, max(0.0, (bend(value) - bottom) / (top - bottom)))


def _labels(low: float, high: float, rows: int, log: bool) -> dict[int, str]:
    """Labels of y by row: the ends and, where there is room, what lies between."""
    if low == high:
        return {(rows - 1) // 2: number(low)}
    count = 5 if rows >= 13 else 3 if rows >= 5 else 2
    found = {}
    for i in range(count):
        part = i / (count - 1)
        if i in (0, count - 1):
            value = low if i == 0 else high
        elif log:
            value = math.exp(math.log(low) * (1 - part) + math.log(high) * part)
        else:
            value = low * (1 - part) + high * part
        found[rows - 1 - round(part * (rows - 1))] = number(value)
    return found


def _plot(
    lines: Sequence[Sequence[Column | None]], cells: int, rows: int, part: Callable[[float], float], plain: bool
) -> list[Line]:
    """The curves in painter's order: a later one covers an earlier; letters go on top where there are several."""
    grid: list[list[tuple[str, int]]] = [[(" ", TEXT)] * cells for _ in range(rows)]
    top = rows - 1 if plain else 4 * rows - 1
    marks: list[tuple[int, int, int]] = []
    for whose, line in enumerate(lines):
        bits: dict[tuple[int, int], int] = {}
        before: int | None = None
        last_x = 0
        for x, column in enumerate(line):
            if column is None:
                continue  # bridged by the next line: metrics are often sparse
            if column is GAP:
                before = None
                continue
            low, high = (round(part(value) * top) for value in (column.low, column.high))
            first = round(part(column.first) * top)
            if before is not None and last_x == x - 1:
                low, high = min(low, before), max(high, before)
            elif before is not None:
                _bridge(bits, last_x, before, x, first, top, plain)
            for y in range(low, high + 1):
                _dot(bits, x, y, top, plain)
            before, last_x = round(part(column.last) * top), x
            marks.append((x // 2, (top - before) // (1 if plain else 4), whose))
        sign = (LETTERS[whose % 26] if len(lines) > 1 else "*") if plain else ""
        for (row, cell), found in bits.items():
            grid[row][cell] = (sign or chr(0x2800 + found), whose)
    if len(lines) > 1:
        _letters(grid, marks, len(lines))
    return [_joined(row) for row in grid]


def _dot(bits: dict[tuple[int, int], int], x: int, y: int, top: int, plain: bool) -> None:
    down = top - y
    key = (down, x // 2) if plain else (down // 4, x // 2)
    bits[key] = bits.get(key, 0) | (1 if plain else DOTS[x % 2][down % 4])


def _bridge(bits: dict[tuple[int, int], int], x0: int, y0: int, x1: int, y1: int, top: int, plain: bool) -> None:
    """A straight line over columns without a value."""
    before = y0
    for x in range(x0 + 1, x1 + 1):
        y = y0 + round((y1 - y0) * (x - x0) / (x1 - x0))
        for step in range(min(before, y), max(before, y) + 1):
            _dot(bits, x, step, top, plain)
        before = y


def _letters(grid: list[list[tuple[str, int]]], marks: list[tuple[int, int, int]], count: int) -> None:
    """Each curve's letter at its end and every so often, at other places for each."""
    for whose in range(count):
        mine = [(cell, row) for cell, row, owner in marks if owner == whose]
        offset = whose * LETTER_EVERY // count
        seen = -1
        for cell, row in mine:
            if cell != seen and (cell + offset) % LETTER_EVERY == 0:
                grid[row][cell] = (LETTERS[whose % 26], whose)
            seen = cell
    for whose in range(count):  # ends last, side by side where they meet
        mine = [(cell, row) for cell, row, owner in marks if owner == whose]
        if not mine:
            continue
        cell, row = mine[-1]
        while cell > 0 and grid[row][cell][0] in LETTERS and grid[row][cell][1] != whose:
            cell -= 1
        grid[row][cell] = (LETTERS[whose % 26], whose)


def _legend(series: Sequence[Series], curves: Sequence[Sequence[float]], width: int, look: Look) -> Line:
    """`a loss 0.1234` of each curve with its last value, and what isn't drawn."""
    pieces: Line = []
    out = sum(left_out(ys, look.log) for ys in curves)
    for whose, (curve, ys) in enumerate(zip(series, curves, strict=True)):
        last = next((y for y in reversed(ys) if math.isfinite(y)), None)
        letter = f"{LETTERS[whose % 26]} " if len(series) > 1 else ""
        pieces.append((f"{letter}{shown(curve.name)} {number(last) if last is not None else '-'}  ", whose))
    if out:
        pieces.append((f"{out:,} not finite{' or not above 0' if look.log else ''}  ", TEXT))
    room, fitted = width, []
    for text, whose in pieces:
        fitted.append((text[:room], whose))
        room -= len(text[:room])
    return [*fitted, (" " * room, TEXT)]


def _ends(left: str, right: str, margin: int, cells: int) -> str:
    room = cells - len(left) - len(right)
    if left == right:  # of a point
        return " " * margin + left.center(cells)[:cells]
    text = left + " " * room + right if room > 0 else right.rjust(cells)[:cells]
    return " " * margin + text


def _joined(row: Sequence[tuple[str, int]]) -> Line:
    pieces: Line = []
    for sign, whose in row:
        if pieces and pieces[-1][1] == whose:
            pieces[-1] = (pieces[-1][0] + sign, whose)
        else:
            pieces.append((sign, whose))
    return pieces


def _sentence(text: str, width: int, height: int) -> list[Line]:
    lines: list[Line] = [[(" " * max(0, width), TEXT)] for _ in range(max(0, height))]
    if lines:
        lines[len(lines) // 2] = [(clip(text, max(0, width)).center(max(0, width)), TEXT)]
    return lines


def thinned(xs: Sequence[float], ys: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """At most `most` points (4 or more) that hold the least and greatest of each part, ends included."""
    if len(xs) <= most or most < 4:
        return list(xs), list(ys)
    parts = (most - 2) // 2
    size = -(-len(xs) // parts)
    kept = {0, len(xs) - 1}
    for start in range(0, len(xs), size):
        places = [i for i in range(start, min(start + size, len(xs))) if math.isfinite(ys[i])]
        if places:
            kept |= {min(places, key=ys.__getitem__), max(places, key=ys.__getitem__)}
    order = sorted(kept)
    return [xs[i] for i in order], [ys[i] for i in order]
