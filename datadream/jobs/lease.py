"""One holder: a kernel lock (fcntl) that any death of its holder drops, and a note of who that is."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datadream import durable, locks
from datadream.jobs import identity

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux
_threads: dict[str, threading.Lock] = {}  # fcntl knows processes, not threads: closing in one would drop the other's


@contextmanager
def lease(
    path: Path,
    waiting: locks.Notice = locks.say,
    note: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> Iterator[None]:
    """Hold the lock at `path`, against other processes and other threads.

    While somebody else has it, `waiting` hears once who that is. Raises LockHeld when one holder had it for `seconds`
    (0: at once, infinite: never, None: locks.PATIENCE_SECONDS).
    """
    mine = _threads.setdefault(str(path), threading.Lock())
    locks.wait_for(lambda: mine.acquire(blocking=False), path, seconds=seconds, told=waiting)
    try:
        try:
            fd = durable.open_file(path, os.O_RDWR)
        except OSError as error:
            raise durable.user_error(error, path) from error
        try:
            locks.wait_for(lambda: _try(fd), path, seconds=seconds, told=waiting)
            locks.write_note(fd, path, locks.note(**{**identity.myself().to_json(), **(note or {})}))
            yield
        finally:
            os.close(fd)
    finally:
        mine.release()


def is_held(path: Path) -> bool:
    """Whether another process has the lock. Never call it from the holder itself: closing drops its lock (fcntl(2))."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise durable.user_error(error, path) from error
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(fd)


def read_note(path: Path) -> dict[str, Any]:
    """What the last holder wrote of itself; empty when there is nothing readable."""
    try:
        return durable.parse_record(durable.read_bytes(path, durable.RECORD_BYTES)) or {}
    except (OSError, ValueError):
        return {}


def _try(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
