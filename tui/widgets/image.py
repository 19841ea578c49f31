"""One image as large as there is room, and any number of them in rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.control import Control
from rich.segment import ControlType, Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from datadream.text import shown
from tui.clip import clip
from tui.drawing import glyphs
from tui.drawing.half_blocks import Line
from tui.services.images import Picture
from tui.widgets.picture import PictureWidget

BAD = ("x bad" if glyphs.ASCII else "✗ bad", "bold red")
GAP = 1


@dataclass(frozen=True)
class Cell:
    """One image of a grid, what is written under it, and whether it is marked as bad."""

    picture: Picture
    caption: str = ""
    bad: bool = False


class ImageView(PictureWidget):
    """One image, as large as there is room."""

    DEFAULT_CSS = "ImageView { height: 12; }"
    KINDS = PictureWidget.KINDS | {"sixel"}
    KEPT = 8

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._have = {}
        self.picture: Picture | None = None

    def show(self, picture: Picture | None) -> None:
        """This one."""
        if picture != self.picture:
            self.picture = picture
            self.refresh()
            self.want()

    def show_file(self, path: str) -> None:
        """The one in a file; none for ""."""
        self.show(Picture.of_file(path) if path else None)

    def cells_of_one(self) -> tuple[int, int]:
        """All of the widget."""
        return self.size.width, self.size.height

    def in_view(self) -> list[Picture]:
        """The one."""
        return [self.picture] if self.picture is not None else []

    def render_line(self, y: int) -> Strip:
        """One line of it."""
        lines = self.lines(self.picture) if self.picture is not None else []
        line = lines[y] if y < len(lines) else []
        return Strip(list(Segment.apply_style(line, self.rich_style))).adjust_cell_length(
            self.size.width, self.rich_style
        )

    def render_lines(self, crop: Region) -> list[Strip]:
        """All of them; after the last, while nothing covers it, the Sixel that is painted over them."""
        strips = super().render_lines(crop)
        paint = self.drawn(self.picture).paint if self.picture is not None else ""
        if not paint or crop.size != self.size or not self.screen.is_active or not strips:
            return strips
        at = self.screen.find_widget(self).visible_region
        sequences = (_move(at.x, at.y), paint, _move(at.right, at.bottom - 1))
        over = [Segment(text, None, ((ControlType.CURSOR_FORWARD, 0),)) for text in sequences]
        return [*strips[:-1], Strip([*strips[-1], *over], strips[-1].cell_length)]


def _move(x: int, y: int) -> str:
    return Control.move_to(x, y).segment.text


class ImageGrid(ScrollView, PictureWidget, can_focus=True):
    """Any number of images in rows, with a cursor; only those in view are wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", show=False),
        Binding("right,l", "move(1)", show=False),
        Binding("up,k", "rows(-1)", show=False),
        Binding("down,j", "rows(1)", show=False),
        Binding("pageup", "pages(-1)", show=False),
        Binding("pagedown", "pages(1)", show=False),
        Binding("home,g", "move(-10000000)", show=False),
        Binding("end,G", "move(10000000)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"image-grid--cursor", "image-grid--caption"}
    DEFAULT_CSS = """
    ImageGrid {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .image-grid--caption { color: $text-muted; }
        & > .image-grid--cursor { background: $panel; color: $foreground; text-style: bold; }
        &:focus > .image-grid--cursor { background: $primary-muted; }
    }
    """

    class Moved(Message):
        """The cursor is on another image."""

        def __init__(self, grid: ImageGrid) -> None:
            super().__init__()
            self.grid = grid

        @property
        def control(self) -> ImageGrid:
            """Whose cursor."""
            return self.grid

    class Opened(Moved):
        """An image was clicked twice."""

    def __init__(self, *, id: str | None = None, cursor: bool = True) -> None:
        super().__init__(id=id)
        self._have = {}
        self.cells: Sequence[Cell] = ()
        self.cursor = 0
        self.side = 16  # cells an image is wide; half as many it is high
        self._with_cursor = cursor
        self._empty = ""

    def show(self, cells: Sequence[Cell], empty: str = "", to_top: bool = False) -> None:
        """These images; what is equal isn't drawn again. `empty` is said when there are none."""
        if cells == self.cells and empty == self._empty and not to_top:
            return
        self.cells, self._empty = cells, empty
        self.cursor = 0 if to_top else max(0, min(self.cursor, len(cells) - 1))
        self._lay()
        if to_top:
            self.scroll_to(y=0, animate=False, force=True, immediate=True)
        self.refresh()
        self.want()

    def set_side(self, side: int) -> None:
        """Images of so many cells."""
        if side != self.side:
            self.side = side
            self._lay()
            self.refresh()
            self.want()

    # Where things are

    @property
    def columns(self) -> int:
        """Images beside one another."""
        return max(1, (self.scrollable_content_region.width + GAP) // (self.side + GAP))

    @property
    def row_height(self) -> int:
        """Lines of an image and its caption."""
        return (self.side + 1) // 2 + 1 + (1 if self._with_cursor else 0)

    @property
    def current(self) -> Cell | None:
        """What the cursor is on."""
        return self.cells[self.cursor] if self.cursor < len(self.cells) else None

    def cells_of_one(self) -> tuple[int, int]:
        """A square, as cells are twice as high as wide."""
        return self.side, (self.side + 1) // 2

    def in_view(self) -> list[Picture]:
        """The images of the rows that can be seen."""
        top = self.scroll_offset.y // self.row_height
        bottom = (self.scroll_offset.y + max(0, self.size.height - 1)) // self.row_height
        if not self.size.height:
            return []
        first, last = top * self.columns, (bottom + 1) * self.columns
        return [cell.picture for cell in self.cells[first:last]]

    def _lay(self) -> None:
        rows = -(-len(self.cells) // self.columns)
        self.virtual_size = Size(self.size.width, max(1, rows * self.row_height))

    def on_resize(self, _: events.Resize) -> None:
        """Other columns; the cursor stays in view. What is wanted, the base class sees to."""
        self._lay()
        self._follow()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Others are in view."""
        super().watch_scroll_y(old_value, new_value)
        self.want()

    # Moving

    def action_move(self, by: int) -> None:
        """To another image."""
        target = max(0, min(len(self.cells) - 1, self.cursor + by))
        if self.cells and target != self.cursor:
            self.cursor = target
            self._follow()
            self.refresh()
            self.post_message(self.Moved(self))

    def action_rows(self, by: int) -> None:
        """Up or down; on the last row of all nothing happens."""
        target = self.cursor + by * self.columns
        last_row = (len(self.cells) - 1) // self.columns
        if target >= len(self.cells) and self.cursor // self.columns < last_row:
            target = len(self.cells) - 1
        if 0 <= target < len(self.cells):
            self.action_move(target - self.cursor)

    def action_pages(self, by: int) -> None:
        """As many rows as are seen."""
        self.action_move(by * self.columns * max(1, self.size.height // self.row_height))

    def _follow(self) -> None:
        row = self.cursor // self.columns
        region = Region(0, row * self.row_height, 1, self.row_height)
        self.scroll_to_region(region, animate=False, force=True, immediate=True)

    def on_click(self, event: events.Click) -> None:
        """One click moves, two open."""
        at = event.get_content_offset(self)
        if at is None:
            return
        place = self.columns * ((at.y + self.scroll_offset.y) // self.row_height) + at.x // (self.side + GAP)
        if place < len(self.cells):
            self.action_move(place - self.cursor)
            if event.chain == 2:
                self.post_message(self.Opened(self))

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of a row of images, or of their captions."""
        width, base = self.scrollable_content_region.width, self.rich_style
        if not self.cells:
            words = textwrap.wrap(shown(self._empty), max(8, width))
            return Strip([Segment(words[y] if y < len(words) else "", base)]).adjust_cell_length(width, base)
        row, part = divmod(y + self.scroll_offset.y, self.row_height)
        segments: Line = []
        for place in range(row * self.columns, min(len(self.cells), (row + 1) * self.columns)):
            segments += self._part(place, part, base)
            segments.append(Segment(" " * GAP, base))
        return Strip(segments).adjust_cell_length(width, base)

    def _part(self, place: int, part: int, base: Style) -> Line:
        cell, high = self.cells[place], (self.side + 1) // 2
        if part < high:
            lines = self.lines(cell.picture)
            line = list(Segment.apply_style(lines[part] if part < len(lines) else [], base))
        elif part == high:
            line = self._caption(place, cell, base)
        else:
            line = []
        return Strip(line).adjust_cell_length(self.side, base)._segments

    def _caption(self, place: int, cell: Cell, base: Style) -> Line:
        here = self._with_cursor and place == self.cursor
        name = "image-grid--cursor" if here else "image-grid--caption"
        style = base + self.get_component_rich_style(name, partial=True)
        bad = f" {BAD[0]}" if cell.bad else ""
        room = self.side - len(bad)
        text = clip(f"{'>' if here else ' '}{shown(cell.caption)}", room)
        text += " " * (room - cell_len(text))
        line = [Segment(text, style)]
        return [*line, Segment(bad, style + Style.parse(BAD[1]))] if bad else line
