"""One holder at a time, and who that is: a kernel lock (fcntl) that any death of its holder drops, with a note beside.

Where kernel locks keep nobody out, or not everybody (`mounts`), the same is done with files alone (`leasefiles`).
Threads of one process keep each other out too, which neither of these does.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datadream import durable, locks
from datadream.errors import UserError
from datadream.home import identity, leasefiles, mounts, probe
from datadream.home.jobfiles import JobFiles

_here: dict[str, _Entry] = {}
_lock = threading.Lock()


@dataclass
class _Entry:
    """What this process has to do with a lock: threads that want it, and what the one that has it wrote of itself."""

    alone: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0
    note: dict[str, Any] | None = None


class Lost(Exception):
    """Another has taken over a lease, because its holder seemed dead: whatever was being done is done there now."""


class Held:
    """A lease while it is held."""

    def __init__(self, fd: int, record: leasefiles.Record | None = None) -> None:
        self._fd, self._record = fd, record

    def check(self) -> None:
        """Raise `Lost` when another has the lease now. Ask before anything that two must not both do."""
        if self._record is not None and self._record.lost:
            raise Lost

    def release(self) -> None:
        """Let the next one have it."""
        if self._record is not None:
            self._record.release()
            return
        with suppress(OSError):
            os.ftruncate(self._fd, 0)  # nobody is to take the note for one of a live holder
        os.close(self._fd)


@contextmanager
def lease(
    path: Path,
    waiting: locks.Notice = locks.say,
    note: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> Iterator[Held]:
    """Hold the lock at `path`, whose folder must exist, against other processes and other threads.

    While somebody else has it, `waiting` hears once who that is. Raises LockHeld when one holder had it for `seconds`
    (0: at once, infinite: never, None: locks.PATIENCE_SECONDS).
    """
    found: list[Held] = []

    def take() -> bool:
        held = _take(path, note or {})
        found.extend([held] if held else [])
        return held is not None

    with _alone_here(path, waiting, seconds) as entry:
        locks.wait_for(take, path, seconds=seconds, told=waiting, who=lambda: _other(path))
        try:
            entry.note = own_note(path, note or {})
            yield found[0]
        finally:
            entry.note = None
            found[0].release()


@contextmanager
def lock(path: Path, waiting: locks.Notice = locks.say, seconds: float | None = None) -> Iterator[None]:
    """Alone with the file that `path` guards, to read, change and write it. Its folder must exist.

    Waits as `lease` does; on storage without kernel locks long enough to see that a holder is dead.
    """
    if seconds is None and not mounts.has_kernel_locks(path):
        seconds = locks.PATIENCE_SECONDS + leasefiles.LEASE_SECONDS
    with lease(path, waiting, seconds=seconds):
        yield


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock: another process, or another part of this one that took it by `lease`."""
    return holder(path) is not None


def holder(path: Path) -> dict[str, Any] | None:
    """What the holder of the lock wrote of itself, None when there is none.

    A holder in a home that this one is a copy of holds nothing here.
    """
    try:
        kernel = mounts.has_kernel_locks(path)
    except FileNotFoundError:
        return None
    with _lock:  # nobody here takes it while we look: closing any descriptor of a file drops its locks (fcntl(2))
        entry = _here.get(str(path))
        if entry is None:
            locked = _is_locked(path)
            if locked:
                return read_note(path)
    if entry is not None and entry.note is not None:
        return entry.note
    if not kernel:
        return _holder_by_files(path)
    if entry is None:
        return None
    others = locks.of_kernel(path)  # a thread here is about to have it: its file must not be opened
    return {"pid": others[0].pid, "host": others[0].host} if others else {}


def read_note(path: Path) -> dict[str, Any]:
    """What the last holder wrote of itself; empty when there is nothing readable."""
    folder = path.with_name(f"{path.name}.held")
    number = leasefiles.newest(folder)
    return leasefiles.read(folder / str(number) if number else path)


def worker_of(home: Path, folder: Path, attempt: Mapping[str, Any]) -> identity.Process | None:
    """The process that works on the job in `folder`, or was given this attempt of it; None when that is another home's.

    Whoever means to signal asks here: a home that was copied has its original's leases and attempts.
    """
    note = holder(JobFiles(folder).lease)
    if note and "pid" in note:
        return identity.parse(note) if identity.is_of(note, home) else None
    return identity.parse(attempt.get("worker") or {}) if identity.is_of(attempt, home) else None


def may_start(record: Path, note: Mapping[str, Any]) -> bool:
    """Whether the worker that an attempt was given to, as `record` says, may still be on its way to its lease.

    One of this host is asked for by pid. One of another host is believed for a while where no kernel lock would tell.
    """
    worker = identity.parse(note.get("worker") or {})
    if worker is None:
        return False
    home = mounts.home_of(record)
    if identity.is_alive(worker):
        return home is None or identity.is_of(note, home)
    if leasefiles.is_here(worker.to_json()) or mounts.has_kernel_locks(record):
        return False
    return leasefiles.unchanged(str(record), note.get("at")) < leasefiles.LEASE_SECONDS


def own_note(path: Path, note: Mapping[str, Any]) -> dict[str, Any]:
    """What a holder writes: which process of which host and home it is, and since when."""
    home = mounts.home_of(path)
    named = {} if home is None else {"home": identity.place(home)}
    process = identity.myself().to_json()
    return {**locks.content(), **process, "pids": identity.pid_space(), **named, **note}


def _take(path: Path, note: Mapping[str, Any]) -> Held | None:
    """The lock, None when another has it."""
    try:
        if mounts.has_kernel_locks(path):
            held = _take_kernel(path, note)
            if held is None or mounts.has_kernel_locks(path):
                return held
            held.release()  # another host came, from where these locks can't be seen
    except OSError as error:
        if error.errno not in durable.MISSING:
            raise durable.user_error(error, path) from error
        mounts.distrust(path, f"the system says {error.strerror}")
    try:
        if _noted(path) is not None:
            return None
        record = leasefiles.take(path, own_note(path, note))
    except OSError as error:
        raise durable.user_error(error, path) from error
    return None if record is None else Held(-1, record)


def _take_kernel(path: Path, note: Mapping[str, Any]) -> Held | None:
    fd = durable.open_file(path, os.O_RDWR)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(path, fd):  # removed, or moved to the trash, since it was opened
            raise BlockingIOError
    except OSError as error:
        os.close(fd)
        if error.errno in probe.HELD or isinstance(error, BlockingIOError):
            return None
        raise
    with suppress(OSError, UserError):  # on a full disk nobody learns who has it, but it is had
        locks.write_note(fd, path, json.dumps(own_note(path, note)).encode())
    return Held(fd)


def _is_locked(path: Path) -> bool:
    """Whether another process has the kernel's lock. Only under `_lock`."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise durable.user_error(error, path) from error
    try:
        return probe.is_locked(fd)
    except OSError as error:
        if error.errno in durable.MISSING:
            return False
        raise durable.user_error(error, path) from error
    finally:
        os.close(fd)


def _holder_by_files(path: Path) -> dict[str, Any] | None:
    return leasefiles.holder(path) or _noted(path)


def _noted(path: Path) -> dict[str, Any] | None:
    """The note of one that took the lock while kernel locks were trusted, and may live."""
    note = leasefiles.read(path)
    return note if note and not note.get("over") and leasefiles.lives(path, note, path) else None


def _is_still(path: Path, fd: int) -> bool:
    try:
        found, ours = path.stat(), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def _other(path: Path) -> locks.Holder | None:
    """Who has the lock, for a thread that is the only one here to want it."""
    if mounts.has_kernel_locks(path):
        return locks.holder(path)
    return locks.noted(_holder_by_files(path) or {})


@contextmanager
def _alone_here(path: Path, waiting: locks.Notice, seconds: float | None) -> Iterator[_Entry]:
    """Keep the other threads of this process from `path`; the last one out takes its entry away."""
    name = str(path)
    with _lock:
        entry = _here.setdefault(name, _Entry())
        entry.threads += 1
    try:
        mine = partial(entry.alone.acquire, blocking=False)
        locks.wait_for(mine, path, seconds=seconds, told=waiting, who=lambda: locks.noted(entry.note or {}))
        try:
            yield entry
        finally:
            entry.alone.release()
    finally:
        with _lock:
            entry.threads -= 1
            if not entry.threads:
                _here.pop(name, None)
