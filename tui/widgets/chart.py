"""Curves in a terminal; drawn anew only when what is drawn, how, or the size has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from tui.drawing import glyphs
from tui.drawing.braille import AXIS, Line, Look, Series, draw

COLOURS = 6
SMOOTHING = (0.0, 0.6, 0.9, 0.97)
ZOOM_MAX = 12


class Chart(Widget):
    """Several curves with letters on them, a linear or logarithmic y axis, smoothing, and a zoom on the newest part."""

    DEFAULT_CSS = "Chart { height: 1fr; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--axis", *(f"chart--line-{number}" for number in range(COLOURS))}

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.series: tuple[Series, ...] = ()
        self.look = Look(ascii=glyphs.ASCII)
        self.draws = 0
        self._drawn: tuple[object, ...] = ()
        self._lines: list[Line] = []

    def show(self, series: Sequence[Series]) -> None:
        """Draw these; nothing happens when they are what is drawn."""
        if tuple(series) != self.series:
            self.series = tuple(series)
            self.refresh()

    def toggle_log(self) -> bool:
        """Logarithmic or linear values."""
        self._set(replace(self.look, log=not self.look.log))
        return self.look.log

    def smoother(self) -> float:
        """More smoothing, then none."""
        self._set(replace(self.look, smooth=SMOOTHING[(SMOOTHING.index(self.look.smooth) + 1) % len(SMOOTHING)]))
        return self.look.smooth

    def zoom(self, steps: int) -> int:
        """The newer half (1), or twice as much (-1)."""
        self._set(replace(self.look, zoom=max(0, min(ZOOM_MAX, self.look.zoom + steps))))
        return self.look.zoom

    @property
    def note(self) -> str:
        """How it is drawn, in words."""
        look = self.look
        parts = ["log scale" if look.log else "linear"]
        parts.append(f"smoothing {look.smooth:g}" if look.smooth else "not smoothed")
        parts.append(f"newest 1/{2**look.zoom}" if look.zoom else "whole")
        return f" {glyphs.DOT} ".join(parts)

    def _set(self, look: Look) -> None:
        if look != self.look:
            self.look = look
            self.refresh()

    def text(self) -> str:
        """What is drawn, without colours."""
        return "\n".join("".join(piece for piece, _ in line) for line in self._draw(self.size))

    def _draw(self, size: Size) -> list[Line]:
        wanted = (self.series, self.look, size)
        if wanted != self._drawn:
            self._drawn = wanted
            self._lines = draw(self.series, size.width, size.height, self.look)
            self.draws += 1
        return self._lines

    def render_line(self, y: int) -> Strip:
        """One line of the drawing."""
        lines = self._draw(self.size)
        if y >= len(lines):
            return Strip.blank(self.size.width, self.rich_style)
        segments = [Segment(text, self._style(whose)) for text, whose in lines[y]]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _style(self, whose: int) -> Style:
        if whose >= 0:
            return self.rich_style + self.get_component_rich_style(f"chart--line-{whose % COLOURS}", partial=True)
        if whose == AXIS:
            return self.rich_style + self.get_component_rich_style("chart--axis", partial=True)
        return self.rich_style
