"""What the app does with exceptions: a readable panel with a way back, the whole story in a file, and it lives on."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from textual.app import App
from textual.message import Message

from datadream.errors import UserError
from tui import private

ERRORS_MAX, ERRORS_SECONDS = 8, 5.0  # more than that in so short a time: it can't be helped


class Trouble(App[None]):
    """An app that a broken screen doesn't end. `log_folder` is where tui.log goes."""

    log_folder: Path

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[float] = []

    def trouble(self, error: Exception) -> None:
        """A readable panel with a way back, and the whole story in the home's tui.log."""
        now = time.monotonic()
        self._errors = [moment for moment in self._errors if now - moment < ERRORS_SECONDS] + [now]
        path = self.write_log(error)
        if len(self._errors) > ERRORS_MAX:
            super()._handle_exception(error)
            return
        from textual.command import CommandPalette

        from tui.screens.shared.error import ErrorScreen

        while isinstance(self.screen, CommandPalette):  # a broken one would answer to nothing, and allow no other
            self.pop_screen()

        if not any(isinstance(screen, ErrorScreen) for screen in self.screen_stack):
            self.push_screen(ErrorScreen(error, path, self.current_mode))

    def _handle_exception(self, error: Exception) -> None:
        """Textual would leave here; a broken widget should cost its screen at most."""
        if self.is_running and private.has_screens(self, self.current_mode):
            self.trouble(error)
        else:
            self.write_log(error)
            super()._handle_exception(error)

    async def _dispatch_message(self, message: Message) -> None:
        """The app itself lives on whatever a handler does."""
        try:
            await super()._dispatch_message(message)
        except Exception as error:  # noqa: BLE001
            self.trouble(error)

    def write_log(self, error: Exception) -> Path:
        """Add the traceback to the home's tui.log."""
        from datadream import durable
        from datadream.home import state

        path = self.log_folder / "tui.log"
        text = "".join(traceback.format_exception(error))
        if isinstance(error, UserError):
            text = f"{error}\n"
        try:
            fd = durable.open_file(path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(fd, f"{state.now()} {text}".encode("utf-8", "replace"))
            finally:
                os.close(fd)
        except (OSError, UserError):
            pass
        return path
