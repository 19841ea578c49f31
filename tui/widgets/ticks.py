"""A list of things of which any number can be chosen; a chosen one has a tick, not just a colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from datadream.text import shown


class Ticks(OptionList):
    """Rows `[x] name  about`. Space, enter or a click ticks; the order of what is ticked is the list's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "select", "Tick", show=False),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    class Changed(Message):
        """Something was ticked or unticked."""

        def __init__(self, ticks: Ticks) -> None:
            super().__init__()
            self.ticks = ticks

        @property
        def control(self) -> Ticks:
            """Where."""
            return self.ticks

    def __init__(self, rows: Sequence[tuple[str, str]] = (), *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self._rows: tuple[tuple[str, str], ...] = ()
        self._empty = empty
        self._ticked: set[str] = set()
        self.fill(rows)

    @property
    def ticked(self) -> tuple[str, ...]:
        """The names that are ticked."""
        return tuple(name for name, _ in self._rows if name in self._ticked)

    def fill(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show these (name, about); ticks and cursor stay where they can."""
        if tuple(rows) == self._rows and self.option_count:
            return
        at = self.highlighted
        self._rows = tuple(rows)
        self.clear_options()
        if self._rows:
            self.add_options(Option(self._line(i)) for i in range(len(self._rows)))
        else:
            self.add_option(Option(Text(self._empty or "none", "dim"), disabled=True))
        self.highlighted = min(at or 0, len(self._rows) - 1) if self._rows else None

    def tick(self, names: Sequence[str]) -> None:
        """Tick exactly these."""
        self._ticked = set(names)
        for i in range(len(self._rows)):
            self.replace_option_prompt_at_index(i, self._line(i))
        self.post_message(self.Changed(self))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tick or untick the row."""
        event.stop()
        if self._rows:
            self._ticked ^= {self._rows[event.option_index][0]}
            self.replace_option_prompt_at_index(event.option_index, self._line(event.option_index))
            self.post_message(self.Changed(self))

    def _line(self, index: int) -> Text:
        name, about = self._rows[index]
        on = name in self._ticked
        width = max(len(shown(other)) for other, _ in self._rows)
        return Text.assemble(
            ("[x] " if on else "[ ] ", "bold" if on else ""),
            (f"{shown(name):<{min(width, 28)}}", "bold" if on else ""),
            (f"  {shown(about)}", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
