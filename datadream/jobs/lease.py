"""One holder: a kernel lock (fcntl) that any death of its holder drops, and a note of who that is."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.jobs import identity

POLL_SECONDS = 0.2
_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux


@contextmanager
def lease(path: Path, waiting: Callable[[str], None], note: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Hold the lock at `path`; while another process has it, call `waiting` once with its note, then wait."""
    try:
        fd = durable.open_file(path, os.O_RDWR)
    except OSError as error:
        raise durable.user_error(error, path) from error
    told = False
    try:
        while not _try(fd):
            if not told:
                waiting(os.pread(fd, 500, 0).decode("utf-8", "replace").strip() or "another process")
                told = True
            time.sleep(POLL_SECONDS)
        text = json.dumps({**identity.myself().to_json(), **(note or {})}).encode()
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, text, 0)
        except OSError as error:
            raise durable.user_error(error, path) from error
        yield
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether another process has the lock. Never call it from the holder itself: closing drops its lock (fcntl(2))."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
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
        return records.read(path) or {}
    except records.Unreadable:
        return {}


def _try(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
