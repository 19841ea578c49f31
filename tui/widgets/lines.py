"""A few lines of text that are never wrapped. Textual forgets that a Rich text was not to be, and cuts in silence."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.visual import VisualType
from textual.widgets import Static

from tui.clip import clip_text


class Lines(Static):
    """What doesn't fit into a line ends in an ellipsis; numbers are whole or not there."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._whole = Text()

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """Show this text, as far as there is room."""
        self._whole = content if isinstance(content, Text) else Text(str(content))
        super().update(self._fitted(), layout=layout)

    def on_resize(self, _: events.Resize) -> None:
        """More or less of it fits."""
        super().update(self._fitted(), layout=False)

    def _fitted(self) -> Text:
        width = self.content_size.width
        if not width:
            return self._whole
        return Text("\n").join(clip_text(line, width) for line in self._whole.split("\n", allow_blank=True))
