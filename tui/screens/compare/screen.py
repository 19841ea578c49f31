"""Every number of the home in one table, turned as one likes; curves; two runs; what is missing, queued by a key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from datadream.errors import UserError
from datadream.home.quoting import bash_word
from datadream.text import shown
from tui.actions import bindings
from tui.drawing import glyphs
from tui.screens.compare import read, texts
from tui.screens.compare.choose import PREFS, chosen_last
from tui.screens.compare.export import Exporting
from tui.screens.compare.queue import NOTHING_RUN, Queueing
from tui.screens.compare.two import ABOUT, against_best, side_by_side
from tui.screens.run.screen import Reading
from tui.widgets.chart import Chart
from tui.widgets.grid import Grid

if TYPE_CHECKING:
    from datadream.report.curves import Curve
    from datadream.report.pivot import Cell, Pivot
    from datadream.report.rows import Row
    from datadream.report.runs_diff import TwoRuns
    from tui.services.data import Data

VIEWS = {
    "table": "Table",
    "against": "Against real-only, and notes",
    "shots": "Accuracy over shots",
    "images": "Accuracy over images per class",
    "two": "Two runs",
}
EMPTY = "no results yet: n plans an experiment, d on the dashboard starts the demo"
NONE_LEFT = "no matching run; escape clears the filter"


class CompareScreen(Queueing, Exporting):
    """Means come from the registry at once; which differences are real is worked out after that, in the background."""

    KEY: ClassVar[str] = "compare"
    CRUMB: ClassVar[str] = "Compare"
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self) -> None:
        super().__init__()
        self._view = "table"
        self._table: tuple[Row, ...] | None = None
        self._read_notes: tuple[str, ...] = ()
        self._verdicts: tuple[read.Verdicts, ...] = ()
        self._judged: set[str] = set()
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
            self._rows, self._columns = chosen_last(self.desk.prefs.get(PREFS, {}))
        self._read(self._asked)
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
        elif self._asked:
            self._read("")
        else:
            return False
        return True

    def _read(self, where: str) -> None:
        self._asked = where  # a refresh meanwhile must not forget it

        def question(data: Data) -> read.Read | UserError:
            try:
                return read.read_table(data, where)
            except UserError as error:
                return error

        def answer(found: read.Read | UserError) -> None:
            if isinstance(found, UserError):
                self._asked = self._where
                self.desk.say(str(found), "error")
                if self._pivot is None:
                    nothing = self.query_one("#compare-empty", Static)
                    nothing.display = True
                    nothing.update(f"{shown(str(found))}\n/ filters")
                return
            self._where = where
            known = {row.id: (row.run_ids, row.correct) for row in self._table or ()}
            if known != {row.id: (row.run_ids, row.correct) for row in found.rows}:
                self._verdicts, self._judged = (), set()
            self._table, self._read_notes = found.rows, found.notes
            self._turn()

        self.ask("table", question, answer)

    def _turn(self) -> None:
        """Make the pivot of what was read, by what was chosen."""
        if self._table is None:
            return
        self._pivot = self._turned(self._verdicts, self._judged)
        self._cell_of = (-1, -1)
        self._draw()

    def _turned(self, verdicts: Sequence[read.Verdicts], judged: Collection[str]) -> Pivot:
        from datadream.report.judge import RUNS_MAX
        from datadream.report.pivot import pivot

        table = self._table or ()
        left_out = sum(len(found.without) for found in verdicts)
        note = ""
        if left_out:
            note = f"{left_out} rows are not tested: limit of {RUNS_MAX} runs; / filters."
        elif len(judged) < len(table):
            note = "Differences are tested for the visible columns."
        return pivot(read.compared(table, verdicts, self._read_notes), self._rows, self._columns, note)

    def _whole(self, data: Data) -> Pivot:
        table = self._table or ()
        rest = [row for row in table if row.id not in self._judged]
        verdicts = (*self._verdicts, read.read_marks(data, rest)) if rest else self._verdicts
        return self._turned(verdicts, {row.id for row in table})

    def _look(self, view: str) -> None:
        self._view = view
        self.tell()
        if view == "table":
            self._two = None
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
        self.query_one("#compare-two").display = self._view == "two" or (self._view == "against" and not empty)
        nothing = self.query_one("#compare-empty", Static)
        nothing.display = empty and self._view != "two"
        nothing.update(NONE_LEFT if self._where else EMPTY)
        turned = found if self._view == "table" else None
        self.query_one("#compare-head", Static).update(texts.head(VIEWS[self._view], turned, self._where))
        if self._view == "table":
            head = [" ".join(found.rows), *(found.column_label(j) for j in range(len(found.column_keys)))]
            labels = [shown(found.row_label(i)) for i in range(len(found.row_keys))]
            cells = [[(shown(cell.brief), texts.kind(cell)) for cell in line] for line in found.cells]
            if not empty:
                self.grid.show([shown(text) for text in head], labels, cells)
                self._judge()
                self._read_cell(found, (self.grid.row, self.grid.column))
        elif self._view in ("shots", "images"):
            self.query_one("#compare-chart", Chart).show(texts.series(self._curves()))
        elif self._view == "against":
            self.query_one("#two-text", Static).update(texts.against(found))
        reading = self.query_one("#compare-two")
        shown_now = {"table": self.grid, "two": reading, "against": reading}.get(self._view)
        if shown_now is not None and shown_now.display and shown_now is not self.focused:
            shown_now.focus()
        self._foot()

    def _curves(self) -> list[Curve]:
        from datadream.report.curves import over_images, over_shots

        assert self._pivot is not None
        return (over_shots if self._view == "shots" else over_images)(self._pivot.table)

    def _foot(self) -> None:
        """The cell under the cursor, or the curves' legend; then the notes."""
        found, text = self._pivot, Text()
        if found is None or (not found.table and self._view != "two"):
            pass
        elif self._view == "table":
            text = texts.of_cell(found, self.grid.row, self.grid.column)
            self.grid.plot(texts.spans(found, self.grid.column))
        elif self._view in ("shots", "images"):
            text = texts.legend(self._curves())
        elif self._view == "against":
            text.append("v shows the next view; escape goes back to the table", "dim")
        else:
            text.append(ABOUT, "dim")
        self.query_one("#compare-foot", Static).update(text)

    # Reading more

    def _judge(self) -> None:
        """Ask for the marks of the columns that are seen, unless they are known."""
        found = self._pivot
        if found is None:
            return
        part = read.unjudged(found, self.grid.seen_columns, self._judged)
        if not part:
            return

        def answer(found: read.Verdicts) -> None:
            self._verdicts = (*self._verdicts, found)
            self._judged |= {row.id for row in part}
            self._turn()

        self.ask("marks", lambda data: read.read_marks(data, part), answer)

    def on_grid_moved(self) -> None:
        """Another cell: say what it is, and find out what its keys would do."""
        if self._pivot is None or not self._pivot.table or self._view != "table":
            return
        self._foot()
        self._judge()
        self._read_cell(self._pivot, (self.grid.row, self.grid.column))

    def _read_two(self) -> None:
        ids = self._two_ids()
        if ids is None:
            return

        def question(data: Data) -> TwoRuns:
            from datadream.report.runs_diff import two_runs

            return two_runs(data.home, *ids)

        def answer(found: TwoRuns) -> None:
            if self._view == "two":
                self.query_one("#two-text", Static).update(side_by_side(found, self.size.width - 4))

        self.ask("two", question, answer)

    def _two_ids(self) -> tuple[str, str] | None:
        """The two that were asked for, else the best of its column and the run under the cursor."""
        if self._two is not None or self._pivot is None or not self._pivot.table:
            return self._two
        row = self._at().row
        return against_best(self._pivot.table, self._pivot.judged.marks, row) if row is not None else None

    def _at(self) -> Cell:
        assert self._pivot is not None
        row = min(self.grid.row, len(self._pivot.cells) - 1)  # the grid follows only while it is seen
        return self._pivot.cells[row][min(self.grid.column, len(self._pivot.cells[row]) - 1)]

    # Actions

    def why_not(self, action: str) -> str:
        """What a cell lacks to do it."""
        if action == "filter":
            return ""
        if self._pivot is None:
            return "the table is still loading"
        if action == "view":
            return ""
        if not self._pivot.table:
            return NONE_LEFT if self._where else EMPTY
        if action in ("missing", "seeds", "images", "open") and self._view != "table":
            return "choose a cell first; escape goes back to the table"
        if action in ("missing", "seeds", "images"):
            return self._why_not_cell(action, self._at())
        if action == "open" and self._at().row is None:
            return NOTHING_RUN
        return ""

    def command(self, action: str) -> str:
        """The command line's form."""
        if self._pivot is None or not self._pivot.table:
            return "datadream compare" if action == "view" else ""
        if action in ("view", "rows"):
            return self._compare_line()
        if action == "filter":
            return self._compare_line() if self._where else ""
        if action == "copy":
            return f"{self._compare_line()} --format md"
        if action == "export":
            return self._export_line(["html"])
        if action in ("missing", "seeds"):
            return self._queue_line(action)
        if action == "images" and self._cell is not None and self._cell.synth:
            return f"datadream synth show {self._cell.synth}"
        if action == "open" and self._view == "table" and self._at().row is not None:
            return f"datadream runs ls --where {bash_word(self._where_of())}"
        return ""

    def do_view(self) -> None:
        """The next view."""
        names = list(VIEWS)
        view = names[(names.index(self._view) + 1) % len(names)]
        if view == "two" and self._two_ids() is None:
            self.desk.say("no two runs to compare: mark two on 6 (Runs) and press x", "warning")
            view = "table"
        self._look(view)

    def do_images(self) -> None:
        """The synthetic set of the newest seed."""
        if self._cell is not None:
            self.desk.open_gallery(self._cell.synth)

    def do_open(self) -> None:
        """The list of runs, filtered to the cell."""
        from tui.screens.lists.runs import RunsScreen

        where = self._where_of()
        screen = self.desk.go("runs", base=True)
        if isinstance(screen, RunsScreen):
            screen.where = where
            if screen.is_mounted:
                screen.refresh_data()

    def _where_of(self) -> str:
        assert self._pivot is not None
        return read.where_of(self._pivot, self.grid.row, self.grid.column, self._where)
