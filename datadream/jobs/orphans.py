"""Processes that keep a slot after their job: children of a worker that died, or a worker that hangs at its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from datadream import durable, locks
from datadream.errors import UserError
from datadream.home import identity, lease
from datadream.home.identity import Process
from datadream.home.layout import Home
from datadream.jobs import leader

SHOWN = 3
POLL_SECONDS = 0.1


def keepers(home: Home, slot: str) -> list[Process]:
    """The living processes that have the slot's file open: whoever has that has the slot."""
    found = [identity.identify(pid) for pid in locks.openers(home.slot(slot))]
    return [process for process in found if process is not None]


def in_words(home: Home, slot: str, led: bool = False) -> str:
    """Who has a slot without a job, and what ends that; a worker may do so for a while where a runner has the home."""
    found = keepers(home, slot)
    if not found:
        return f"slot {slot} is held by a process that can't be seen from here: of another user, host or container"
    if led and _needed(home, slot, {process.pid for process in found}):
        return "kept warm by a worker"
    listed = ", ".join(str(locks.process(process.pid)) for process in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"slot {slot} is held by {listed}{more} without a running job: `datadream queue free {slot}` ends them"


def check_unneeded(home: Home, slot: str, found: Sequence[Process]) -> None:
    """Raise UserError when a job runs on the slot, or the runner has a worker there."""
    if why := _needed(home, slot, {process.pid for process in found}):
        raise UserError(f"slot {slot} is in use: {why}", hint="see `datadream queue show`")


def free(home: Home, slot: str, found: Sequence[Process], grace: float) -> list[Process]:
    """End those of `found` that still keep the slot: SIGTERM, and after `grace` seconds SIGKILL; the ones that ended.

    Raises UserError, before any is signalled, as `check_unneeded` does, and for one that this user may not end.
    """
    check_unneeded(home, slot, found)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in found:
            if process in keepers(home, slot):  # asked again right before: a pid may be a stranger's by now
                _signal(process, number)
        end = time.monotonic() + grace
        while any(identity.is_alive(process) for process in found) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
    return [process for process in found if not identity.is_alive(process)]


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
        os.kill(process.pid, signal.SIGCONT)  # one that is stopped would not notice
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise UserError(f"process {process.pid} belongs to another user", hint="ask them to end it") from error


def _needed(home: Home, slot: str, pids: set[int]) -> str:
    """Why these processes are to live, or ""."""
    for job in durable.names(home.queue):
        path = home.files(job).lease
        if path.is_file() and lease.is_held(path) and lease.read_note(path).get("pid") in pids:
            return f"job {job[:8]} runs there, `datadream job cancel {job[:8]}` ends it"
    runner = leader.who_leads(home)
    if runner is not None and any(_is_worker_of(runner, pid) for pid in pids):
        return f"the runner (pid {runner.pid}) has a worker there, which exits when it isn't needed"
    return ""


def _is_worker_of(runner: Process, pid: int) -> bool:
    """Whether it is a worker that the runner feeds."""
    try:
        text = (locks.PROC / str(pid) / "stat").read_text()
        parent = int(text[text.rfind(")") + 2 :].split()[1])
        return parent == runner.pid and b"--feed" in (locks.PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return False
