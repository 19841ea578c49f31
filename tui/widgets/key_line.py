"""The keys of a screen in one line. Textual's Footer makes a widget of each, which is a third of opening a screen."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Static

from tui.drawing import glyphs

GAP = "  "
MORE = f" {glyphs.ELLIPSIS}"


class KeyLine(Static):
    """Keys and what they do, as many as fit whole. A click presses the key."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key"}
    DEFAULT_CSS = """
    KeyLine {
        dock: bottom;
        height: 1;
        background: $footer-background;
        color: $footer-foreground;
        & > .key-line--key { color: $footer-key-foreground; text-style: bold; }
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.auto_links = False  # they look as keys, not as links
        self._said: object = None

    def on_mount(self) -> None:
        """Follow what is bound."""
        self.screen.bindings_updated_signal.subscribe(self, self._bound)

    def on_resize(self, _: events.Resize) -> None:
        """More or fewer fit."""
        self._tell()

    def notify_style_update(self) -> None:
        """Another theme."""
        self._said = None
        super().notify_style_update()
        self.call_after_refresh(self._tell)  # until then the keys' own colour is the old theme's

    def _bound(self, _: Screen[object]) -> None:
        if self.is_attached and self.app.app_focus:
            self.call_after_refresh(self._tell)

    def _tell(self) -> None:
        if not self.is_attached or not self.size.width:
            return
        shown: dict[str, tuple[str, str, str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show:
                name = self.app.get_key_display(binding)
                shown.setdefault(binding.action, (binding.key, name, binding.description + self._count(binding)))
        said = (tuple(shown.values()), self.size.width)
        if said != self._said:
            self._said = said
            self.update(self._line(list(shown.values()), self.size.width), layout=False)

    def _count(self, binding: Binding) -> str:
        """How many marked rows a key means, as ` 3`."""
        meant, screen = getattr(self.screen, "meant", None), str(getattr(self.screen, "KEY", ""))
        name = str(binding.id or "").removeprefix(f"{screen}.")
        count = meant(name) if callable(meant) else 0
        return f" {count}" if count else ""

    def _line(self, keys: list[tuple[str, str, str]], width: int) -> Text:
        bold = self.get_component_rich_style("key-line--key", partial=True)
        text = Text(no_wrap=True, overflow="crop")
        for number, (key, name, label) in enumerate(keys):
            entry = Text.assemble((name, bold), f" {label}")
            entry.stylize(Style.from_meta({"@click": f"app.simulate_key({key!r})"}))
            last = number == len(keys) - 1
            if text.cell_len + bool(text) * len(GAP) + entry.cell_len + (0 if last else len(MORE)) > width:
                text.append(MORE)
                break
            text.append(GAP if text else "")
            text.append_text(entry)
        return text
