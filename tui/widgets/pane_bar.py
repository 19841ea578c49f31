"""One line with the names of panes; the one on show is in brackets, and a click chooses another."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static


class PaneBar(Static):
    """Names in a row. Posts `Chosen`; whoever gets it calls `choose`."""

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: Sequence[tuple[str, str]], id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._names, self.current = list(names), names[0][0]

    def on_mount(self) -> None:
        """The first is on show."""
        self.choose(self.current)

    def choose(self, current: str) -> None:
        """Put the brackets around this one."""
        self.current = current
        text = Text(no_wrap=True, overflow="ellipsis")
        for key, name in self._names:
            text.append(f"[{name}]" if key == current else f" {name} ", "bold" if key == current else "dim")
            text.append(" ")
        self.update(text)

    def on_click(self, event: events.Click) -> None:
        """Which name that was."""
        place = 0
        for key, name in self._names:
            if place <= event.x < place + len(name) + 2:
                self.post_message(self.Chosen(key))
            place += len(name) + 3
