"""One runner a home, and how an old one learns that it is no longer that.

Leadership is a kernel lock on the newest `runner/epoch-<n>.json`. A runner that died has dropped it; one that was
stopped still holds it, but its beat stands still: whoever watched that for TAKEOVER_SECONDS by its own clock makes
the next epoch. Before every start a runner looks whether a newer epoch exists, and leaves when it does. Where kernel
locks aren't to be trusted, the file and its beat say the same.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.home import identity, leasefiles, mounts, variables
from datadream.home.layout import Home
from datadream.home.lease import is_held, own_note, read_note

BEAT_SECONDS = 2.0
TAKEOVER_SECONDS = 15.0
_ours: dict[Path, dict[str, Any]] = {}  # homes that this process leads, and what it wrote of itself there


def newest(home: Home) -> int:
    """The number of the newest epoch; 0 when there was none."""
    return max(_epochs(home), default=0)


def is_led(home: Home) -> bool:
    """Whether a runner has this home."""
    if home.path in _ours:  # to look would drop our own lock (fcntl(2))
        return True
    number = newest(home)
    return bool(number) and is_held(_path(home, number))


def who_leads(home: Home) -> identity.Process | None:
    """The runner of this home; None when there is none."""
    return identity.parse(note(home)) if is_led(home) and home.path not in _ours else None


def note(home: Home) -> dict[str, Any]:
    """What the newest runner wrote of itself: its process, and by name the secrets it was started with (`noted`)."""
    return _ours.get(home.path) or read_note(_path(home, newest(home)))


def seems_stopped(home: Home) -> bool:
    """Whether the beat looks old by the wall clock: a reason to send a watcher, not to take over."""
    try:
        return abs(time.time() - _path(home, newest(home)).stat().st_mtime) > TAKEOVER_SECONDS
    except OSError:
        return False


class Leadership:
    """Held from `take` until `leave` or death."""

    def __init__(self, home: Home, epoch: int, fd: int, note: dict[str, Any]) -> None:
        self.epoch = epoch
        self._home, self._fd, self._note = home, fd, note
        _ours[home.path] = note
        self._beaten = time.monotonic()

    def holds(self) -> bool:
        """Whether no newer runner has taken over; beats now and then."""
        if newest(self._home) != self.epoch:
            return False
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            with suppress(OSError):  # a full or failing disk is no reason to leave
                os.utime(_path(self._home, self.epoch))
        return True

    def leave(self) -> None:
        """Let the next one lead."""
        _ours.pop(self._home.path, None)
        with suppress(OSError):  # where no kernel lock tells that we left, this does
            os.pwrite(self._fd, leasefiles.record_bytes({**self._note, "over": True}), 0)
        os.close(self._fd)


def take(home: Home, patience: float = TAKEOVER_SECONDS) -> Leadership | None:
    """Lead this home, now if nobody does, or when the leader's beat stood still for `patience` seconds; else None."""
    durable.make_dir(home.runner)
    watched: tuple[int, int] | None = None
    since = time.monotonic()
    while True:
        number = newest(home)
        if not number or not is_held(_path(home, number)):
            return _next(home, number)
        seen = (number, _beat(home, number))
        if watched is not None and seen != watched:
            return None
        watched = seen
        if time.monotonic() - since > patience:
            return _next(home, number)
        time.sleep(min(0.5, patience / 4 + 0.01))


def _next(home: Home, number: int) -> Leadership | None:
    path = _path(home, number + 1)
    content = own_note(path, {"epoch": number + 1, "noted": variables.noted()})
    make = durable.create_locked if mounts.has_kernel_locks(path) else durable.create_open
    fd = make(path, leasefiles.record_bytes(content))
    if fd is None:
        return None
    for old in _epochs(home):
        if old < number:
            durable.remove_file(_path(home, old))
    return Leadership(home, number + 1, fd, content)


def _epochs(home: Home) -> list[int]:
    names = [name for name in durable.names(home.runner) if name.startswith("epoch-")]
    numbers = [name.removeprefix("epoch-").removesuffix(".json") for name in names]
    return [int(number) for number in numbers if number.isdecimal()]


def _beat(home: Home, number: int) -> int:
    try:
        return _path(home, number).stat().st_mtime_ns
    except OSError:
        return 0


def _path(home: Home, number: int) -> Path:
    return home.runner / f"epoch-{number}.json"
