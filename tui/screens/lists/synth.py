"""Synthetic sets: what was drawn, from which adapter and shots; enter shows the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from tui.actions import bindings
from tui.screens.lists.artifact_list import ArtifactList
from tui.screens.lists.artifact_parts import synth_details

if TYPE_CHECKING:
    from tui.screens.lists.artifact_list import Details


class SynthScreen(ArtifactList):
    """Newest first."""

    KEY: ClassVar[str] = "synth"
    CRUMB: ClassVar[str] = "Synthetic sets"
    NOUN: ClassVar[str] = "synth"
    NAME: ClassVar[str] = "Synthetic set"
    CLI: ClassVar[str] = "synth"
    SHOWN: ClassVar[tuple[str, ...]] = (
        *("id", "adapter", "images_per_class", "guidance_scale", "seed", "created", "bytes", "tags"),
    )
    EMPTY: ClassVar[str] = "no synthetic sets yet: n plans an experiment, d on the dashboard starts the demo"
    BINDINGS: ClassVar[list[BindingType]] = bindings("synth")

    def details(self) -> Details:
        """Facts, and an image of each class."""
        return synth_details

    def open_row(self, row_id: str) -> None:
        """The images."""
        self.desk.open_gallery(row_id)
