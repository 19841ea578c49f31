"""Every number of the home in one table, turned as one likes; curves; two runs; what is missing, queued by a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from datadream.text import shown
from tui import glyphs
from tui.actions import bindings
from tui.base import HomeScreen
from tui.screens import compare_read as read
from tui.screens.run import Reading
from tui.widgets.braille import LETTERS, Series
from tui.widgets.chart import Chart
from tui.widgets.grid import Grid

if TYPE_CHECKING:
    from datadream.report.curves import Curve
    from datadream.report.pivot import Cell, Pivot
    from datadream.report.rows import Row
    from datadream.report.runs_diff import TwoRuns
    from tui.services.data import Data

VIEWS = {"table": "Table", "shots": "Accuracy over shots", "images": "Accuracy over images a class", "two": "Two runs"}
EMPTY = "no numbers yet: n plans an experiment, and d on the dashboard starts the built-in one"
NONE_LEFT = "no run fits the filter; escape drops it"
PREFS = "compare"
CURVES_MAX = 12


class CompareScreen(HomeScreen):
    """Means come from the registry at once; which differences are real is worked out after that, in the background."""

    KEY: ClassVar[str] = "compare"
    CRUMB: ClassVar[str] = "Compare"
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self) -> None:
        super().__init__()
        self._view = "table"
        self._where = ""
        self._rows: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._table: list[Row] | None = None
        self._marks: dict[str, str] = {}
        self._judged: set[str] = set()
        self._left_out = 0
        self._pivot: Pivot | None = None
        self._cell: read.CellFacts | None = None
        self._cell_of: tuple[int, int] = (-1, -1)
        self._two: tuple[str, str] | None = None

    # What is seen

    def body(self) -> ComposeResult:
        """A line of what it is, the view, and what a reader must know."""
        yield Static(id="compare-head", markup=False)
        yield Grid(id="grid")
        yield Chart(id="compare-chart")
        with Reading(id="compare-two"):
            yield Static(id="two-text", markup=False)
        yield Static(id="compare-empty", markup=False)
        yield Static(id="compare-foot", markup=False)

    @property
    def grid(self) -> Grid:
        """The table."""
        return self.query_one("#grid", Grid)

    def crumb(self) -> str:
        """Which view."""
        return f"Compare {glyphs.ARROW} {VIEWS[self._view]}"

    def refresh_data(self) -> None:
        """Read the groups of runs anew."""
        if not self._rows:
            kept = self.dream.prefs.get(PREFS, {})
            self._rows, self._columns = _kept(kept)
        self._read(self._where)
        if self._view == "two":
            self._read_two()

    def two(self, ids: Sequence[str]) -> None:
        """Show these two runs side by side."""
        if len(ids) == 2:
            self._two = (ids[0], ids[1])
            self._view = "two"
            if self.is_mounted:
                self._look("two")

    def peel(self) -> bool:
        """Back to the table, then without a filter."""
        if self._view != "table":
            self._look("table")
        elif self._where:
            self._read("")
        else:
            return False
        return True

    def _read(self, where: str) -> None:
        def answer(table: list[Row]) -> None:
            self._where = where
            known = {row.run_ids[0]: (row.run_ids, row.mean) for row in self._table or ()}
            if known != {row.run_ids[0]: (row.run_ids, row.mean) for row in table}:
                self._marks, self._judged, self._left_out = {}, set(), 0
            self._table = table
            self._turn()

        self.ask("table", lambda data: read.read_table(data, where), answer)

    def _turn(self) -> None:
        """Make the pivot of what was read, by what was chosen."""
        from datadream.report.pivot import RUNS_MAX, best, pivot

        if self._table is None:
            return
        marks = {**best(self._table), **self._marks}
        note = ""
        if self._left_out:
            note = f"{self._left_out} rows aren't tested: at most {RUNS_MAX} runs are read at a time; / filters."
        elif len(self._judged) < len(self._table):
            note = "Differences are tested for the columns seen."
        self._pivot = pivot(self._table, self._rows, self._columns, marks, note)
        self._cell_of = (-1, -1)
        self._draw()

    def _look(self, view: str) -> None:
        self._view = view
        self.tell()
        if view == "two":
            self._read_two()
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted or self._pivot is None:
            return
        found = self._pivot
        empty = not found.table
        self.grid.display = self._view == "table" and not empty
        self.query_one("#compare-chart").display = self._view in ("shots", "images") and not empty
        self.query_one("#compare-two").display = self._view == "two"
        nothing = self.query_one("#compare-empty", Static)
        nothing.display = empty and self._view != "two"
        nothing.update(NONE_LEFT if self._where else EMPTY)
        self.query_one("#compare-head", Static).update(self._head())
        if self._view == "table":
            head = [" ".join(found.rows), *(found.column_label(j) for j in range(len(found.column_keys)))]
            labels = [shown(found.row_label(i)) for i in range(len(found.row_keys))]
            cells = [[(shown(cell.text), _kind(cell)) for cell in line] for line in found.cells]
            if not empty:
                self.grid.show([shown(text) for text in head], labels, cells)
                self._judge()
        elif self._view in ("shots", "images"):
            self._draw_curves()
        shown_now = {"table": self.grid, "two": self.query_one("#compare-two")}.get(self._view)
        if shown_now is not None and shown_now.display and shown_now is not self.focused:
            shown_now.focus()
        self._foot()

    def _head(self) -> Text:
        assert self._pivot is not None
        parts = [VIEWS[self._view]]
        if self._view == "table":
            parts.append(f"rows: {' '.join(self._pivot.rows)}; columns: {' '.join(self._pivot.columns) or 'none'}")
        if self._where:
            parts.append(f"filter {self._where}")
        return Text(f" {glyphs.DOT} ".join(map(shown, parts)), no_wrap=True, overflow="ellipsis")

    def _draw_curves(self) -> None:
        curves = self._curves()
        series = [
            Series(curve.name, [point.x for point in curve.points], [point.mean for point in curve.points])
            for curve in curves[:CURVES_MAX]
        ]
        self.query_one("#compare-chart", Chart).show(series)

    def _curves(self) -> list[Curve]:
        from datadream.report.curves import over_images, over_shots

        assert self._pivot is not None
        return (over_shots if self._view == "shots" else over_images)(self._pivot.table)

    def _foot(self) -> None:
        """The cell under the cursor, then the notes."""
        found = self._pivot
        text = Text(overflow="fold")
        if found is None or (not found.table and self._view != "two"):
            pass
        elif self._view == "table":
            i, j = self.grid.row, self.grid.column
            text.append(f"{shown(found.row_label(i))}, {shown(found.column_label(j))}: ", "bold")
            text.append(f"{shown(found.cells[i][j].text)}{_seeds(found.cells[i][j])}\n")
            settings = found.values(i, j)["method"][1]
            notes = [note for note in found.notes() if note[:1] != "("]
            if settings:
                notes.insert(0, f"{found.settings[settings]} {settings}")
            text.append(_plain("\n".join(map(shown, notes))), "dim")
        elif self._view in ("shots", "images"):
            text.append_text(self._legend())
        else:
            text.append("left and right: the first and the second run; escape goes back to the table", "dim")
        self.query_one("#compare-foot", Static).update(text)

    def _legend(self) -> Text:
        """Every curve with its last number, whole; and what is left out."""
        curves, text = self._curves(), Text()
        if self._view == "images" and not curves:
            return text.append("no run was made with -o generate.images_per_class=N, so there is nothing to draw")
        for letter, curve in zip(LETTERS, curves[:CURVES_MAX], strict=False):
            last = curve.points[-1]
            text.append(f"{letter} ", "bold").append(
                f"{shown(curve.name)} {last.mean:.1f} n={last.seeds}   ".replace(" ", "\xa0")
            )
            text.append(" ")
        if len({point.x for curve in curves for point in curve.points}) == 1:
            text.append("\nonly one number of them was run, so these are points", "dim")
        if len(curves) > CURVES_MAX:
            text.append(f"\nthe first {CURVES_MAX} of {len(curves)} curves; / filters", "yellow")
        return text.append("\nmeans over seeds, in percent; v shows the next view", "dim")

    # Reading more

    def _judge(self) -> None:
        """Ask for the marks of the columns that are seen, unless they are known."""
        found = self._pivot
        if found is None:
            return
        seen = {
            cell.row.run_ids[0]
            for line in found.cells
            for j in self.grid.seen_columns
            if (cell := line[j]).row is not None
        }
        if seen <= self._judged:
            return
        from datadream.report.pivot import rivals

        groups = {rivals(row) for row in found.table if row.run_ids[0] in seen - self._judged}
        part = [row for row in found.table if rivals(row) in groups]

        def answer(judged: tuple[dict[str, str], int]) -> None:
            self._marks |= judged[0]
            self._left_out += judged[1]
            self._judged |= {row.run_ids[0] for row in part}
            self._turn()

        self.ask("marks", lambda data: read.read_marks(data, part), answer)

    def on_grid_moved(self) -> None:
        """Another cell: say what it is, and find out what its keys would do."""
        if self._pivot is None or not self._pivot.table or self._view != "table":
            return
        self._foot()
        self._judge()
        at = (self.grid.row, self.grid.column)
        if at == self._cell_of:
            return
        self._cell_of, self._cell = at, None
        pivot = self._pivot

        def answer(facts: read.CellFacts) -> None:
            if at == self._cell_of:
                self._cell = facts

        self.ask("cell", lambda data: read.read_cell(data, pivot, *at), answer)

    def _read_two(self) -> None:
        ids = self._two or self._against_best()
        if ids is None:
            return

        def question(data: Data) -> TwoRuns:
            from datadream.report.runs_diff import two_runs

            return two_runs(data.home, *ids)

        def answer(found: TwoRuns) -> None:
            from tui.screens.compare_two import side_by_side

            self.query_one("#two-text", Static).update(side_by_side(found, self.size.width - 4))

        self.ask("two", question, answer)

    def _against_best(self) -> tuple[str, str] | None:
        """The best of its column and the run under the cursor, of one seed where they share one."""
        from datadream.report.pivot import BEST, rivals

        row = self._at().row if self._pivot and self._pivot.table else None
        if row is None or self._pivot is None:
            return None
        others = [other for other in self._pivot.table if rivals(other) == rivals(row) and other is not row]
        others.sort(key=lambda other: (self._pivot_mark(other) != BEST, -other.mean))
        for other in others:
            for seed, run_id in zip(row.seeds, row.run_ids, strict=True):
                if seed in other.seeds:
                    return other.run_ids[other.seeds.index(seed)], run_id
        return None

    def _pivot_mark(self, row: Row) -> str:
        return self._marks.get(row.run_ids[0], "")

    def _at(self) -> Cell:
        assert self._pivot is not None
        return self._pivot.cells[self.grid.row][self.grid.column]

    # Actions

    def why_not(self, action: str) -> str:
        """What a cell lacks to do it."""
        if self._pivot is None:
            return "the table is still being read"
        if action in ("view", "filter"):
            return ""
        if not self._pivot.table:
            return NONE_LEFT if self._where else EMPTY
        if action in ("missing", "seeds", "images", "open") and self._view != "table":
            return "choose a cell of the table first; escape goes back to it"
        if action in ("missing", "seeds", "images"):
            return self._why_not_cell(action)
        if action == "open" and self._at().row is None:
            return "nothing was run here; m queues it"
        return ""

    def _why_not_cell(self, action: str) -> str:
        cell, facts = self._at(), self._cell
        if action == "missing" and not cell.lacks:
            return "this cell lacks no seed that its row or column has; a queues more seeds"
        if action == "seeds" and cell.row is None:
            return "nothing was run here; m queues it"
        if facts is None:
            return "the cell is still being read"
        if action == "images":
            return "" if facts.synth else "there are no synthetic images behind this cell"
        return facts.why

    def command(self, action: str) -> str:
        """The command line's form."""
        if self._pivot is None or not self._pivot.table:
            return "datadream compare" if action == "view" else ""
        turned = f"datadream compare --pivot {'+'.join(self._rows)},{'+'.join(self._columns)}"
        if action in ("view", "rows", "copy"):
            return f"{turned} --format md" if action == "copy" else turned
        if action == "export":
            return f"{turned} --format html --output compare.html"
        if action in ("missing", "seeds") and self._cell is not None:
            request = self._cell.missing if action == "missing" else self._cell.more
            return read.line(request) if request is not None else ""
        if action == "images" and self._cell is not None and self._cell.synth:
            return f"datadream synth show {self._cell.synth}"
        if action == "open" and self._view == "table" and self._at().row is not None:
            return f"datadream runs ls --where {read.quoted(self._where_of())}"
        return f"datadream runs ls --where {read.quoted(self._where)}" if action == "filter" and self._where else ""

    def do_view(self) -> None:
        """The next view."""
        names = list(VIEWS)
        view = names[(names.index(self._view) + 1) % len(names)]
        if view == "two" and self._two is None and self._against_best() is None:
            self.dream.say("no two runs to compare here: mark two on 6 (Runs) and press x", "warning")
            view = "table"
        self._look(view)

    def do_rows(self) -> None:
        """Choose rows, then columns."""
        from datadream.report.pivot import DIMENSIONS
        from tui.screens.modals import Choose

        def rows(chosen: str | list[str] | None) -> None:
            if isinstance(chosen, list) and chosen:
                rest = [name for name in DIMENSIONS if name not in chosen]
                self.dream.push_screen(
                    Choose("Columns: one for each", [(name, name) for name in rest], many=True, chosen=self._columns),
                    lambda found: columns(chosen, found),
                )
            elif chosen is not None:
                self.dream.say("rows need at least one of them", "warning")

        def columns(chosen: list[str], found: str | list[str] | None) -> None:
            if isinstance(found, list):
                self._rows, self._columns = tuple(chosen), tuple(found)
                self.dream.prefs.set(PREFS, {"rows": list(chosen), "columns": list(found)})
                self._turn()

        options = [(name, name) for name in DIMENSIONS]
        self.dream.push_screen(Choose("Rows: one for each", options, many=True, chosen=self._rows), rows)

    def do_filter(self) -> None:
        """Which runs count."""
        from store.where import parse_where
        from tui.screens.modals import AskText

        def check(text: str) -> str:
            from datadream.errors import UserError

            try:
                parse_where(text)
            except UserError as error:
                return str(error)
            return ""

        def answered(text: str | None) -> None:
            if text is not None:
                self._read(text.strip())

        hint = "as: method=datadream-cls shots>=4 source=digits; empty: all runs"
        self.dream.push_screen(AskText("Which runs count", self._where, hint, check), answered)

    def do_missing(self) -> None:
        """Queue what the cell lacks."""
        assert self._cell is not None and self._cell.missing is not None
        self._offer(self._cell.missing, self._cell.recipe)

    def do_seeds(self) -> None:
        """Queue two more seeds."""
        assert self._cell is not None and self._cell.more is not None
        self._offer(self._cell.more, self._cell.recipe)

    def _offer(self, request: Any, recipe: Mapping[str, Any] | None) -> None:
        self.ask("offer", lambda data: read.offer(data, request, recipe), self._confirm)

    def _confirm(self, offer: read.Offer) -> None:
        from tui.screens.modals import Confirm

        jobs: list[str] = []

        def deed(data: Data) -> None:
            jobs.extend(read.queue(data, offer.plan))

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(offer.done, deed, undo=lambda data: read.unqueue(data, jobs), command=offer.command)

        self.dream.push_screen(Confirm(offer.question, shown_lines(offer.about), yes="Queue"), answered)

    def do_export(self) -> None:
        """Choose formats; the paths are told."""
        from datadream.report.exports import FORMATS
        from tui.screens.modals import Choose

        pivot = self._pivot
        assert pivot is not None

        def answered(chosen: str | list[str] | None) -> None:
            if isinstance(chosen, list) and chosen:
                self.ask(
                    "export",
                    lambda data: read.write_exports(data, pivot, chosen),
                    lambda paths: self.dream.did(f"written: {', '.join(paths)}", command=self.command("export")),
                )

        self.dream.push_screen(Choose("Export as", list(FORMATS.items()), many=True, chosen=["csv"]), answered)

    def do_copy(self) -> None:
        """The table as Markdown."""
        from datadream.report.exports import export

        assert self._pivot is not None
        self.dream.copy(export(self._pivot, "md").decode())

    def do_images(self) -> None:
        """The synthetic set of the newest seed."""
        if self._cell is not None:
            self.dream.open_gallery(self._cell.synth)

    def do_open(self) -> None:
        """The list of runs, filtered to the cell."""
        from tui.screens.runs import RunsScreen

        where = self._where_of()
        screen = self.dream.go("runs")
        if isinstance(screen, RunsScreen):
            screen.where = where
            if screen.is_mounted:
                screen.refresh_data()

    def _where_of(self) -> str:
        """The filter that leaves the runs of the cell under the cursor."""
        assert self._pivot is not None
        of = self._pivot.values(self.grid.row, self.grid.column)
        method, settings = of.pop("method")
        parts = [f"method={read.quoted(method)}", f"settings={read.quoted(settings)}" if settings else "settings="]
        return " ".join([*parts, *(f"{name}={read.quoted(str(value))}" for name, value in of.items())])


def _kept(kept: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rows and columns as chosen last; the usual ones when that can't be read."""
    from datadream.errors import UserError
    from datadream.report.pivot import COLUMNS, ROWS, parse_pivot

    try:
        return parse_pivot(f"{'+'.join(kept['rows'])},{'+'.join(kept['columns'])}")
    except (UserError, KeyError, TypeError):
        return ROWS, COLUMNS


def _kind(cell: Cell) -> str:
    from datadream.report.pivot import ALIKE, BEST

    return "none" if cell.row is None else {BEST: "best", ALIKE: "alike"}.get(cell.mark, "")


def _seeds(cell: Cell) -> str:
    """The seeds themselves, and their own numbers."""
    if cell.row is None:
        return f" with seeds {', '.join(map(str, cell.lacks))}"
    each = (f"{seed}: {100 * value:.1f}" for seed, value in zip(cell.row.seeds, cell.row.accuracy, strict=True))
    return f" (seed {', '.join(each)})"


def _plain(text: str) -> str:
    from tui.widgets.grid import ASCII

    return text.translate(ASCII) if glyphs.ASCII else text


def shown_lines(text: str) -> str:
    """Lines stay lines; nothing else steers the terminal."""
    return "\n".join(map(shown, text.splitlines()))
