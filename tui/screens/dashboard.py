"""The dashboard: what runs, what waits, the machine, what ended, and what wants attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from datadream.text import counted, shown, size
from tui.actions import bindings
from tui.base import HomeScreen
from tui.drawing import glyphs
from tui.screens.job.actions import DEEDS, JobDeeds
from tui.screens.shared.modals import Confirm
from tui.services.snapshot import JobRow, LiveJob, Snapshot
from tui.widgets.cards import Cards

DEMO = "datadream demo"
BAR = 6  # cells
WELCOME = """Nothing here yet.

d   start the demo: the paper's comparison on real handwriting,
    with built-in models, in about five minutes
3   then N: draw shots from your own images
8   plan an experiment
?   keys of this screen;  :  find any action by name
"""


class DashboardScreen(JobDeeds, HomeScreen):
    """One look, from what the poller has gathered; nothing here asks a disk."""

    KEY = "dashboard"
    CRUMB = "Dashboard"
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEY)
    AUTO_FOCUS = "Cards"

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, object] = {}

    def body(self) -> ComposeResult:
        """Cards of open jobs beside devices and what is over; below them when the screen is narrow."""
        with Horizontal(id="work"):
            cards = Cards(id="jobs-pane", classes="pane")
            cards.border_title = "Open jobs"
            yield cards
            with Vertical(id="side"):
                yield _pane("devices", "This machine")
                yield _preview()
                yield _pane("over", "Finished")
        yield _pane("foot", "Finished")

    def on_cards_opened(self, event: Cards.Opened) -> None:
        """Enter or a double click on a card."""
        self.desk.open_job(event.job_id)

    def on_cards_moved(self, _: Cards.Moved) -> None:
        """The preview follows the cursor."""
        self._show_preview()

    def show(self, snapshot: Snapshot) -> None:
        """Every pane, each of which draws only what has changed."""
        cards = self.query_one(Cards)
        cards.border_title = f"Open jobs ({snapshot.open_jobs})" if snapshot.open_jobs else "Open jobs"
        cards.tell(
            snapshot.jobs, WELCOME if snapshot.empty else "No open jobs. 8 plans an experiment, 7 compares runs."
        )
        machine = (snapshot.devices, snapshot.host, snapshot.slots, snapshot.led, bool(snapshot.open_jobs))
        self._tell("devices", machine, lambda: devices(snapshot))
        over = (snapshot.finished, snapshot.failures)
        self._tell("over", over, lambda: ended(snapshot))
        self._tell("foot", over, lambda: ended(snapshot))
        self._show_preview()

    def _tell(self, pane: str, facts: object, make: Callable[[], RenderableType]) -> None:
        """Draw a pane only when what it is made of has changed."""
        if self._told.get(pane) != facts:
            self._told[pane] = facts
            self.query_one(f"#{pane}", Static).update(make())

    def _show_preview(self) -> None:
        job = self.query_one(Cards).current
        pane = self.query_one("#preview-pane")
        preview = job.preview if job is not None else ""
        pane.set_class(bool(preview), "-on")
        if preview:
            from tui.widgets.image import ImageView

            self.query_one(ImageView).show_file(preview)

    # For JobDeeds

    def job_ids(self) -> list[str]:
        """The job under the cursor."""
        job = self.query_one(Cards).current
        return [job.id] if job else []

    def job_rows(self) -> list[LiveJob]:
        """What is known of it."""
        job = self.query_one(Cards).current
        return [job] if job else []

    # Actions

    def do_retry(self) -> None:
        """The job under the cursor; while none is open, the last that failed."""
        snapshot = self.desk.snapshot
        if self.job_ids() or snapshot is None or not snapshot.failures:
            super().do_retry()
        else:
            failed = snapshot.failures[0].id
            self._run("retry", "retry", [failed], f"datadream job retry {failed}")

    def why_not(self, action: str) -> str:
        """For jobs as everywhere; the demo only while it is not running already."""
        snapshot = self.desk.snapshot
        if action in ("open", *DEEDS) and not self.job_ids():
            failed = snapshot.failures if snapshot else ()
            if not (action == "open" and failed) and not (action == "retry" and failed):
                return "no job under the cursor"
            return ""
        return super().why_not(action)

    def command(self, action: str) -> str:
        """The command line's form."""
        if action == "demo":
            return DEMO
        if action == "queue":
            return (
                "datadream queue resume"
                if self.desk.snapshot and self.desk.snapshot.paused
                else "datadream queue pause"
            )
        if action == "open":
            return "".join(f"datadream job show {job_id}" for job_id in self.job_ids()[:1])
        return super().command(action)

    def do_open(self) -> None:
        """The job under the cursor, or the newest failure."""
        ids = self.job_ids()
        snapshot = self.desk.snapshot
        if not ids and snapshot and snapshot.failures:
            ids = [snapshot.failures[0].id]
        self.desk.open_job(ids[0])

    def do_queue(self) -> None:
        """Pause the queue, or let it go on."""
        from datadream.home import queue
        from datadream.jobs import spawn

        pause = not (self.desk.snapshot and self.desk.snapshot.paused)

        def set_to(value: bool) -> None:
            queue.change(self.home, paused=value)
            if not value:
                spawn.ensure_runner(self.home)

        self.act(
            "queue paused: running jobs continue, no new ones start" if pause else "queue resumed",
            lambda _: set_to(pause),
            undo=lambda _: set_to(not pause),
            command=f"datadream queue {'pause' if pause else 'resume'}",
        )

    def do_demo(self) -> None:
        """Start the built-in experiment, after a question when the home holds something."""
        if self.desk.snapshot is not None and not self.desk.snapshot.empty:
            self.app.push_screen(
                Confirm(
                    "Start the demo in this home?",
                    "Queues the missing ones of 8 runs on the built-in digits.",
                    "Start",
                ),
                lambda yes: self._start_demo() if yes else None,
            )
        else:
            self._start_demo()

    def _start_demo(self) -> None:
        from datadream.jobs import spawn
        from datadream.jobs.losses import losses
        from datadream.plans import ask
        from datadream.plans import request as requests

        def deed(data: Any) -> list[str]:
            jobs = ask.submit(self.home, requests.demo_request((4,), (1,)))
            spawn.ensure_runner(self.home)
            data.warnings += losses(self.home, jobs)
            return jobs

        self.desk.say("reading the built-in images...")
        self.act("demo started", deed, lambda jobs: self.desk.say(f"{counted(len(jobs), 'job')} queued"), command=DEMO)


def _pane(id_: str, title: str) -> Static:
    pane = Static(id=id_, classes="pane", markup=False)
    pane.border_title = title
    return pane


def _preview() -> Vertical:
    from tui.widgets.image import ImageView

    pane = Vertical(ImageView(), id="preview-pane", classes="pane")
    pane.border_title = "Newest image"
    return pane


def devices(snapshot: Snapshot) -> RenderableType:
    """GPUs as NVML tells them, then processor, memory and the home's disk. 30 cells are enough."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)

    def row(name: str, part: float, words: str) -> None:
        table.add_row(name, f"{glyphs.bar(part, BAR)} {words}")

    for number, device in enumerate(snapshot.devices):
        facts = [f"{device.temperature}°C"] if device.temperature is not None else []
        facts += [f"{device.power}W"] if device.power is not None else []
        row(f"cuda:{number}", (device.use or 0) / 100, f"{device.use or 0}% {' '.join(facts)}")
        if device.memory_total:
            row(
                "VRAM",
                (device.memory_used or 0) / device.memory_total,
                _of(device.memory_used or 0, device.memory_total),
            )
    host = snapshot.host
    if host is not None:
        row("CPU", host.cpu / 100, f"{host.cpu}%")
        row("memory", host.memory_used / max(1, host.memory_total), _of(host.memory_used, host.memory_total))
        disk = 1 - host.disk_free / max(1, host.disk_total)
        row("disk", disk, f"{size(host.disk_free)} free")
    table.add_row("slots", Text(shown(" ".join(snapshot.slots))))
    table.add_row("runner", "running" if snapshot.led else "idle" if not snapshot.open_jobs else "stopped")
    return table


def _of(used: int, total: int) -> str:
    return f"{used / 2**30:.1f}/{total / 2**30:.0f} GiB"


def ended(snapshot: Snapshot) -> RenderableType:
    """Failures first, with why; then what is done."""
    lines: list[RenderableType] = []
    for row in snapshot.failures:
        lines.append(_over(row))
        lines.append(Text(f"  {shown(row.reason.splitlines()[0] if row.reason else 'no reason given')}", "dim"))
    if snapshot.failures:
        lines.append(Text("  enter opens it, R there retries", "dim"))
    lines += [_over(row, glyphs.duration(row.seconds)) for row in snapshot.finished]
    return Group(*lines) if lines else Text("nothing yet", "dim")


def _over(row: JobRow, tail: str = "") -> Text:
    method, colon, rest = (row.title or row.stage).partition(": ")
    title = f"{rest} {glyphs.DOT} {method}" if colon else method  # what differs from its neighbours comes first
    return Text.assemble(
        glyphs.state_text(row.state), f" {row.id[:8]} {shown(title)}", (f"  {tail}", "dim"),
        overflow="ellipsis", no_wrap=True,
    )  # fmt: skip
