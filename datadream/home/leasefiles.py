"""Locks made of nothing but files, for storage whose own locks keep nobody out: valid wherever a file can be made once.

A lock at `x` is the highest number in the folder `x.held/`. Whoever makes the next number has it; nobody may while
the last one is alive: not released, its process not known to be dead (same host, boot and pid space), and its beat,
which the holder writes every few seconds, seen to change within LEASE_SECONDS by the observer's own clock. So no two
clocks are compared, and a holder that was stopped and comes back finds a higher number, and itself `lost`.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.home import identity

LEASE_SECONDS = 30.0
BEAT_SECONDS = 3.0
SIZE = 1024  # of a record: it is written over in place, which needs no room
_watched: dict[str, tuple[object, float]] = {}
_beating: dict[int, Record] = {}
_beater = 0  # the process whose thread beats; a fork's child has no such thread
_lock = threading.Lock()


class Record:
    """A lock held by this process, beating until it is released. Made by `take`."""

    def __init__(self, folder: Path, number: int, fd: int, note: dict[str, Any]) -> None:
        self._folder, self._number, self._fd, self._note = folder, number, fd, note
        self._beats = 0
        self._beaten = time.monotonic()
        self._lost = self._over = False
        self._alone = threading.Lock()  # the thread that beats must not write into a file that was closed
        _keep_beating(self)

    @property
    def lost(self) -> bool:
        """Whether another has it now, because we seemed dead."""
        if not self._lost and time.monotonic() - self._beaten > LEASE_SECONDS / 2:
            self._lost = newest(self._folder) != self._number
        return self._lost

    def beat(self) -> None:
        """Say that we live, unless another has taken over."""
        with self._alone:
            self._lost = self._lost or newest(self._folder) != self._number
            if self._lost or self._over:
                return
            self._beats += 1
            with suppress(OSError):
                try:
                    _write(self._fd, {**self._note, "beat": self._beats})
                except OSError:
                    os.utime(self._fd)
                self._beaten = time.monotonic()

    def release(self) -> None:
        """Let the next one have it."""
        with _lock:
            _beating.pop(id(self), None)
        with self._alone:
            self._over = True
            with suppress(OSError):  # on a disk that failed, others wait until the beat is old
                try:
                    _write(self._fd, {**self._note, "over": True})
                except OSError:
                    os.ftruncate(self._fd, 0)
            os.close(self._fd)


def take(path: Path, note: Mapping[str, Any]) -> Record | None:
    """The lock at `path`, None when another has it."""
    folder = path.with_name(f"{path.name}.held")
    if not durable.make_child(folder):
        raise FileNotFoundError(errno.ENOENT, "its folder is gone", str(path))
    number = newest(folder)
    if number and holder(path) is not None:
        return None
    content = dict(note)
    fd = durable.create_open(folder / str(number + 1), record_bytes(content))
    if fd is None:
        return None
    if newest(folder) != number + 1:  # we were slow: others came and went since we looked
        os.close(fd)
        durable.remove_file(folder / str(number + 1))
        return None
    for older in _numbers(folder):
        if older <= number:
            durable.remove_file(folder / str(older))
    return Record(folder, number + 1, fd, content)


def holder(path: Path) -> dict[str, Any] | None:
    """What the one that has the lock at `path` wrote of itself; None when nobody has it."""
    folder = path.with_name(f"{path.name}.held")
    number = newest(folder)
    if not number:
        return None
    record = folder / str(number)
    note = read(record)
    return note if not note.get("over") and lives(record, note, path) else None


def lives(record: Path, note: Mapping[str, Any], path: Path) -> bool:
    """Whether the process that wrote `note` into `record` may still be at work, as far as can be known from here."""
    who = identity.parse(note)
    if who is not None and is_here(note):
        from datadream.home.mounts import home_of

        home = home_of(path)
        return identity.is_alive(who) and (home is None or identity.is_of(note, home))
    try:
        found = record.stat()
    except OSError:
        return False
    return unchanged(str(record), (found.st_ino, found.st_mtime_ns, json.dumps(note, sort_keys=True))) < LEASE_SECONDS


def is_here(note: Mapping[str, Any]) -> bool:
    """Whether the process that wrote `note` can be seen from here, if it lives: same host, boot and pid space."""
    space = note.get("pids", identity.pid_space())
    ours = socket.gethostname(), identity.boot_id(), identity.pid_space()
    return (note.get("host"), note.get("boot"), space) == ours


def unchanged(what: str, state: object) -> float:
    """For how many seconds `what` has been seen in this very state, by this process's own clock; 0 at first sight."""
    now = time.monotonic()
    with _lock:
        before = _watched.get(what)
        if before is None or before[0] != state:
            if len(_watched) > 50_000:
                _watched.clear()
            _watched[what] = before = state, now
    return now - before[1]


def newest(folder: Path) -> int:
    """The highest number in `folder`; 0 when there is none."""
    return max(_numbers(folder), default=0)


def read(record: Path) -> dict[str, Any]:
    """What is written there; empty when that can't be read, or not yet."""
    try:
        return records.read(record, most=durable.RECORD_BYTES) or {}
    except records.Unreadable:
        return {}


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def record_bytes(note: Mapping[str, Any]) -> bytes:
    """A note as it is written, and written over: always of the same size."""
    return json.dumps({**note, "beat": note.get("beat", 0)}, sort_keys=True).encode().ljust(SIZE - 1) + b"\n"


def _write(fd: int, note: Mapping[str, Any]) -> None:
    os.pwrite(fd, record_bytes(note), 0)


def _keep_beating(record: Record) -> None:
    global _beater
    with _lock:
        _beating[id(record)] = record
        if _beater != os.getpid():
            _beater = os.getpid()
            threading.Thread(target=_beat, name="leases", daemon=True).start()


def _beat() -> None:
    global _beater
    while True:
        time.sleep(BEAT_SECONDS)
        with _lock:
            held = list(_beating.values())
            if not held:
                _beater = 0
                return
        for record in held:
            with suppress(OSError):
                record.beat()
