"""The runner's workers: hiring one for a free slot, hearing what they say, and saying why a slot has none.

A worker counts as hired when it says that it is ready. One that ends before, a slot's file that can't be used, children
of a dead worker that still have the slot, an interpreter that is gone: each becomes a sentence in the file that
trouble.py owns, and what won't pass by itself makes the runner leave.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datadream import durable, locks
from datadream.errors import UserError
from datadream.home import queue
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings
from datadream.home.trouble import Desk, Trouble
from datadream.home.variables import Asked
from datadream.jobs import orphans
from datadream.jobs.pool import Hand, hire

FAILURES_MAX = 3  # workers in a row that end before they are ready
PATIENCE_SECONDS = 15.0  # with what won't pass by itself, before the runner leaves
RETRY_SECONDS = 1.0
KEPT_SECONDS = 3.0  # a slot that is taken without a job for longer is looked into
LOOK_SECONDS = 10.0  # between two such looks: they go through all processes
SLOW_SECONDS = 60.0  # until a worker that isn't ready is told of


@dataclass(frozen=True)
class Wanted:
    """A job for a slot: the settings it was asked for with, and the variables that makes for its worker."""

    job: str
    asked: Asked
    variables: Mapping[str, str]


Choose = Callable[[str, Mapping[Asked, int]], Wanted | None]
"""The job that is to have a slot, when as many of each kind are as good as given to other workers; None for none."""


class Staff:
    """One worker a slot at most. Nothing here waits."""

    def __init__(self, home: Home, say: locks.Notice) -> None:
        self._home, self._say = home, say
        self._hands: dict[str, Hand] = {}
        self._desk = Desk(home)
        self._proved = False  # whether this runner could hire, or has had nobody to hire
        self._retry_at: dict[str, float] = {}
        self._hired_at: dict[str, float] = {}
        self._slots: dict[str, str] = {}
        self._kept: dict[str, tuple[float, float]] = {}  # since when, and when it was looked into
        self._open: Collection[str] = ()
        self._failures = 0
        self._why, self._gone = "", ""
        self._since: float | None = None  # since when no worker can be had
        self._starved_until = 0.0
        self.left = False

    @property
    def ears(self) -> list[int]:
        """Descriptors that can be read when a worker has something to say."""
        return [hand.told for hand in self._hands.values()]

    def collect(self, settings: QueueSettings, slots: Collection[str]) -> list[str]:
        """Jobs that are over, as workers say or by their end. Those that are to leave and don't are ended.

        A worker on none of `slots` finishes what it has.
        """
        over: list[str] = []
        for slot, hand in list(self._hands.items()):
            was_ready = hand.ready
            over += hand.listen()
            if hand.ready and not was_ready:
                self._failures, self._why, self._since, self._proved = 0, "", None, True
                self._slots.pop(slot, None)
            if slot not in slots and hand.job is None and not hand.leaving:
                hand.dismiss()
            hand.hurry(settings.grace_seconds)
            if hand.gone:
                over += [hand.job] if hand.job else []
                if not hand.ready and not hand.leaving:
                    self._fail(slot, f"the worker for {slot} {hand.last_words(self._home)}")
                hand.close()
                del self._hands[slot]
        return over

    def free(self, slots: Collection[str], choose: Choose, at_work: Collection[str]) -> Iterator[tuple[Hand, Wanted]]:
        """Workers that can take a job now, with that job; more are hired where slots are free.

        `slots` are those that some job that waits may have; with none, nobody is missed. A worker with other settings
        than the job was asked for with makes room for another, unless one is on its way to a slot for that job.
        `at_work` are the slots of jobs that run: nobody need wonder why those are taken.
        """
        self._open = slots
        self._slots = {slot: said for slot, said in self._slots.items() if slot in slots and slot not in at_work}
        if not slots:
            self._slots, self._kept, self._failures, self._why, self._since = {}, {}, 0, "", None
            self._proved = True
        coming = Counter(hand.asked for hand in self._hands.values() if not hand.ready)
        for slot in slots:
            hand = self._hands.get(slot)
            if hand and hand.ready and hand.job is None and not hand.leaving and not hand.gone:
                wanted = choose(slot, {})
                if wanted is not None and wanted.variables != hand.variables:
                    wanted = choose(slot, coming)
                if wanted is not None and wanted.variables != hand.variables:
                    hand.dismiss()
                elif wanted is not None:
                    yield hand, wanted
        for slot in slots:
            if slot not in self._hands and time.monotonic() >= self._retry_at.get(slot, 0.0):
                wanted = choose(slot, coming)
                if wanted is not None and self._hire(slot, wanted, slot in at_work):
                    coming[wanted.asked] += 1

    def starve(self, error: Exception) -> None:
        """Something that everything needs isn't to be had: room on the disk, descriptors, memory."""
        now = time.monotonic()
        self._starved_until = now + 2 * RETRY_SECONDS
        self._why = in_words(error)
        if getattr(error, "errno", 0) in durable.NO_RESOURCES:
            self._since = self._since or now

    def report(self, launchers: dict[str, str]) -> bool:
        """Tell what keeps jobs from starting; whether it makes sense to stay."""
        now, slots = time.monotonic(), self._open
        late = self._since is not None and now - self._since > PATIENCE_SECONDS
        if now > self._starved_until and not self._failures and self._why:
            self._why, self._since = "", None
        stuck = bool(slots) and all(slot in self._slots and slot not in self._hands for slot in slots)
        what = self._gone or self._why
        if not what and stuck:
            what = "; ".join(self._slots[slot] for slot in slots)
        self.left = bool(self._gone) or self._failures >= FAILURES_MAX or (late and bool(what))
        for text in (what, *self._slots.values(), *launchers.values()):
            if text:
                self._say(text)
        what += ": retrying" if self._why and not self.left else ""
        found = Trouble(what, self.left, dict(self._slots), launchers)
        if found or self._proved:
            self._desk.tell(found)
        return not self.left

    def crashed(self, error: Exception) -> None:
        """Say that the runner ends for a mistake of ours."""
        what = f"the runner crashed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        self._desk.tell(Trouble(f"{what}; its log is {self._home.runner / 'runner.log'}", left=True))

    def close(self) -> None:
        """Let workers finish what they have."""
        for hand in self._hands.values():
            hand.close()
        self._hands = {}
        self._desk.close()

    def _hire(self, slot: str, wanted: Wanted, at_work: bool) -> bool:
        """Take the slot and start a worker for that job on it; False, and why, when that can't be."""
        now = time.monotonic()
        self._retry_at[slot] = now + RETRY_SECONDS
        if not Path(sys.executable).exists():
            again = "run any `datadream` command that starts jobs from the current environment"
            self._gone = f"the Python of this runner no longer exists ({sys.executable}): {again}"
            return False
        try:
            fd = queue.take_slot(self._home, slot)
        except (OSError, UserError) as error:
            self._refused(error, slot, now)
            return False
        if fd is None:
            if not at_work:
                self._look_into(slot, now)
            return False
        self._kept.pop(slot, None)
        try:
            self._hands[slot] = hire(self._home, slot, fd, wanted.variables, wanted.asked)
        except (OSError, UserError) as error:
            self._refused(error, "", now)
            return False
        finally:
            os.close(fd)
        self._hired_at[slot] = now
        return True

    def _refused(self, error: OSError | UserError, slot: str, now: float) -> None:
        """What the system didn't give, for one slot or for all."""
        if durable.is_storage(error) or getattr(error, "errno", 0) in durable.NO_RESOURCES:
            self.starve(error)
        elif slot:
            said = error.message if isinstance(error, UserError) else error.strerror or str(error)
            mend = f"fix the permissions of this file, or remove it: {self._home.slot(slot)}"
            self._slots[slot] = f"slot {slot} can't be used ({said}): {mend}"
            self._since = self._since or now
        else:
            self._fail("", f"can't start a worker: {in_words(error)}")

    def _fail(self, slot: str, why: str) -> None:
        now = time.monotonic()
        self._failures += 1
        self._why = f"{why} (its log is {self._home.runner / 'worker.log'})"
        self._since = self._since or now
        self._retry_at[slot] = now + RETRY_SECONDS * self._failures

    def _look_into(self, slot: str, now: float) -> None:
        """A slot that is taken and has no job: who has it."""
        since, looked = self._kept.get(slot, (now, 0.0))
        if now - since > KEPT_SECONDS and now - looked > LOOK_SECONDS:
            looked = now
            self._slots[slot] = orphans.in_words(self._home, slot)
        self._kept[slot] = since, looked


def in_words(error: Exception) -> str:
    """What the system refused, and of what."""
    if not isinstance(error, OSError) or error.strerror is None:
        return " ".join(str(error).split())
    of = f" ({error.filename})" if error.filename else ""
    hint = ": raise the limit that `ulimit -n` shows" if error.errno == errno.EMFILE else ""
    return f"{error.strerror}{of}{hint}"
