"""The runner's hand in the registry: a thread of its own, so that whoever holds the index up holds up no job.

It is told which jobs have changed, and looks at nothing else but for the folders in which users' words lie. When it
can't write it says so once, and catches up when it can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from datadream import durable, locks
from datadream.home.causes import Why
from datadream.home.layout import Home

if TYPE_CHECKING:
    from store.registry import Registry

SECONDS = 0.7  # between two looks: metrics of a live job are in the registry within a second
START_SECONDS = 1.0  # the first jobs start before the database is even imported
BUDGET_SECONDS = 0.2  # of work in one go
RETRY_SECONDS = 3.0
LOCK_SECONDS = 1.0
CLOSE_SECONDS = 5.0
SLOW_SECONDS = 10.0  # between two looks at folders in which much changes, and we are told of most of it
WORDS = ("runs", "names/set", "labels", "experiments")
WORKS = ("jobs", "artifacts/set", "artifacts/adapter", "artifacts/synthetic", "artifacts/classifier")


class Registrar:
    """Brings what folders say into the registry. Its methods return at once, but for `close`."""

    def __init__(self, home: Home, say: locks.Notice = locks.say) -> None:
        self._home, self._say = home, say
        self._registry: Registry | None = None
        self._begins = time.monotonic() + START_SECONDS
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._live: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._words: tuple[int, ...] = ()
        self._works: tuple[int, ...] = ()
        self._works_at = 0.0
        self._behind = True  # whether everything has to be looked at
        self._held: Why | None = None
        self._sizes: dict[str, int] = {}

    def changed(self, job_id: str) -> None:
        """This job has."""
        with self._lock:
            self._changed.add(job_id)

    def follow(self, live: Collection[str]) -> None:
        """These run: what they tell is taken in as they tell it."""
        self._live = tuple(live)
        if self._thread is None and time.monotonic() >= self._begins:
            self._start()

    def close(self) -> None:
        """A last look, for at most CLOSE_SECONDS; what can't be written then is found by the next who looks."""
        if self._thread is None:
            self._start()
        assert self._thread is not None
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
        self._thread.start()

    # In the thread

    def _run(self) -> None:
        pause = 0.0
        while True:
            last = self._stop.wait(pause)
            try:
                self._round(last)
                pause = SECONDS
            except Exception as error:  # noqa: BLE001 - an index that lags stops nothing; a runner that is dead does
                self._say(f"the registry is delayed: {error}")
                self._let_go()
                pause = RETRY_SECONDS
            if last:
                self._let_go()
                return

    def _round(self, last: bool) -> None:
        from datadream.home import outlook
        from store import index

        with self._lock:
            changed, self._changed = self._changed, set()
        try:
            if self._registry is None:
                self._registry = index.connect(self._home, patience=LOCK_SECONDS)
                self._behind = True
            held = outlook.held_up(self._home)
            ids = changed | self._have_told()
            if ids or held != self._held:
                index.follow(self._home, self._registry, ids, held)
                self._held = held
            if last or self._behind or self._have_changed():
                self._behind = True
                self._catch_up(last)
        except BaseException:
            self._sizes = {}
            with self._lock:
                self._changed |= changed
            raise

    def _catch_up(self, last: bool) -> None:
        """Read all that has changed, piece by piece, for as long as nobody wants to leave."""
        from store import index

        assert self._registry is not None
        end = time.monotonic() + (CLOSE_SECONDS / 2 if last else SLOW_SECONDS)
        while time.monotonic() < end:
            began = time.monotonic()
            count = index.sync(self._home, self._registry, BUDGET_SECONDS)
            if not count or time.monotonic() - began < BUDGET_SECONDS:
                self._behind = False
                return
            if self._stop.wait(0.02) and not last:
                return

    def _have_told(self) -> set[str]:
        """Running jobs that have told something since the last time."""
        found = {job_id: durable.size_of(self._home.files(job_id).events) for job_id in self._live}
        told = {job_id for job_id, size in found.items() if self._sizes.get(job_id) != size}
        self._sizes = found
        return told

    def _have_changed(self) -> bool:
        """Whether somebody else than our jobs' workers has written into the home."""
        words = tuple(durable.changed_at(self._home.path / place) for place in WORDS)
        now = time.monotonic()
        found = words != self._words or any(map(durable.is_racy, words))
        self._words = words
        if now - self._works_at > SLOW_SECONDS:
            self._works_at = now
            works = tuple(durable.changed_at(self._home.path / place) for place in WORKS)
            found = found or works != self._works
            self._works = works
        return found

    def _let_go(self) -> None:
        if self._registry is not None:
            registry, self._registry = self._registry, None
            registry.close()
