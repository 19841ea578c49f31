"""Looking at the app as a user does: its lines, its toasts, and waiting until something is seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from datadream.home.layout import Home
from tui.app import DataDreamApp

SIZES = ((80, 24), (120, 40))


class Looker:
    """A running app and its pilot."""

    def __init__(self, app: DataDreamApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    def lines(self) -> list[str]:
        """What the terminal shows."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def text(self) -> str:
        """The same in one piece."""
        return "\n".join(self.lines())

    def toasts(self) -> str:
        """Everything said so far that is still kept."""
        return "\n".join(note.message for note in self.app._notifications)

    async def press(self, *keys: str) -> None:
        """Keys one after another, each with its effects."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Letters into what has the focus."""
        names = {
            " ": "space",
            "=": "equals_sign",
            ">": "greater_than_sign",
            "/": "slash",
            "-": "minus",
            ".": "full_stop",
        }
        await self.press(*(names.get(letter, letter) for letter in text))

    async def see(self, what: str | Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until `what` is on the screen or among the toasts."""

        def seen() -> bool:
            return what() if callable(what) else what in self.text() or what in self.toasts()

        end = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < end, f"{what!r} is not on the screen:\n{self.text()}\ntoasts: {self.toasts()}"
            await asyncio.sleep(0.05)
            await self.pilot.pause()


@asynccontextmanager
async def looking(home: Home | Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Looker]:
    """The app on a home, after its first snapshot."""
    app = DataDreamApp(home)
    async with app.run_test(size=size) as pilot:
        looker = Looker(app, pilot)
        await looker.see(lambda: app.snapshot is not None)
        await pilot.pause()
        yield looker
