"""What the lists of sets, adapters and synthetic sets share: details by one function, beside the list or over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.console import RenderableType

from datadream.errors import UserError
from tui.screens.lists.listing import ListScreen
from tui.widgets.table_columns import Row

if TYPE_CHECKING:
    from tui.services.data import Data

    Details = Callable[[Data, Row, int, bool], RenderableType]

PANEL_MAX, PANEL_EDGES = 110, 10


class ArtifactList(ListScreen):
    """A list whose details need the width and whether the ground is dark."""

    NAME: ClassVar[str] = ""  # of one of them, as a title has it

    def details(self) -> Details:
        """Who makes them, in the pool."""
        raise NotImplementedError

    def detail(self, data: Data, row: Row) -> RenderableType:
        """In the pane; what is gone or damaged is a sentence there."""
        return self._made(data, row, self.pane_width or 60)

    def _made(self, data: Data, row: Row, width: int) -> RenderableType:
        from rich.text import Text

        from datadream.text import shown

        try:
            return self.details()(data, row, width, self.app.current_theme.dark)
        except UserError as error:
            return Text(shown(str(error)))

    def why_not(self, action: str) -> str:
        """What needs a row says so."""
        return super().why_not("open") if action in ("facts", "shots", "job") else super().why_not(action)

    def command(self, action: str) -> str:
        """`show`, for everything that looks at the row."""
        if action in ("facts", "lineage") and self.ids():
            return f"datadream {self.CLI} show {self.table.cursor_id}"
        return super().command(action)

    def do_lineage(self) -> None:
        """Up to its shots, down to its numbers."""
        self.desk.open_lineage(self.table.cursor_id)

    def do_facts(self) -> None:
        """The details over the list, where there is no room beside it; the panel first, then what is read."""
        from tui.screens.shared.modals import READING, Panel

        row_id, noun = self.table.cursor_id, self.NOUN
        width = min(PANEL_MAX, self.size.width) - PANEL_EDGES

        def question(data: Data) -> RenderableType:
            from store import queries

            rows = queries.rows_of(data.registry(), noun, [row_id])
            return self._made(data, rows[0], width) if rows else "it no longer exists"

        panel = Panel(f"{self.NAME} {row_id[:8]}", READING)
        self.desk.push_screen(panel)
        self.ask("facts", question, panel.fill, failed=panel.fill)
