"""What shows pictures: knows those in view, has them loaded in the app's pool a few at a time, keeps what was drawn.

Nothing that isn't seen is ever loaded. In cells it is half-blocks, or a ramp of signs where there is no colour or no
Unicode; where the terminal has real pixels, and the extra `images` is there, those (`tui/terminal/graphics.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.widget import Widget
from textual.worker import Worker

from tui import private
from tui.drawing.half_blocks import Line, is_plain, lines_of
from tui.services import images
from tui.services.images import Picture, Pixels, Shown
from tui.terminal import graphics
from tui.terminal.graphics import BLOCKS, Drawn, Graphics

AT_ONCE = 6  # images loaded before they are shown and the view is looked at again
Key = tuple[Picture, int, int]


def draw(found: Shown, size: tuple[int, int], by: Graphics, dark: bool) -> Drawn:
    """An image in `size` cells, or the sentence that takes its place. Only in the pool."""
    if isinstance(found, Pixels) and by.kind == "kitty":
        return graphics.kitty(found, by.cell)
    if isinstance(found, Pixels) and by.kind == "sixel":
        under = lines_of(graphics.small(found, by.cell), *size, dark)
        return Drawn(under, paint=graphics.sixel(found))
    return Drawn(lines_of(found, *size, dark))


class PictureWidget(Widget):
    """Subclasses say how large a picture may be and which are in view, and draw `lines`."""

    WAIT: ClassVar[float] = 0.03  # a view that runs along asks for nothing

    KINDS: ClassVar[frozenset[str]] = frozenset({"kitty"})  # of real pixels it can show

    KEPT: ClassVar[int] = 256  # images that are kept drawn

    _have: dict[Key, Drawn]  # set by subclasses, whose other bases have inits of their own
    _due = False
    _dark = True

    def cells_of_one(self) -> tuple[int, int]:
        """Cells an image may take."""
        raise NotImplementedError

    def in_view(self) -> list[Picture]:
        """The images that can be seen now."""
        raise NotImplementedError

    @property
    def graphics(self) -> Graphics:
        """How images are drawn here."""
        found: Graphics = getattr(self.app, "graphics", BLOCKS)
        return found if found.kind in self.KINDS else BLOCKS

    def box(self) -> tuple[int, int]:
        """Pixels an image may take."""
        return self.graphics.box(*self.cells_of_one())

    def missing(self) -> list[Picture]:
        """Those of them that aren't there."""
        width, height = self.box()
        return [picture for picture in dict.fromkeys(self.in_view()) if (picture, width, height) not in self._have]

    def put(self, found: Mapping[Picture, Drawn], width: int, height: int) -> None:
        """Show these, which were drawn in a box of so many pixels; go on with what is still missing."""
        for picture, drawn in found.items():
            self._drop((picture, width, height))
            self._tell(drawn.tell)
            self._have[picture, width, height] = replace(drawn, tell="")
        seen = {(picture, *self.box()) for picture in self.in_view()}
        for key in [key for key in self._have if key not in seen][: max(0, len(self._have) - self.KEPT)]:
            self._drop(key)
        self.refresh()
        if found:
            self.want()

    def forget(self) -> None:
        """Draw everything anew, as after a change of theme."""
        for key in list(self._have):
            self._drop(key)
        self.refresh()
        self.want()

    def on_unmount(self) -> None:
        """The terminal needs them no more."""
        for key in list(self._have):
            self._drop(key)

    def _drop(self, key: Key) -> None:
        drawn = self._have.pop(key, None)
        if drawn is not None:
            self._tell(drawn.free)

    def _tell(self, text: str) -> None:
        """By Textual's writer: another would write into the middle of its sequences."""
        if text:
            private.write(self.app, text)

    def want(self) -> None:
        """Soon ask for what is missing in view."""
        if not self._due and self.is_attached:
            self._due = True
            self.set_timer(self.WAIT, self._ask)

    def _ask(self) -> None:
        self._due = False
        if self.is_attached and self.display and min(self.box()) > 0 and self.missing():
            _: Worker[None] = self.run_worker(self._load, group="pictures", exclusive=True)

    async def _load(self) -> None:
        """A few, then look again at what is in view; a newer load ends this one between two images."""
        (width, height), pictures = self.box(), self.missing()[:AT_ONCE]
        over = threading.Event()

        size, by, dark = self.cells_of_one(), self.graphics, self._dark

        def deed() -> dict[Picture, Drawn]:
            found = images.THUMBS.load_all(pictures, width, height, lambda: not over.is_set())
            return {picture: draw(shown, size, by, dark) for picture, shown in found.items()}

        try:
            loop, pool = asyncio.get_running_loop(), getattr(self.app, "pool", None)
            self.put(await loop.run_in_executor(pool, deed), width, height)
        finally:
            over.set()

    def on_mount(self) -> None:
        """Signs are denser for light on a dark ground, and the other way round."""
        self._dark = self.app.current_theme.dark
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def _theme_changed(self, theme: object) -> None:
        dark = bool(getattr(theme, "dark", True))
        if dark != self._dark:
            self._dark = dark
            if is_plain():
                self.forget()

    def on_resize(self, _: events.Resize) -> None:
        """Another box, or more in view."""
        self.want()

    def on_show(self, _: events.Show) -> None:
        """In view again."""
        self.want()

    def drawn(self, picture: Picture) -> Drawn:
        """It as it is now; dots while it is loaded."""
        return self._have.get((picture, *self.box())) or Drawn(lines_of(None, *self.cells_of_one()))

    def lines(self, picture: Picture) -> list[Line]:
        """What to draw of it now."""
        return self.drawn(picture).lines
