"""Open jobs as cards in one widget: a line of state, one of progress. Only lines in view are made."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from datadream.text import shown
from tui.clip import clip, clip_text
from tui.drawing import glyphs
from tui.services.snapshot import LiveJob

LINES = 3  # a card
CONSOLE = Console(width=500, color_system="truecolor", legacy_windows=False)


class Cards(ScrollView, can_focus=True):
    """A cursor over jobs. It stays on the same job when the order changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("home,g", "move(-100000)", show=False),
        Binding("end,G", "move(100000)", show=False),
        Binding("pageup", "move(-5)", show=False),
        Binding("pagedown", "move(5)", show=False),
    ]

    class Opened(Message):
        """A card was opened by mouse."""

        def __init__(self, job_id: str) -> None:
            super().__init__()
            self.job_id = job_id

    class Moved(Message):
        """The cursor is on another card."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._jobs: tuple[LiveJob, ...] = ()
        self._at = 0
        self._empty = ""

    @property
    def current(self) -> LiveJob | None:
        """The job under the cursor."""
        return self._jobs[self._at] if self._at < len(self._jobs) else None

    def tell(self, jobs: tuple[LiveJob, ...], empty: str) -> None:
        """New jobs; only cards that differ are drawn again. `empty` is shown when there are none."""
        old, before = self._jobs, self.current
        if jobs == old and empty == self._empty:
            return
        self._jobs, self._empty = jobs, empty
        if before is not None:
            self._at = next(
                (i for i, job in enumerate(jobs) if job.id == before.id), min(self._at, max(0, len(jobs) - 1))
            )
        else:
            self._at = 0
        height = len(jobs) * LINES if jobs else len(empty.splitlines())
        self.virtual_size = Size(self.size.width, height)
        if len(jobs) != len(old) or not jobs:
            self.refresh()
        else:
            for i, (new, known) in enumerate(zip(jobs, old, strict=True)):
                if new != known:
                    self._redraw(i)
        if self.current != before:
            self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        """One line of a card."""
        line = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if not self._jobs:
            lines = self._empty.splitlines()
            text = Text(lines[line] if line < len(lines) else "")
        else:
            number, part = divmod(line, LINES)
            text = self._line(number, part, width) if number < len(self._jobs) else Text()
        segments = text.render(CONSOLE)
        strip = (
            Strip([segment for segment in segments if segment.text != "\n"]).crop(0, width).extend_cell_length(width)
        )
        base = self.rich_style
        if self._jobs and line // LINES == self._at and line % LINES < LINES - 1 and self.has_focus:
            base += Style(bgcolor=self.app.current_theme.panel, bold=line % LINES == 0)
        return Strip(list(Segment.apply_style(strip, base)), strip.cell_length)

    def _line(self, number: int, part: int, width: int) -> Text:
        job = self._jobs[number]
        pointer = ">" if number == self._at else " "
        if part == 0:
            head = Text.assemble(f"{pointer} ", glyphs.state_text(job.state, job.paused), f"  {job.id[:8]}  ")
            tail = f"  {shown(job.slot)}" if job.slot else ""
            tail += f"  priority {job.priority}" if job.priority else ""
            room = max(8, width - head.cell_len - len(tail))
            head.append(clip(shown(job.title or job.stage), room))
            head.append(tail, "dim")
            return clip_text(head, width)
        if part == 1:
            return Text.assemble("    ", progress(job, width - 4))
        return Text()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if not self._jobs:
            return
        old, self._at = self._at, max(0, min(len(self._jobs) - 1, self._at + by))
        if old != self._at:
            self._redraw(old)
            self._redraw(self._at)
            self.scroll_to_region(Region(0, self._at * LINES, 1, LINES), animate=False, force=True)
            self.post_message(self.Moved())

    def on_click(self, event: Click) -> None:
        """One click moves, two open."""
        number = (event.y + self.scroll_offset.y - 1) // LINES
        if 0 <= number < len(self._jobs):
            self.action_move(number - self._at)
            if event.chain == 2:
                self.post_message(self.Opened(self._jobs[number].id))

    def on_resize(self, _: Resize) -> None:
        """Lines are cut to the width."""
        self.refresh()

    def on_focus(self) -> None:
        """The cursor shows."""
        self.refresh()

    def on_blur(self) -> None:
        """It doesn't."""
        self.refresh()

    def _redraw(self, number: int) -> None:
        y = number * LINES - self.scroll_offset.y
        self.refresh(Region(0, y, self.size.width, LINES))


def progress(job: LiveJob, width: int) -> Text:
    """`████░░ 300/500 steps 61%  2.1/s  ETA 1m 35s  loss 0.132 ▅▄▃▂`, or why it waits."""
    if job.state not in ("running", "cancelling"):
        return Text(clip(shown(job.reason or "waiting for a free slot"), width), "dim")
    if not job.total:
        return Text(clip(shown(job.reason or "starting"), width), "dim")
    part = job.done / job.total
    words = [f"{glyphs.bar(part, 10)} {job.done}/{job.total} {shown(job.unit)} {100 * part:.0f}%"]
    if job.rate:
        words.append(f"{job.rate:.3g}/s")
        words.append(f"ETA {glyphs.duration(job.eta)}")
    if job.losses and width >= 70:
        words.append(f"loss {job.losses[-1]:.3g} {glyphs.spark(job.losses, max(6, min(24, width - 62)))}")
    if job.reason:
        words.append(shown(job.reason))
    return Text(clip("  ".join(words), width))
