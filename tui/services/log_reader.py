"""The thread behind a log view: it looks at the file, counts, searches and reads; the screen only sees a `View`.

The newest view replaces the one before. A new one is announced only after the last was taken, and at most every
`PUBLISH_SECONDS` unless the user asked for something: a log that grows fast costs the screen no more than a slow one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tui.services.log_index import BLOCK, Found, LogFile
from tui.services.log_text import Level, Wanted, Words, line_shown

POLL_SECONDS = 0.25
PUBLISH_SECONDS = 0.5
STEP_SECONDS = 0.004  # between two looks at what the user wants
LINES_MAX = 600  # lines of one view


@dataclass(frozen=True)
class View:
    """What a log view draws: `lines` from row `first` of `total`. Rows are numbered anew with each `generation`.

    `front` counts rows that were found above since the generation began; `counted` and `searched` are the parts of the
    file, 0 to 1, in which lines and `hits` are known; `hit` is the row of the one the user is at, the `hit_number`-th
    from the end. `jumps` grows when the view should go to row `anchor`.
    """

    generation: int = 0
    total: int = 0
    front: int = 0
    first: int = 0
    lines: tuple[str, ...] = ()
    size: int = 0
    counted: float = 1.0
    level: Level = "all"
    pattern: str = ""
    hits: int = 0
    searched: float = 1.0
    hit: int = -1
    hit_number: int = 0
    jumps: int = 0
    anchor: int = -1
    there: bool = False
    note: str = ""


class LogReader:
    """Follows one file in a thread of its own. `news` is called from it when there is a new view to take."""

    def __init__(self, path: Path, news: Callable[[], object], words: Words | None = None) -> None:
        self._file, self._news = LogFile(path, words), news
        self._lines = self._hits = Found(self._file)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = self._awake = False
        self._view = self._sent = View()
        self._taken, self._asked, self._announced_at, self._looked_at = True, True, -1e9, -1e9
        # What the user wants; written under the lock.
        self._window: tuple[int, int] | None = None  # first row and count; None first: the end
        self._rows, self._generation = 50, 0
        self._wanted = self._has = Wanted()
        self._seek, self._fresh, self._keep = 0, False, False  # seek: -1 the next hit above, 1 below
        # Where it is.
        self._at = self._anchor = -1
        self._front = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.failed: Exception | None = None

    def start(self) -> None:
        """Begin; nothing is read before `wake`."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def wake(self, awake: bool) -> None:
        """Read only while somebody looks."""
        self._awake = awake
        self._asked = True
        self._wake.set()

    def take(self) -> View:
        """The newest view; the next one may be announced."""
        with self._lock:
            self._taken = True
            if self._asked:
                self._wake.set()
            return self._sent

    def look(self, generation: int, front: int, first: int | None, rows: int) -> None:
        """Show `rows` lines from `first`, as numbered in a view with this `generation` and `front`; None: the last."""
        with self._lock:
            self._rows = max(1, rows)
            self._generation, self._front = generation, front
            self._window = None if first is None else (first, rows)
            self._asked = True
        self._wake.set()

    def want(self, level: Level, pattern: str, keep: bool, seek: int = 0) -> None:
        """Show lines of this level and search for this pattern; `keep` stays near the place that is shown.

        With `seek` it goes to the nearest hit above (-1), or below when there is none above.
        """
        with self._lock:
            self._wanted, self._keep, self._seek, self._asked = Wanted(level, pattern), keep, seek, True
            self._fresh = seek < 0
        self._wake.set()

    def seek(self, way: int) -> None:
        """Go to the next hit above (-1) or below (1)."""
        with self._lock:
            self._seek, self._fresh, self._asked = way, False, True
        self._wake.set()

    # In the thread

    def _run(self) -> None:
        while not self._stopped:
            busy = False
            try:
                if self._awake:
                    busy = self._turn()
            except Exception as error:  # noqa: BLE001 - handed to the screen, which shows it
                self.failed = error
                self._news()
                break
            if not busy:
                self._wake.wait(POLL_SECONDS if self._awake else None)
                self._wake.clear()
        self._file.close()

    def _turn(self) -> bool:
        """Serve the user, then work for a moment. Whether there is more to do."""
        now = time.monotonic()
        if now - self._looked_at >= POLL_SECONDS:
            self._looked_at = now
            self._look_at_file()
        self._take_wishes()
        busy = self._work(now + STEP_SECONDS)
        self._follow_seek()
        self._publish(now)
        return busy

    def _look_at_file(self) -> None:
        was_open = self._view.there
        what = self._file.look()
        if what in ("replaced", "cut"):
            there = self._file.open()
            words = {"replaced": "replaced by a new file", "cut": "cut"}[what]
            note = f"the log was {words}: started again" if was_open else ""
            self._begin_lines(note, there)
        elif what == "gone":
            note = "the log was removed; these are its last known lines" if was_open else "no log yet"
            self._view = replace(self._view, note=note)

    def _begin_lines(self, note: str, there: bool) -> None:
        self._lines = Found(self._file, Wanted(self._has.level))
        self._hits = Found(self._file, self._has) if self._has.pattern else self._lines
        self._at = -1
        self._view = View(
            generation=self._view.generation + 1, note=note, there=there, jumps=self._view.jumps, level=self._has.level
        )
        self._window = None
        self._asked = True

    def _take_wishes(self) -> None:
        with self._lock:
            wanted, keep, self._keep = self._wanted, self._keep, False
        if wanted == self._has:
            return
        level_changed = wanted.level != self._has.level
        anchor = self._place(0) if keep and level_changed else -1
        self._has = wanted
        if level_changed:
            self._begin_lines("", self._view.there)
            self._anchor = anchor
        self._hits = Found(self._file, wanted) if wanted.pattern else self._lines
        self._at = -1
        self._view = replace(self._view, hit=-1, hit_number=0, note="")

    def _work(self, until: float) -> bool:
        """Count new lines, then older ones, then hits, until the time is over."""
        while True:
            indexes = (self._lines, self._hits)
            behind = next((index for index in indexes if index.seen < self._file.size), None)
            older = next((index for index in indexes if not index.complete), None)
            if behind is not None:
                behind.grow()
                if behind.seen == self._file.size and behind is self._lines:
                    continue
            elif older is not None:
                older.step()
            else:
                return False
            if time.monotonic() >= until:
                return True

    def _place(self, row: int) -> int:
        """Where the `row`-th line on screen ends in the file; -1 when none is."""
        first, _ = self._span()
        found = self._lines.rows(first + row, 1)
        return found[0][1] if found else -1

    def _span(self) -> tuple[int, int]:
        """First row and rows on screen, as numbered now."""
        with self._lock:
            window, rows, generation, front = self._window, self._rows, self._generation, self._front
        total = self._lines.total
        if window is None or generation != self._view.generation:
            return max(0, total - rows), rows
        return max(0, min(window[0] + self._lines.front - front, max(0, total - rows))), window[1]

    def _follow_seek(self) -> None:
        """Go where the user wanted, as soon as it is known."""
        if self._anchor >= 0 and self._lines.first * BLOCK <= self._anchor:
            self._jump(anchor=self._lines.row_at(self._anchor))
            self._anchor = -1
        with self._lock:
            way = self._seek
        if not way or not self._has.pattern:
            return
        hits = self._hits
        if self._at < 0:
            first, rows = self._span()
            self._at = self._place(min(rows, max(1, self._lines.total - first)) - 1) + 1
        number = hits.row_at(self._at) - 1 if way < 0 else hits.row_at(self._at + 1)
        if (way < 0 and number < 0) or (way > 0 and self._at < hits.first * BLOCK):
            if not hits.complete:
                return
            if not (self._fresh and hits.total):
                self._sought("no match above" if hits.total else "")
                return
            number = 0
        found = hits.rows(number, 1)
        if not found:
            self._sought("no match below")
        elif self._lines.first * BLOCK <= found[0][1]:
            self._at = found[0][1]
            self._jump(hit=self._lines.row_at(self._at))
            self._sought("")

    def _sought(self, note: str) -> None:
        with self._lock:
            self._seek, self._asked = 0, True
        self._view = replace(self._view, note=note)

    def _jump(self, hit: int = -1, anchor: int = -1) -> None:
        row = max(hit, anchor)
        with self._lock:
            self._window = (max(0, row - self._rows // 2), self._rows)
            self._generation, self._front, self._asked = self._view.generation, self._lines.front, True
        self._view = replace(self._view, jumps=self._view.jumps + 1, anchor=row)

    def _publish(self, now: float) -> None:
        """Make the view, and announce it, when it is time and the last was taken."""
        with self._lock:
            asked = self._asked
            if not self._taken or (not asked and now - self._announced_at < PUBLISH_SECONDS):
                return
            self._asked = False
        view = self._make()
        if view == self._sent and not asked:
            return
        with self._lock:
            self._view = self._sent = view
            self._taken, self._announced_at = False, now
        self._news()

    def _make(self) -> View:
        lines, hits = self._lines, self._hits
        first, rows = self._span()
        margin = min(2 * rows, LINES_MAX // 3)
        start = max(0, first - margin)
        places = lines.rows(start, min(rows + 2 * margin, LINES_MAX))
        pattern = bool(self._has.pattern)
        return replace(
            self._view,
            total=lines.total,
            front=lines.front,
            first=start,
            lines=tuple(line_shown(self._file.line(*place)) for place in places),
            size=self._file.size,
            counted=lines.part,
            level=self._has.level,
            pattern=self._has.pattern,
            hits=hits.total if pattern else 0,
            searched=hits.part if pattern else 1.0,
            hit=lines.row_at(self._at) if pattern and self._at >= 0 and self._hit_known() else -1,
            hit_number=hits.total - hits.row_at(self._at) if pattern and self._at >= 0 and self._hit_known() else 0,
        )

    def _hit_known(self) -> bool:
        """Whether `_at` is a hit, not only where the search began."""
        number = self._hits.row_at(self._at)
        found = self._hits.rows(number, 1)
        return bool(found) and found[0][1] == self._at
