"""A grid of cells with labels that stay. Columns are as wide as what is in them and never cut; a label may be."""

from __future__ import annotations

from collections.abc import Sequence
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

from tui.clip import clip
from tui.drawing import glyphs, intervals

GAP = 2
PLOT_GAP, PLOT_MIN, PLOT_MAX = 3, 24, 64
LABEL_MIN = 16
SIGN = ">" if glyphs.ASCII else "›"
ASCII = str.maketrans({"≈": "~", "–": "-", "±": "+-", "·": "|", "−": "-"})

Cell = tuple[str, str]  # text, and whether it is "best", "alike", "none" or ""


class Grid(ScrollView, can_focus=True):
    """Rows of texts under a header, a cursor on one cell. Whole columns scroll; the labels and the header don't."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1, 0)", "Up", show=False),
        Binding("down,j", "move(1, 0)", "Down", show=False),
        Binding("left,h", "move(0, -1)", "Left", show=False),
        Binding("right,l", "move(0, 1)", "Right", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000, 0)", "First", show=False),
        Binding("end,G", "move(1000000, 0)", "Last", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("grid--header", "grid--cursor", "grid--best", "grid--alike", "grid--none"),
    }
    DEFAULT_CSS = """
    Grid {
        height: 1fr;
        background: $background;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .grid--header { text-style: bold; background: $panel; color: $foreground; }
        & > .grid--cursor { background: $panel; color: $foreground; }
        & > .grid--best { text-style: bold; color: $success; }
        & > .grid--alike { text-style: underline; }
        & > .grid--none { color: $text-muted; }
        &:focus > .grid--cursor { background: $primary-muted; }
    }
    """

    class Moved(Message):
        """The cursor is on another cell, or other columns are seen."""

        def __init__(self, grid: Grid) -> None:
            super().__init__()
            self.grid = grid

        @property
        def control(self) -> Grid:
            """Whose cursor."""
            return self.grid

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._head: tuple[str, ...] = ()
        self._labels: tuple[str, ...] = ()
        self._cells: tuple[tuple[Cell, ...], ...] = ()
        self._widths: list[int] = []
        self._first = 0  # the leftmost column that is seen
        self._spans: tuple[intervals.Span | None, ...] = ()
        self._axis: intervals.Axis | None = None
        self.row = self.column = 0

    def plot(self, spans: Sequence[intervals.Span | None]) -> None:
        """Draw these, one a row, where the columns leave room: the numbers of the column under the cursor."""
        if tuple(spans) != self._spans:
            self._spans, self._axis = tuple(spans), intervals.axis_of(spans)
            self.refresh()

    def show(self, head: Sequence[str], labels: Sequence[str], cells: Sequence[Sequence[Cell]]) -> None:
        """Other content; `head` names the labels too. The cursor stays where it is if it can."""
        texts = tuple(tuple((plain(text), kind) for text, kind in line) for line in cells)
        content = tuple(map(plain, head)), tuple(map(plain, labels)), texts
        if content == (self._head, self._labels, self._cells):
            return
        self._head, self._labels, self._cells = content
        self._widths = [
            max(cell_len(text) for text in (name, *column))
            for name, column in zip(
                self._head,
                [self._labels, *([line[j][0] for line in texts] for j in range(len(self._head) - 1))],
                strict=True,
            )
        ]
        self.virtual_size = Size(self.size.width, len(self._labels) + 1)
        self._go(self.row, self.column)
        self.refresh()

    @property
    def _label_width(self) -> int:
        """As wide as the labels, unless that would leave no room for the widest column."""
        room = self.size.width - 2 - GAP - max(self._widths[1:], default=0)
        return min(self._widths[0], max(LABEL_MIN, room))

    @property
    def seen_columns(self) -> range:
        """The numbers of the columns that are seen."""
        room = self.size.width - self._label_width - 2 if self._widths else 0
        last = self._first
        while last < len(self._head) - 1:
            room -= GAP + self._widths[last + 1]
            if room < 0 and last > self._first:
                break
            last += 1
        return range(self._first, last)

    def _width(self, j: int) -> int:
        """How wide a column is drawn: as what is in it, unless not even one has the room."""
        return max(1, min(self._widths[j + 1], self.size.width - 2 - self._label_width - GAP))

    def _room(self, seen: range) -> int:
        """How many cells are left for a drawing of the spans; 0 when too few, or columns wait for their turn."""
        if len(seen) < len(self._head) - 1:
            return 0
        room = self.size.width - 2 - self._label_width - sum(GAP + self._widths[j + 1] for j in seen) - PLOT_GAP - 1
        return min(room, PLOT_MAX) if room >= PLOT_MIN else 0

    def action_move(self, rows: int, columns: int) -> None:
        """Move the cursor."""
        self._go(self.row + rows, self.column + columns)

    def action_page(self, pages: int) -> None:
        """By what is seen."""
        self._go(self.row + pages * max(1, self.size.height - 2), self.column)

    def _go(self, row: int, column: int) -> None:
        self.row = max(0, min(row, len(self._labels) - 1))
        self.column = max(0, min(column, len(self._head) - 2))
        self._first = min(self._first, self.column)
        while self._first < self.column and self.column not in self.seen_columns:
            self._first += 1
        top, height = int(self.scroll_offset.y), max(1, self.size.height - 1)
        if self.row < top:
            self.scroll_to(y=self.row, animate=False)
        elif self.row >= top + height:
            self.scroll_to(y=self.row - height + 1, animate=False)
        self.refresh()
        self.post_message(self.Moved(self))

    def on_resize(self, _: events.Resize) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.size.width, len(self._labels) + 1)
        if self._labels:
            self._go(self.row, self.column)

    def on_click(self, event: events.Click) -> None:
        """The cell that was clicked."""
        if not self._labels or event.y < 1:
            return
        x, column = self._label_width + 2, self.column
        for j in self.seen_columns:
            x += GAP + self._widths[j + 1]
            if event.x < x:
                column = j
                break
        self._go(event.y - 1 + int(self.scroll_offset.y), column)

    def render_line(self, y: int) -> Strip:
        """Header first; then the rows from the scroll offset on."""
        width = self.size.width
        if not self._widths:
            return Strip.blank(width, self.rich_style)
        seen = self.seen_columns
        if y == 0:
            style = self.get_component_rich_style("grid--header")
            text = "  " + _left(self._head[0], self._label_width)
            text += "".join(" " * GAP + _right(self._head[j + 1], self._width(j)) for j in seen)
            more = len(self._head) - 1 - len(seen)
            if more and cell_len(text) + 12 <= width:
                text += f"  {more} more"
            if self._axis and (room := self._room(seen)):
                text += " " * PLOT_GAP + intervals.head(self._axis, self._head[self.column + 1], room)
            return Strip([Segment(text, style)]).adjust_cell_length(width, style)
        at = y - 1 + int(self.scroll_offset.y)
        if at >= len(self._labels):
            return Strip.blank(width, self.rich_style)
        usual = self.rich_style
        cursor = usual + self.get_component_rich_style("grid--cursor", partial=True)
        here = at == self.row
        segments = [Segment(f"{SIGN if here else ' '} {_left(self._labels[at], self._label_width)}", usual)]
        for j in seen:
            text, kind = self._cells[at][j]
            style = cursor if here and j == self.column else usual
            if kind:
                style = style + Style.chain(self.get_component_rich_style(f"grid--{kind}", partial=True))
            if here and j == self.column:
                style += Style(bgcolor=cursor.bgcolor)
            segments += [Segment(" " * GAP, usual), Segment(_right(text, self._width(j)), style)]
        if at < len(self._spans) and self._axis and (room := self._room(seen)):
            kind = self._cells[at][self.column][1]
            style = self.get_component_rich_style("grid--best", partial=True) if kind == "best" else Style()
            drawn = intervals.line(self._spans[at], self._axis, room)
            segments += [Segment(" " * PLOT_GAP, usual), Segment(drawn, usual + style)]
        return Strip(segments).adjust_cell_length(width, usual)


def plain(text: str) -> str:
    """The signs of a comparison in ASCII where the locale has no more."""
    return text.translate(ASCII) if glyphs.ASCII else text


def _left(text: str, width: int) -> str:
    text = clip(text, width)
    return text + " " * (width - cell_len(text))


def _right(text: str, width: int) -> str:
    text = clip(text, width)
    return " " * (width - cell_len(text)) + text
