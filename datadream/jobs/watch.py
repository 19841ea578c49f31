"""Seeing to it that a runner is at work, and learning why none can be: for those who wait for jobs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from datadream import durable
from datadream.errors import UserError
from datadream.home import lines, outlook, queue, trouble
from datadream.home.layout import Home
from datadream.jobs import leader, spawn

FAILURES_MAX = 2  # runners in a row that end at once
KILLED_MAX = 5  # or are killed


@dataclass(frozen=True)
class Outlook:
    """Why no job starts, "" when some can; `stuck` when that won't pass by itself."""

    why: str = ""
    stuck: bool = False


def look(home: Home) -> Outlook:
    """What a home's queue, its disk and its runner's own words say. The command line and the app both ask here."""
    settings, wrong = queue.look(home)
    why = outlook.held_up(home).reason
    if wrong or (why and not settings.paused and not queue.slots(settings)):
        return Outlook(why, stuck=True)
    return Outlook(why, stuck=bool(why) and trouble.read(home).left and not leader.is_led(home))


def last_words(home: Home, start: int = 0) -> str:
    """The last line of the runner's log since the byte `start`."""
    return lines.last_text(home.runner / "runner.log", start)


class Watch:
    """Replaces a runner that has died. Its methods return at once."""

    def __init__(self, home: Home) -> None:
        """See to it that there is one. Raises UserError where a runner couldn't write."""
        self._home = home
        self._failures = self._killed = 0
        self._start()

    def look(self) -> str:
        """Why nothing starts now, "" when something can. Raises UserError when nothing will, and says why."""
        found = look(self._home)
        if leader.is_led(self._home):
            self._failures = self._killed = 0
            return found.why
        settings, wrong = queue.look(self._home)
        if wrong or (found.stuck and not trouble.read(self._home).left):
            raise UserError(found.why)
        if self._process is not None and self._process.poll() is None:  # it is on its way, or watches another
            return found.why
        if self._process is not None:
            self._judge(self._process.returncode)
        if not settings.paused:
            self._start()
        return found.why

    def _start(self) -> None:
        self._log_start = durable.size_of(self._home.runner / "runner.log")
        self._stamp = trouble.stamp(self._home)
        self._process: subprocess.Popen[bytes] | None = spawn.ensure_runner(self._home)

    def _judge(self, status: int) -> None:
        """What came of the runner that was started here."""
        told = trouble.read(self._home)
        if told.left and trouble.stamp(self._home) != self._stamp:
            raise UserError(f"no job can start: {told.what}")
        self._killed += status < 0
        self._failures += status > 0
        if self._failures >= FAILURES_MAX or self._killed >= KILLED_MAX:
            how = f"with status {status}" if status > 0 else f"by signal {-status}"
            said = last_words(self._home, self._log_start)
            log = self._home.runner / "runner.log"
            raise UserError(f"the runner exits at once, {how}{f': {said}' if said else ''}", at=log)
