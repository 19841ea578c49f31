"""Few-shot sets: what is frozen in them, their shots as images, and drawing a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from tui.actions import bindings
from tui.screens.lists.artifact_list import ArtifactList
from tui.screens.lists.artifact_parts import set_details

if TYPE_CHECKING:
    from tui.screens.lists.artifact_list import Details
    from tui.screens.new.new_set import Made


class SetsScreen(ArtifactList):
    """By name; enter shows the shots, class by class."""

    KEY: ClassVar[str] = "sets"
    CRUMB: ClassVar[str] = "Few-shot sets"
    NOUN: ClassVar[str] = "set"
    NAME: ClassVar[str] = "Few-shot set"
    CLI: ClassVar[str] = "set"
    SORT: ClassVar[str] = "name"
    SHOWN: ClassVar[tuple[str, ...]] = (
        *("id", "name", "source", "shots", "seed", "classes", "train", "val", "test", "tags"),
    )
    EMPTY: ClassVar[str] = "no sets yet: N draws one from the built-in digits or your own folder"
    BINDINGS: ClassVar[list[BindingType]] = bindings("sets")

    def details(self) -> Details:
        """Facts, split and leaks, classes, first shots."""
        return set_details

    def open_row(self, row_id: str) -> None:
        """Its shots as images."""
        from tui.screens.gallery import GalleryScreen

        self.desk.push_screen(GalleryScreen(row_id, "set"))

    def command(self, action: str) -> str:
        """`set make` with its defaults, until the dialog says more."""
        if action == "make":
            return "datadream set make digits --shots 16 --seed 1"
        return super().command(action)

    def do_make(self) -> None:
        """Ask for a source, shots and seed; check, then draw and keep."""
        from tui.screens.new.new_set import NewSet

        def made(found: Made | None) -> None:
            if found is not None:
                self.desk.did(found.told, command=found.command)
                if found.warning:
                    self.desk.say(found.warning, "warning")
                self.desk.poke()
                self.refresh_data()

        self.desk.push_screen(NewSet(), made)
