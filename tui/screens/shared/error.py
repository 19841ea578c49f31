"""What went wrong inside the app, in words, with a way back."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from datadream.text import shown
from tui.widgets.key_line import KeyLine

LINES = 40


class ErrorScreen(Screen[None]):
    """Opaque, so that the broken screen below is not drawn again. Going back makes that screen anew."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "leave", "Back"),
        Binding("q", "leave_app", "Quit"),
    ]

    def __init__(self, error: Exception, log: Path, mode: str) -> None:
        super().__init__()
        self._error, self._log, self._mode = error, log, mode

    def compose(self) -> ComposeResult:
        """The sentence, what to do, and the end of the story."""
        name = type(self._error).__name__
        yield Static(Text(f"Error on this screen: {name}: {shown(str(self._error))}", "bold red"), id="what")
        yield Static(
            Text(f"Jobs are not affected. Escape goes back. Traceback: {self._log}; please attach it to a bug report.")
        )
        story = "".join(traceback.format_exception(self._error)).splitlines()[-LINES:]
        with VerticalScroll():
            yield Static(Text("\n".join(shown(line) for line in story), "dim"))
        yield KeyLine()

    async def action_leave(self) -> None:
        """To another screen, and the broken one made anew when it is opened next."""
        app = self.app
        safe = "dashboard" if self._mode != "dashboard" else "runs"
        await app.switch_mode(safe)
        await app.remove_mode(self._mode)
        app.add_mode(self._mode, app.MODES[self._mode])

    def action_leave_app(self) -> None:
        """Quit."""
        self.app.exit()
