"""Every run: which method on which data gave which number; details, comparison of two, labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from rich.console import RenderableType
from textual.binding import BindingType

from datadream.text import shown
from tui.actions import bindings
from tui.screens.lists.listing import ListScreen
from tui.screens.run.parts import pane, read_run, with_differences
from tui.widgets.table_columns import Column, Row, column

if TYPE_CHECKING:
    from tui.services.data import Data


SECTION = re.compile(r"\b(?:adapt|generate|classify)\.")


class RunsScreen(ListScreen):
    """Newest first; the pane shows the number, the classes it is made of, and what was set."""

    KEY: ClassVar[str] = "runs"
    CRUMB: ClassVar[str] = "Runs"
    NOUN: ClassVar[str] = "run"
    CLI: ClassVar[str] = "runs"
    NEWEST: ClassVar[str] = "submitted"
    SHOWN: ClassVar[tuple[str, ...]] = (
        *("id", "state", "method", "data", "shots", "seed", "accuracy", "settings", "source", "tags", "ended"),
    )
    EMPTY: ClassVar[str] = "no runs yet: n plans an experiment, d on the dashboard starts the demo"
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")

    def make_column(self, name: str) -> Column:
        """Settings by their own names: what is beside them says of which stage."""
        if name == "settings":
            return column(name, lambda row: shown(SECTION.sub("", str(row.get("settings") or ""))))
        return super().make_column(name)

    def detail(self, data: Data, row: Row) -> RenderableType:
        """Number, classes, settings, labels."""
        return pane(read_run(data, row), self.pane_width)

    def dress(self, data: Data, rows: list[Row]) -> list[Row]:
        """Of runs that look alike in the list, what sets them apart, beside what was set by hand."""
        return with_differences(data, rows)

    def open_row(self, row_id: str) -> None:
        """A screen with everything."""
        self._open(row_id)

    def why_not(self, action: str) -> str:
        """Two runs are compared, no more and no less."""
        marked = len(self.table.seen_marks)
        if action == "compare" and marked != 2:
            hidden = f", and {self.hidden()} more hidden by the filter" if self.hidden() else ""
            return f"mark two runs with space first; {marked} marked{hidden}"
        if action == "confusion" and not self.table.cursor_id:
            return super().why_not("open")
        row = self.table.row(self.table.cursor_id)
        if action == "images" and (row is None or not row["synth"]):
            return "this run was trained without synthetic images" if row else super().why_not("open")
        return super().why_not(action)

    def command(self, action: str) -> str:
        """The command line's form."""
        if action == "compare" and len(self.table.seen_marks) == 2:
            return "\n".join(f"datadream runs show {run_id}" for run_id in self.table.seen_marks)
        if action == "confusion" and self.table.cursor_id:
            return f"datadream runs show {self.table.cursor_id}"
        row = self.table.row(self.table.cursor_id)
        if action == "images" and row is not None and row["synth"]:
            return f"datadream synth show {row['synth']}"
        if action == "lineage" and row is not None:
            return f"datadream classifier show {row['classifier']}"
        return super().command(action)

    def do_compare(self) -> None:
        """The two marked, class by class."""
        self.desk.compare_runs(self.table.seen_marks)

    def meant(self, action: str) -> int:
        """The two that are compared, too."""
        return len(self.table.seen_marks) if action == "compare" else super().meant(action)

    def do_images(self) -> None:
        """What it was trained on, beside the real shots."""
        row = self.table.row(self.table.cursor_id)
        if row is not None:
            self.desk.open_gallery(str(row["synth"]))

    def do_confusion(self) -> None:
        """The classes of the run under the cursor."""
        self._open(self.table.cursor_id, only_classes=True)

    def do_lineage(self) -> None:
        """From the shots of the run under the cursor to its number."""
        run_id, known = self.table.cursor_id, self.table.row(self.table.cursor_id)
        if known is not None:
            self.desk.open_lineage(str(known["classifier"]))
            return

        def classifier(data: Data) -> str:
            from store import queries

            rows = queries.rows_of(data.registry(), "run", [run_id])
            return str(rows[0]["classifier"]) if rows else ""

        self.ask("lineage", classifier, lambda found: self.desk.open_lineage(found) if found else None, on_top=True)

    def _open(self, run_id: str, only_classes: bool = False) -> None:
        from tui.screens.run.screen import RunScreen

        self.desk.push_screen(RunScreen(run_id, only_classes))
