"""A table of any length: it knows the ids of all rows and holds the rows that are seen, and some around them.

The screen that owns it answers `Wanted` by reading those rows in its pool and giving them to `put`; until then a row
shows its id alone. The cursor never waits for anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from itertools import accumulate
from typing import ClassVar, TypeAlias

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.drawing import glyphs
from tui.drawing.table_lines import cells, line, titles
from tui.widgets import table_messages as messages
from tui.widgets.table_columns import Column, Row, fit, measure

PAGE = 200  # rows asked for at once
KEPT = 4000  # rows held; those far from the cursor go first
AHEAD = 60  # rows wanted beyond what is seen
GUTTER = 2  # the cursor's sign and the mark's
STRIPS = 2000
MARK = "*" if glyphs.ASCII else "■"


class VirtualTable(ScrollView, can_focus=True):
    """Rows by id, drawn a line each under a header.

    Marks are ids and outlive every order and filter; only those among the rows there are now may be acted on.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Last", show=False),
        Binding("left,h", "sideways(-1)", "Left", show=False),
        Binding("right,l", "sideways(1)", "Right", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "virtual-table--header",
        "virtual-table--cursor",
        "virtual-table--marked",
        "virtual-table--waiting",
    }
    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr;
        background: $background;
        scrollbar-size-vertical: 1;
        & > .virtual-table--header { text-style: bold; background: $panel; color: $foreground; }
        & > .virtual-table--cursor { background: $panel; color: $foreground; }
        & > .virtual-table--marked { text-style: bold; }
        & > .virtual-table--waiting { color: $text-muted; }
        &:focus > .virtual-table--cursor { background: $primary-muted; }
    }
    """
    sort: reactive[str] = reactive("", init=False)

    Wanted: TypeAlias = messages.Wanted
    Moved: TypeAlias = messages.Moved
    Opened: TypeAlias = messages.Opened
    Marked: TypeAlias = messages.Marked
    HeaderClicked: TypeAlias = messages.HeaderClicked

    def __init__(self, columns: Sequence[Column], *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self._widths: list[int] = []
        self._gap = 1
        self._ids: Sequence[str] = ()
        self._there: frozenset[str] | None = None  # the same, once somebody asked
        self._needs: dict[str, int] = {}  # cells, by column
        self._rows: dict[str, Row] = {}
        self._stale: set[str] = set()  # held rows that may say something else by now
        self._marks: dict[str, None] = {}
        self._cursor = 0
        self._told = ""
        self._asked: frozenset[str] = frozenset()
        self._strips: dict[tuple[str, bool, bool], Strip] = {}

    # What it holds

    @property
    def ids(self) -> Sequence[str]:
        """All ids, in order."""
        return self._ids

    @property
    def marks(self) -> list[str]:
        """The marked ids, in the order they were marked; also those a filter hides."""
        return list(self._marks)

    @property
    def seen_marks(self) -> list[str]:
        """The marked ids among the rows there are now, in the order they were marked."""
        if self._marks and self._there is None:
            self._there = frozenset(self._ids)
        return [row_id for row_id in self._marks if row_id in (self._there or ())]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns shown."""
        return self._columns

    @property
    def cursor(self) -> int:
        """The cursor's row, from 0; 0 too when there is none."""
        return self._cursor

    @property
    def cursor_id(self) -> str:
        """The id under the cursor; "" when there is none."""
        return self._ids[self._cursor] if self._ids else ""

    def row(self, row_id: str) -> Row | None:
        """What is known of a row; None when it isn't loaded."""
        return self._rows.get(row_id)

    @property
    def window(self) -> range:
        """The rows that can be seen, by number."""
        top = max(0, round(self.scroll_y))
        return range(top, min(len(self._ids), top + self._page()))

    def near(self) -> list[str]:
        """The ids of what is seen and a little around it: what a refresh should bring along."""
        seen = self.window
        return list(self._ids[max(0, seen.start - AHEAD) : seen.stop + AHEAD])

    # What is given to it

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show these columns."""
        self._columns = tuple(columns)
        measure(self._columns, self._rows.values(), self._needs)
        self._lay_out()
        self.scroll_to(x=min(self.scroll_x, self.max_scroll_x), animate=False)
        self.refresh()

    def set_ids(self, ids: Sequence[str], rows: Iterable[Row] = (), *, to_top: bool = False) -> None:
        """The rows there are now, and some of them. The cursor stays on its id and its line, where that goes on.

        An id that is gone leaves the cursor where it was. Rows that were held are asked for anew when they are seen,
        unless `rows` has them.
        """
        fresh = list(rows)
        old_id, line = self.cursor_id, self._cursor - round(self.scroll_y)
        same = ids == self._ids
        self._ids, self._there = ids, None
        self._grow_old()
        self.put(fresh)
        if not same:
            at = 0 if to_top else _position(ids, old_id, self._cursor)
            self._cursor = max(0, min(at, len(ids) - 1))
            self._measure()
            self.scroll_to(y=max(0, min(self._cursor - line, len(ids) - self._page())), animate=False)
            self.refresh()
        elif to_top:
            self.move_to(0)
        self._show_cursor()
        self._want()
        self._tell()

    def put(self, rows: Iterable[Row]) -> None:
        """Rows that were wanted. Only lines that say something else now are drawn again."""
        rows = list(rows)
        if measure(self._columns, rows, self._needs):
            self._lay_out()
            self.refresh()
        changed = set()
        for row in rows:
            row_id = str(row["id"])
            self._stale.discard(row_id)
            if self._rows.get(row_id) != row:
                self._rows[row_id] = row
                changed.add(row_id)
                for cursor in (False, True):
                    for marked in (False, True):
                        self._strips.pop((row_id, cursor, marked), None)
        for number in self.window:
            if self._ids[number] in changed:
                self.refresh_line(number + 1)
        if len(self._rows) > KEPT:
            near = set(self.near())
            self._rows = {row_id: row for row_id, row in self._rows.items() if row_id in near}

    def forget(self) -> None:
        """Ask anew for what is seen, which stays on the screen until then; hold nothing else."""
        self._grow_old()
        self._want()

    def set_marks(self, ids: Iterable[str]) -> None:
        """Mark exactly these."""
        new = dict.fromkeys(ids)
        both = self._marks.keys() ^ new.keys()
        self._marks = new
        for number in self.window:
            if self._ids[number] in both:
                self.refresh_line(number + 1)
        if both:
            self.post_message(self.Marked(self, self.cursor_id))

    def toggle_mark(self) -> None:
        """Mark or unmark the row under the cursor, and go on to the next."""
        if self._ids:
            here = self.cursor_id
            self.set_marks([i for i in self._marks if i != here] if here in self._marks else [*self._marks, here])
            self.move_to(self._cursor + 1)

    def move_to(self, number: int) -> None:
        """The cursor on this row, as near as there is one."""
        old, self._cursor = self._cursor, max(0, min(number, len(self._ids) - 1))
        if old != self._cursor:
            self.refresh_line(old + 1)
            self.refresh_line(self._cursor + 1)
            self._show_cursor()
            self._tell()

    # Keys and mouse

    def action_move(self, rows: int) -> None:
        """By so many rows."""
        self.move_to(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """By a screenful."""
        self.move_to(self._cursor + pages * max(1, self._page() - 1))

    def action_first(self) -> None:
        """The first row."""
        self.move_to(0)

    def action_last(self) -> None:
        """The last row."""
        self.move_to(len(self._ids) - 1)

    def action_sideways(self, columns: int) -> None:
        """Columns further left or right; the first stays."""
        starts = self._starts()
        at = max(0, min(starts.index(self._left()) + columns, len(starts) - 1))
        self.scroll_to(x=starts[at], animate=False)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a second opens; on a title it asks to sort."""
        place = event.get_content_offset(self)
        if place is None:
            return
        event.stop()
        if place.y == 0:
            name = self._title_at(place.x)
            if name:
                self.post_message(self.HeaderClicked(self, name))
            return
        number = round(self.scroll_y) + place.y - 1
        if number < len(self._ids):
            self.move_to(number)
            if event.chain == 2:
                self.post_message(self.Opened(self, self.cursor_id))

    # Drawing

    def watch_sort(self) -> None:
        """Another arrow in the header."""
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are seen."""
        super().watch_scroll_y(old_value, new_value)
        self._want()

    def on_mount(self) -> None:
        """A scrollbar that comes or goes takes a cell, and Textual sends no Resize for that."""
        for name in ("show_vertical_scrollbar", "show_horizontal_scrollbar"):
            self.watch(self, name, self._bar_changed, init=False)

    def on_resize(self, _: events.Resize) -> None:
        """Other widths, and perhaps more rows."""
        self._fit_again()

    def _bar_changed(self) -> None:
        self.call_after_refresh(self._fit_again)

    def _fit_again(self) -> None:
        self._lay_out()
        self._show_cursor()
        self._want()

    def notify_style_update(self) -> None:
        """Another theme."""
        self._strips.clear()
        super().notify_style_update()

    def on_focus(self) -> None:
        """The cursor's line looks another way."""
        self._strips.clear()

    def on_blur(self) -> None:
        """The cursor's line looks another way."""
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """A line: the header, a row, or nothing."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        if not self._widths:
            return Strip.blank(width, base)
        if y == 0:
            return self._window(self._header(), width, self.get_component_rich_style("virtual-table--header"))
        number = round(self.scroll_y) + y - 1
        if number >= len(self._ids):
            return Strip.blank(width, base)
        row_id = self._ids[number]
        at, marked = number == self._cursor, row_id in self._marks
        style = base + self.get_component_rich_style("virtual-table--cursor") if at else base
        key = (row_id, at, marked)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._line(row_id, at, marked, style)
            if row_id in self._rows:
                if len(self._strips) > STRIPS:
                    self._strips.clear()
                self._strips[key] = strip
        return self._window(strip, width, style)

    def _line(self, row_id: str, at: bool, marked: bool, style: Style) -> Strip:
        row = self._rows.get(row_id)
        if row is None:
            style = style + self.get_component_rich_style("virtual-table--waiting", partial=True)
        if marked:
            style = style + self.get_component_rich_style("virtual-table--marked", partial=True)
        sign = (glyphs.ARROW if at else " ") + (MARK if marked else " ")
        return line(sign, cells(self._columns, self._widths, row_id, row), self._gap, style)

    def _header(self) -> Strip:
        style = self.get_component_rich_style("virtual-table--header")
        return line(" " * GUTTER, titles(self._columns, self._widths, self.sort), self._gap, style)

    def _window(self, strip: Strip, width: int, style: Style) -> Strip:
        """The first column, then those that are scrolled to and fit whole: half a number is a wrong one."""
        fixed, left = self._fixed(), self._left()
        last = max((fixed + end for end in self._starts()[1:] if fixed + end - left <= width + self._gap), default=0)
        if last <= fixed + left:
            last = left + width
        if left or strip.cell_length > width:
            strip = Strip.join([strip.crop(0, fixed), strip.crop(fixed + left, last)])
        return strip.adjust_cell_length(width, style)

    # Measures

    def _page(self) -> int:
        """How many rows are seen at once."""
        return max(1, self.scrollable_content_region.height - 1)

    def _starts(self) -> list[int]:
        """Where each column after the first begins, counted from the first of them, and where the last ends."""
        return [0, *accumulate(width + self._gap for width in self._widths[1:])]

    def _left(self) -> int:
        """How far the columns are scrolled, to the beginning of one."""
        return next((start for start in self._starts() if start >= round(self.scroll_x)), 0)

    def _fixed(self) -> int:
        return GUTTER + self._widths[0] + self._gap if len(self._widths) > 1 else 0

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        columns = [column.holding(self._needs.get(column.name, 0)) for column in self._columns]
        for self._gap in (2, 1) if width >= 100 else (1,):
            self._widths = fit(columns, width - GUTTER, self._gap)
            if sum(self._widths) + self._gap * (len(columns) - 1) <= width - GUTTER:
                break
        self._strips.clear()
        self._measure()

    def _measure(self) -> None:
        total = GUTTER + sum(self._widths) + self._gap * max(0, len(self._widths) - 1)
        self.virtual_size = Size(total, len(self._ids) + 1)

    def _title_at(self, x: int) -> str:
        fixed = self._fixed()
        x = x if x < fixed else x + self._left()
        start = GUTTER
        for column, width in zip(self._columns, self._widths, strict=True):
            if start <= x < start + width + self._gap:
                return column.name
            start += width + self._gap
        return ""

    def _show_cursor(self) -> None:
        """Scroll as little as lets the cursor be seen."""
        top, page = round(self.scroll_y), self._page()
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False)

    def _want(self) -> None:
        """Ask for whole pages around what is seen, unless they were just asked for or are all there."""
        seen = self.window
        if not seen or self.scrollable_content_region.height <= 0:
            return
        lacking = {self._ids[n] for n in range(max(0, seen.start - AHEAD), min(len(self._ids), seen.stop + AHEAD))}
        lacking -= self._held()
        if not lacking or lacking <= self._asked:
            return
        start = max(0, seen.start - AHEAD) // PAGE * PAGE
        stop = -(-(seen.stop + AHEAD) // PAGE) * PAGE
        held = self._held()
        ids = [row_id for row_id in self._ids[start:stop] if row_id not in held]
        self._asked = frozenset(ids)
        self.post_message(self.Wanted(self, ids))

    def _held(self) -> Set[str]:
        return self._rows.keys() - self._stale if self._stale else self._rows.keys()

    def _grow_old(self) -> None:
        near = set(self.near())
        self._rows = {row_id: row for row_id, row in self._rows.items() if row_id in near}
        self._stale = set(self._rows)
        self._asked = frozenset()

    def _tell(self) -> None:
        if self.cursor_id != self._told:
            self._told = self.cursor_id
            self.post_message(self.Moved(self, self._told))


def _position(ids: Sequence[str], wanted: str, otherwise: int) -> int:
    try:
        return ids.index(wanted)
    except ValueError:
        return otherwise
