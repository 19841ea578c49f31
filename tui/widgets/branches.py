"""A tree that is already laid out in lines, with a cursor; drawn in one widget, only what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.clip import clip_text
from tui.drawing import glyphs

TEE, ELBOW, PIPE, GAP = ("|- ", "`- ", "|  ", "   ") if glyphs.ASCII else ("├─ ", "└─ ", "│  ", "   ")
HERE = "*" if glyphs.ASCII else "◆"


@dataclass(frozen=True)
class Node:
    """A thing of the tree. `fact` (a state, an accuracy) comes first and is never cut; `words` come after it."""

    id: str
    kind: str
    fact: str = ""
    words: str = ""
    style: str = ""


@dataclass(frozen=True)
class Line:
    """A node and the lines that lead to it."""

    guide: str
    node: Node


def lines_of(children: dict[str, list[str]], nodes: dict[str, Node], roots: Sequence[str]) -> list[Line]:
    """Every node once, below its parent, in the order given."""
    found: list[Line] = []
    todo = [("", "", root) for root in reversed(roots)]
    seen: set[str] = set()
    while todo:
        above, guide, node_id = todo.pop()
        if node_id in seen:
            continue
        seen.add(node_id)
        found.append(Line(above + guide, nodes[node_id]))
        below = above + {"": "", TEE: PIPE, ELBOW: GAP}[guide]
        under = children.get(node_id, [])
        for number, child in reversed(list(enumerate(under))):
            todo.append((below, ELBOW if number == len(under) - 1 else TEE, child))
    return found


class Branches(ScrollView, can_focus=True):
    """Lines of a tree. Enter is the screen's; the cursor stays on its node when the lines change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("left,h", "sideways(-8)", "Left", show=False),
        Binding("right,l", "sideways(8)", "Right", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"branches--cursor", "branches--guide"}
    DEFAULT_CSS = """
    Branches {
        height: 1fr;
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        & > .branches--cursor { background: $panel; }
        &:focus > .branches--cursor { background: $primary-muted; }
        & > .branches--guide { color: $text-muted; }
    }
    """

    class Opened(Message):
        """A line was clicked twice."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self._here = ""
        self._cursor = 0

    @property
    def node(self) -> Node | None:
        """What the cursor is on."""
        return self._lines[self._cursor].node if self._lines else None

    def fill(self, lines: Sequence[Line], here: str, *, to_here: bool = False) -> None:
        """Show these; `here` is the one they are drawn around. Nothing is redrawn when nothing has changed."""
        if (lines, here) == (self._lines, self._here) and not to_here:
            return
        on = here if to_here or self.node is None else self.node.id
        self._lines, self._here = lines, here
        ids = [line.node.id for line in lines]
        self._cursor = ids.index(on) if on in ids else ids.index(here) if here in ids else 0
        self.virtual_size = Size(max((self._text(line, False).cell_len for line in lines), default=0), len(lines))
        self._show_cursor()
        self.refresh()

    def action_move(self, by: int) -> None:
        """Up or down."""
        self._go(self._cursor + by)

    def action_page(self, pages: int) -> None:
        """A page."""
        self._go(self._cursor + pages * max(1, self.size.height - 1))

    def action_sideways(self, cells: int) -> None:
        """What is cut on the right."""
        self.scroll_to(x=self.scroll_offset.x + cells, animate=False)

    def on_click(self, event: events.Click) -> None:
        """The mouse puts the cursor; twice opens."""
        line = event.y + self.scroll_offset.y
        if 0 <= line < len(self._lines):
            self._go(line)
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_resize(self, _: events.Resize) -> None:
        """The cursor stays in sight."""
        self._show_cursor()

    def _go(self, line: int) -> None:
        if self._lines:
            self._cursor = max(0, min(line, len(self._lines) - 1))
            self._show_cursor()
            self.refresh()

    def _show_cursor(self) -> None:
        self.scroll_to_region(Region(self.scroll_offset.x, self._cursor, 1, 1), animate=False, force=True)

    def _text(self, line: Line, cursor: bool) -> Text:
        node = line.node
        mark = f"{glyphs.ARROW if cursor else ' '}{HERE if node.id == self._here else ' '} "
        fact = (f"{node.fact}  ", node.style or "bold") if node.fact else ""
        return Text.assemble(
            mark, (line.guide, "dim"), (node.kind, "bold" if node.id == self._here else ""), f" {node.id[:8]}  ",
            fact, node.words, no_wrap=True,
        )  # fmt: skip

    def render_line(self, y: int) -> Strip:
        """One line of what is seen."""
        x, top = self.scroll_offset
        width, number = self.size.width, y + top
        base = self.rich_style
        if number >= len(self._lines):
            return Strip.blank(width, base)
        cursor = number == self._cursor
        text = self._text(self._lines[number], cursor)
        text = text if x else clip_text(text, width)
        whole = Strip(list(text.render(self.app.console)))
        drawn = whole.crop(x, x + width)
        if whole.cell_length > x + width:
            drawn = Strip([*drawn.crop(0, width - 1), Segment(glyphs.ELLIPSIS[:1])])
        drawn = drawn.extend_cell_length(width)
        style = base + self.get_component_rich_style("branches--cursor") + Style(bold=True) if cursor else base
        return drawn.apply_style(style)
