"""Every job of the home: what it is, how far it is, why it stands; and what can be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.binding import BindingType

from datadream.text import shown
from tui.actions import bindings
from tui.drawing import glyphs
from tui.screens.job.actions import JobDeeds
from tui.screens.lists.details import facts
from tui.screens.lists.listing import ListScreen
from tui.widgets.table_columns import Row

if TYPE_CHECKING:
    from tui.services.data import Data

LAST_LINES, CHANGES = 8, 6


class JobsScreen(JobDeeds, ListScreen):
    """Newest first; the pane shows the way the job went and the end of its log."""

    KEY: ClassVar[str] = "jobs"
    CRUMB: ClassVar[str] = "Jobs"
    NOUN: ClassVar[str] = "job"
    CLI: ClassVar[str] = "job"
    NEWEST: ClassVar[str] = "submitted"
    SHOWN: ClassVar[tuple[str, ...]] = ("id", "state", "stage", "progress", "title", "slot", "reason")
    EMPTY: ClassVar[str] = "no jobs yet: n plans an experiment, d on the dashboard starts the demo"
    BINDINGS: ClassVar[list[BindingType]] = bindings("jobs")

    def job_ids(self) -> list[str]:
        """Marked, or under the cursor."""
        return self.ids()

    def job_rows(self) -> Sequence[Any]:
        """What is loaded of them."""
        return self.rows()

    def open_row(self, row_id: str) -> None:
        """The job's own screen."""
        self.desk.open_job(row_id)

    def detail(self, data: Data, row: Row) -> RenderableType:
        """What it does, how it came here, and what it said last."""
        from datadream.home.labels import labels_to_show
        from datadream.jobs import follow
        from store import queries

        job_id = str(row["id"])
        names = ("title", "reason", "experiment", "attempts", "slot", "priority", "submitted", "started", "ended")
        makes = shown(f"  {row['stage']} makes {row['kind']} {job_id}")
        head = Text.assemble(glyphs.state_text(str(row["state"])), makes)
        if row["total"]:
            head.append(shown(f"  {row['done']:,} of {row['total']:,} {row['unit']}"))
        parts: list[RenderableType] = [head, facts(row, names, note=labels_to_show(data.home, job_id).note)]
        for change in queries.history(data.registry(), job_id)[-CHANGES:]:
            line = Text(shown(f"{str(change['at'])[:19].replace('T', ' ')}  "), "dim")
            line.append_text(glyphs.state_text(str(change["state"])))
            line.append(f"  {shown(str(change['reason']))}" if change["reason"] else "")
            parts.append(line)
        parts += [Text(f"| {shown(line)}", "dim") for line in follow.last_lines(data.home, job_id, LAST_LINES)]
        return Group(*parts)
