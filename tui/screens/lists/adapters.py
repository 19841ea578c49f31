"""Adapters: what was learnt, from which shots, by which recipe, with which curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from tui.actions import bindings
from tui.screens.lists.artifact_list import ArtifactList
from tui.screens.lists.artifact_parts import adapter_details

if TYPE_CHECKING:
    from tui.screens.lists.artifact_list import Details


class AdaptersScreen(ArtifactList):
    """Newest first."""

    KEY: ClassVar[str] = "adapters"
    CRUMB: ClassVar[str] = "Adapters"
    NOUN: ClassVar[str] = "adapter"
    NAME: ClassVar[str] = "Adapter"
    CLI: ClassVar[str] = "adapter"
    SHOWN: ClassVar[tuple[str, ...]] = ("id", "per", "rank", "shots", "seed", "set", "created", "bytes", "tags")
    EMPTY: ClassVar[str] = "no adapters yet: n plans an experiment, d on the dashboard starts the demo"
    BINDINGS: ClassVar[list[BindingType]] = bindings("adapters")

    def details(self) -> Details:
        """Facts, curve, shots."""
        return adapter_details

    def open_row(self, row_id: str) -> None:
        """Its details, over the list."""
        del row_id
        self.do_facts()

    def command(self, action: str) -> str:
        """The command line's form."""
        row = self.table.row(self.table.cursor_id) if self.is_mounted else None
        if action == "shots" and row is not None:
            return f"datadream set show {row['set']}"
        if action == "job" and row is not None:
            return f"datadream job show {row['id']}"
        return super().command(action)

    def why_not(self, action: str) -> str:
        """The shots of a row that is still being read aren't known."""
        row = self.table.row(self.table.cursor_id) if self.is_mounted else None
        return super().why_not(action) or ("the row is still loading" if action == "shots" and row is None else "")

    def do_shots(self) -> None:
        """The shots it learnt from, as images."""
        from tui.screens.gallery import GalleryScreen

        row = self.table.row(self.table.cursor_id)
        if row is not None:
            self.desk.push_screen(GalleryScreen(str(row["set"]), "set"))

    def do_job(self) -> None:
        """The job that learnt it: its curves and its log."""
        self.desk.open_job(self.table.cursor_id)
