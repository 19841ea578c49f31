"""What the comparison says above and below its table and curves: functions of what is shown, nothing read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from datadream.text import shown
from tui.drawing import glyphs
from tui.drawing.braille import LETTERS, Series
from tui.drawing.intervals import Span
from tui.widgets.grid import plain

if TYPE_CHECKING:
    from datadream.report.curves import Curve
    from datadream.report.pivot import Cell, Pivot
    from datadream.report.rows import Row

CURVES_MAX = 12


def head(view: str, pivot: Pivot | None, where: str) -> Text:
    """One line: which view, of a table its rows and columns, and the filter."""
    parts = [view]
    if pivot is not None:
        parts.append(f"rows: {' '.join(pivot.rows)}; columns: {' '.join(pivot.columns) or 'none'}")
    if where:
        parts.append(f"filter {where}")
    return Text(f" {glyphs.DOT} ".join(map(shown, parts)), no_wrap=True, overflow="ellipsis")


def kind(cell: Cell) -> str:
    """How a Grid shows it."""
    from datadream.report.judge import ALIKE, BEST

    return "none" if cell.row is None else {BEST: "best", ALIKE: "alike"}.get(cell.mark, "")


def spans(pivot: Pivot, j: int) -> list[Span | None]:
    """Of a column in percent: the interval of one seed, or the mean over several and their deviation to both sides."""

    def span(row: Row | None) -> Span | None:
        if row is None:
            return None
        low, high = (
            (row.mean - row.std, row.mean + row.std) if len(row.seeds) > 1 else (row.interval.low, row.interval.high)
        )
        return 100 * low, 100 * row.mean, 100 * high

    return [span(cells[j].row) for cells in pivot.cells]


def of_cell(pivot: Pivot, i: int, j: int) -> Text:
    """The cell under the cursor with its seeds, its difference from real-only, what its letters mean; then the notes,
    warnings first.
    """
    cell = pivot.cells[i][j]
    text = Text(overflow="fold")
    text.append(f"{shown(pivot.row_label(i))}, {shown(pivot.column_label(j))}: ", "bold")
    text.append(f"{shown(cell.text)}{_seeds(cell)}\n")
    notes = [pair.text(pivot.letters) for pair in pivot.judged.comparisons if cell.row and pair.row.id == cell.row.id]
    of = pivot.values(i, j)
    own = [of[name][1] for name in ("method", "source", "backbone") if of[name][1]]
    warned = pivot.compared.warned
    notes += [*(f"{pivot.letters[text]} {text}" for text in own), *warned]
    notes += [note for note in pivot.notes() if note[:1] != "(" and note not in warned]
    return text.append(plain("\n".join(map(shown, notes))), "dim")


def against(pivot: Pivot) -> Text:
    """Real and synthetic images against real ones alone, in words; then all notes."""
    heading, *pairs = pivot.compared.against or ["No real+synth row shares a seed with real-only."]
    text = Text(overflow="fold")
    text.append(f"{shown(heading)}\n", "bold")
    text.append("".join(f"{plain(shown(pair))}\n" for pair in pairs))
    text.append("\nNotes\n", "bold")
    return text.append(plain("\n".join(map(shown, pivot.notes()))))


def series(curves: Sequence[Curve]) -> list[Series]:
    """What a chart draws of them."""
    return [
        Series(curve.name, [point.x for point in curve.points], [point.mean for point in curve.points])
        for curve in curves[:CURVES_MAX]
    ]


def legend(curves: Sequence[Curve]) -> Text:
    """Every curve with its last number, whole; and what is left out."""
    text = Text(overflow="fold")
    if not curves:
        return text.append("nothing to plot: no run here used synthetic images")
    for letter, curve in zip(LETTERS, curves[:CURVES_MAX], strict=False):
        last = curve.points[-1]
        text.append(f"{letter} ", "bold").append(
            f"{shown(curve.name)} {last.mean:.1f} n={last.seeds}   ".replace(" ", "\xa0")
        )
        text.append(" ")
    if len({point.x for curve in curves for point in curve.points}) == 1:
        text.append("\npoints only: a single number of images was run", "dim")
    if len(curves) > CURVES_MAX:
        text.append(f"\nthe first {CURVES_MAX} of {len(curves)} curves; / filters", "yellow")
    return text.append("\nmeans over seeds, in percent; v shows the next view", "dim")


def _seeds(cell: Cell) -> str:
    """The seeds themselves, and their own numbers."""
    if cell.row is None:
        return f" with seeds {', '.join(map(str, cell.lacks))}"
    each = (f"{seed}: {100 * value:.1f}" for seed, value in zip(cell.row.seeds, cell.row.accuracy, strict=True))
    return f" (seed {', '.join(each)})"
