"""A log of any size that may still grow: only the lines on screen are ever read, and none of it on the UI thread."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from datadream.text import size
from tui import private
from tui.drawing import glyphs
from tui.services.log_reader import LogReader, View
from tui.services.log_text import LEVEL_WORDS, LEVELS, Level, Wanted, Words, level_of, spans

SIDE = 10  # columns of one step sideways


class LogView(ScrollView, can_focus=True):
    """Shows one file from its end, and follows it while the end is on screen. `path` may come and go.

    What it is doing stands in `note`, and is posted as `Noted` whenever that changes.
    """

    DEFAULT_CSS = "LogView { height: 1fr; overflow-y: scroll; scrollbar-size: 0 1; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log-view--error", "log-view--warning", "log-view--found", "log-view--hit",
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "go(1)", "Down", show=False),
        Binding("up,k", "go(-1)", "Up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("home,g", "top", "Top", show=False),
        Binding("end,G", "bottom", "End", show=False),
        Binding("right", "side(1)", "Right", show=False),
        Binding("left", "side(-1)", "Left", show=False),
    ]

    class Noted(Message):
        """`note` says another thing now."""

        def __init__(self, view: LogView) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> LogView:
            """Which log view."""
            return self.view

    class News(Message):
        """The thread has a new view; one is as good as many."""

        def can_replace(self, message: Message) -> bool:
            """The newest counts."""
            return isinstance(message, LogView.News)

    def __init__(self, path: Path, words: Words | None = None, id: str | None = None) -> None:
        super().__init__(id=id)
        self.path = path
        self.view = View()
        self.level: Level = "all"
        self.pattern = ""
        self.following = True
        self.paints = 0
        self._reader = LogReader(path, lambda: self.post_message(self.News()), words)
        self._applying = self._asked = False
        self._awake = False
        self._new = 0  # lines that came while nobody followed
        self._said = ""
        self._failed = False

    # Coming and going

    def on_mount(self) -> None:
        """Start the thread; it reads once the view is on screen."""
        self._reader.start()

    def on_unmount(self) -> None:
        """Stop it."""
        self._reader.stop()

    def on_show(self) -> None:
        """Somebody looks."""
        self._set_awake(True)

    def on_hide(self) -> None:
        """Nobody looks: nothing is read."""
        self._set_awake(False)

    def on_resize(self, _: events.Resize) -> None:
        """Other lines fit now."""
        self._set_awake(self.size.height > 0)
        self._look()
        if self.following:
            self._to(self.max_scroll_y)

    def _set_awake(self, awake: bool) -> None:
        if awake != self._awake:
            self._awake = awake
            self._reader.wake(awake)

    # What the user does

    def set_following(self, following: bool) -> None:
        """Go to the end and stay there, or stay here."""
        self.following = following
        if following:
            self._new = 0
            self._to(self.max_scroll_y)
        self._look()
        self._tell()

    def next_level(self) -> Level:
        """Show all lines, warnings and errors, or errors, in turn."""
        self.set_level(LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)])
        return self.level

    def set_level(self, level: Level) -> None:
        """Show lines of this level only."""
        self.level, self._asked = level, True
        self._reader.want(level, self.pattern, keep=not self.following)

    def find(self, pattern: str) -> None:
        """Search upwards from what is on screen; "" ends the search. The pattern has been checked."""
        self.pattern, self._asked = pattern, True
        self._reader.want(self.level, pattern, keep=True, seek=-1 if pattern else 0)

    def find_next(self, way: int = -1) -> None:
        """The next place further up (-1) or down (1)."""
        self._asked = True
        self._reader.seek(way)

    def action_go(self, rows: int) -> None:
        """Some rows up or down."""
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False, immediate=True, force=True)

    def action_page(self, pages: int) -> None:
        """A page up or down."""
        self.action_go(pages * max(1, self.size.height - 1))

    def action_top(self) -> None:
        """The first line that is known."""
        self.scroll_to(y=0, animate=False, immediate=True, force=True)

    def action_bottom(self) -> None:
        """The end, and follow it."""
        self.set_following(True)

    def action_side(self, steps: int) -> None:
        """To the right or left."""
        self.scroll_to(x=self.scroll_offset.x + steps * SIDE, animate=False, immediate=True, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever scrolled: read what is on screen now, follow if that is the end."""
        super().watch_scroll_y(old_value, new_value)
        if self._applying or round(old_value) == round(new_value):
            return
        self.following = self.scroll_offset.y >= self.max_scroll_y
        if self.following:
            self._new = 0
        self._asked = True
        self._look()
        self._tell()

    def _look(self) -> None:
        first = None if self.following else self.scroll_offset.y
        self._reader.look(self.view.generation, self.view.front, first, max(1, self.size.height))

    def _to(self, row: float) -> None:
        self._applying = True
        try:
            self.scroll_to(y=row, animate=False, immediate=True, force=True)
        finally:
            self._applying = False

    # What the thread tells

    def on_log_view_news(self, message: News) -> None:
        """Take it, unless drawing is frozen and nobody asked."""
        message.stop()
        if self._reader.failed is not None and not self._failed:
            self._failed = True
            raise self._reader.failed
        if self._asked or not getattr(self.app, "frozen", False):
            self.apply()

    def apply(self) -> None:
        """Draw the newest view; nothing is repainted when the lines on screen are the same."""
        self._asked = False
        old, view = self.view, self._reader.take()
        before, top = self._on_screen(), self.scroll_offset.y
        self.view = view
        same = old.generation == view.generation
        shift = view.front - old.front if same else 0
        if same and not self.following:
            self._new += max(0, view.total - old.total - shift)
        elif not same:
            self._new = 0
        width = max((cell_len(line) for line in view.lines), default=0)
        width = max(width, self.virtual_size.width if same else 0)
        size = Size(width, view.total)
        if size != self.virtual_size:
            self._resize_content(size)
        if view.jumps != old.jumps and view.anchor >= 0:
            self.following = False
            if not top <= view.anchor < top + self.size.height or not same:
                self._to(max(0, view.anchor - self.size.height // 2))
            elif shift:
                self._to(top + shift)
            self._look()
        elif self.following:
            self._to(self.max_scroll_y)
        elif not same:
            self.following = True
            self._to(self.max_scroll_y)
            self._look()
        elif shift:
            self._to(top + shift)
            self._look()
        if self._on_screen() != before or view.hit != old.hit or view.pattern != old.pattern:
            self.refresh()
        self._tell()

    def _resize_content(self, size: Size) -> None:
        """Scroll bar and limits for so many lines."""
        self._applying = True
        self.set_reactive(LogView.virtual_size, size)
        private.resize_content(self, size)
        self._applying = False

    def _on_screen(self) -> tuple[str, ...]:
        first = self.scroll_offset.y - self.view.first
        return self.view.lines[max(0, first) : max(0, first + self.size.height)]

    @property
    def note(self) -> str:
        """What the log is doing, in a line: size, follow or how many new lines, level, what was found."""
        view, dot = self.view, f" {glyphs.DOT} "
        lines = _lines(view.total)
        parts = [f"{lines} so far" if view.counted < 1 else lines, size(view.size)]
        if view.there and not view.size:
            parts = ["empty so far"]
        came = f"+{_lines(self._new)}" if self._new else "stays"
        parts.append("follows" if self.following else f"{came}, f follows")
        if view.note:
            parts = [*parts, view.note] if view.there else [view.note]
        if view.level != "all":
            parts.append(f"only {LEVEL_WORDS[view.level]}")
        if view.pattern:
            where = f"{view.hit_number:,} of {view.hits:,} from the end" if view.hit_number else f"{view.hits:,} found"
            state = f", {view.searched:.0%} searched" if view.searched < 1 else ""
            parts.append(f"{view.pattern!r}: {where}{state}")
        return dot.join(parts)

    def _tell(self) -> None:
        if self.note != self._said:
            self._said = self.note
            self.post_message(self.Noted(self))

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the screen; empty until the thread has read it."""
        if y == 0:
            self.paints += 1
        row = self.scroll_offset.y + y
        place = row - self.view.first
        base, width = self.rich_style, self.size.width
        if not 0 <= place < len(self.view.lines):
            return Strip.blank(width, base)
        line = self.view.lines[place]
        style = base
        level = level_of(line)
        if level != "all":
            style += self.get_component_rich_style(f"log-view--{level[:-1]}", partial=True)
        if row == self.view.hit:
            style += self.get_component_rich_style("log-view--hit", partial=True)
        segments = list(self._segments(line, style))
        strip = Strip(segments)
        left = self.scroll_offset.x
        return strip.crop_extend(left, left + width, style)

    def _segments(self, line: str, style: Style) -> list[Segment]:
        found = self.get_component_rich_style("log-view--found", partial=True)
        segments, last = [], 0
        for start, end in spans(line, Wanted("all", self.view.pattern)):
            segments += [Segment(line[last:start], style), Segment(line[start:end], style + found)]
            last = end
        return [*segments, Segment(line[last:], style)]


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"
