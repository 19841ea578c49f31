"""What a screen may ask of the app, and all it knows of it: screens, commands and services import this, never the app.

In a screen the app is Textual's `self.app`; `desk_of` gives it as this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, Protocol, TypeVar, cast

from textual.app import App
from textual.screen import Screen

from tui.services.data import Data
from tui.services.snapshot import Snapshot
from tui.terminal.prefs import Prefs

T = TypeVar("T")
Severity = Literal["information", "warning", "error"]


class Desk(Protocol):
    """The app, as its screens see it."""

    data: Data
    prefs: Prefs
    pool: Executor
    snapshot: Snapshot | None
    frozen: bool

    @property
    def current_mode(self) -> str:
        """The mode whose screens are shown."""

    def push_screen(self, screen: Any, callback: Any = None) -> Any:
        """Show a screen over this one, and call back with what it is dismissed with."""

    def say(self, text: str, severity: Severity = "information") -> None:
        """A toast of one line."""

    def did(self, text: str, undo: Callable[[Data], Any] | None = None, command: str = "") -> None:
        """Something was done: say it, log its command, keep its undoing."""

    def deed(
        self, deed: Callable[[Data], T], done: Callable[[T], None], failed: Callable[[], None] = lambda: None
    ) -> None:
        """Do something in a thread, then `done` or `failed`."""

    def trouble(self, error: Exception) -> None:
        """A readable panel with a way back, and the whole story in the log."""

    def poke(self) -> None:
        """Look at the home at once."""

    def go(self, mode: str, base: bool = False) -> Screen[Any]:
        """Show a mode's screen, and give it."""

    def open_job(self, job_id: str) -> None:
        """The job's own screen, over this one."""

    def open_lineage(self, artifact_id: str) -> None:
        """The graph around an artifact, over this screen."""

    def open_gallery(self, synth_id: str) -> None:
        """The images of a synthetic set, over this screen."""

    def compare_runs(self, ids: Sequence[str]) -> None:
        """Two runs side by side."""

    def copy(self, text: str) -> None:
        """Copy a text, and say where it is now."""

    def action_do(self, action: str) -> None:
        """Do one of the app's actions."""


def desk_of(app: App[Any]) -> Desk:
    """The app as screens see it."""
    return cast("Desk", app)
