"""What SQLite refuses, as one sentence: no room, no right, a failing disk, somebody else at it, damage."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from datadream import durable, locks
from datadream.errors import UserError

AGAIN = "rebuild it with `datadream registry rebuild`: only the index is lost"
OURS = (IntegrityError, DataError, ProgrammingError)
FAR = 1 << 30
INDEX = "the registry is an index of the home's folders; jobs do not depend on it"


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the database at `path` that its user can do something about are UserErrors; those of ours stay."""
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        known = sentence(error, path)
        if known is None:
            raise
        raise known from _of_system(error, path)


def sentence(error: Exception, path: Path) -> UserError | None:
    """What to tell about an error of the database at `path`; None for one that no user can mend."""
    number = _of_system(error, path).errno
    code = _code(error)
    if number in durable.NO_SPACE:
        return durable.no_space(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return _held(path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH) or number in durable.NO_WRITE:
        return UserError("can't write the registry", at=path, hint=f"check the permissions; {INDEX}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UserError("the registry is damaged", at=path, hint=AGAIN)
    if code == sqlite3.SQLITE_IOERR:
        return UserError("read or write error on the registry's disk", at=path, hint=f"check that disk; {INDEX}")
    if code == sqlite3.SQLITE_CANTOPEN:
        return UserError("can't open the registry", at=path, hint=f"check the permissions; {INDEX}")
    if code in (0, sqlite3.SQLITE_ERROR) or isinstance(error, OURS):
        return None
    return UserError(f"the registry can't be used: {getattr(error, 'orig', error)}", at=path, hint=AGAIN)


def _held(path: Path) -> locks.LockHeld:
    log = path.with_name(f"{path.name}-shm")  # where a writer's lock is in WAL mode
    holders = locks.of_kernel(log, path)
    who = holders[0].in_words if holders else "another program is writing to it"
    hint = holders[0].hint if holders else "close any open transaction on it (a notebook, sqlite3)"
    return locks.LockHeld(f"the registry is locked: {who}", at=path, hint=hint)


def _code(error: Exception) -> int:
    """SQLite's result code, without its details."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    return int(getattr(inner, "sqlite_errorcode", 0) or 0) & 0xFF


def _of_system(error: Exception, path: Path) -> OSError:
    """What the system refused SQLite. It tells a full disk from others, but not a quota or a limit: those are tried."""
    code = _code(error)
    number = 0
    if code == sqlite3.SQLITE_FULL:
        number = errno.ENOSPC
    elif code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        number = _refusal(path) or (errno.EIO if code == sqlite3.SQLITE_IOERR else 0)
    found = OSError(number, str(error), str(path))
    found.__cause__ = error
    return found


def _refusal(path: Path) -> int:
    """Why a file as long as that at `path`, or of FAR bytes, can't be written beside it: an errno, 0 when it can."""
    scratch = durable.scratch(path)
    try:
        end = path.stat().st_size if path.exists() else 0
        fd = durable.open_file(scratch, os.O_WRONLY)
        try:
            os.pwrite(fd, b"x" * 4096, end)
            durable.fsync(fd)
            os.pwrite(fd, b"x", FAR)  # one byte behind a hole: only a limit of file sizes refuses that
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno or 0
    finally:
        with suppress(OSError, UserError):
            durable.remove_file(scratch)
    return 0
