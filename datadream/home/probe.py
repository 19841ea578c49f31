"""Trying a file system: each function does the thing in a scratch file, and tells what came of it."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datadream import durable

SECONDS = 10.0
FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux
HELD = {errno.EAGAIN, errno.EACCES}  # what a lock that another has answers (fcntl(2))
CHILD = """
import fcntl, os, sys
try:
    fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as error:
    print(error.errno or 1, flush=True)
else:
    print(0, flush=True)
sys.stdin.read()
"""


def fcntl_locks(folder: Path) -> str:
    """Why fcntl locks there keep nobody out, "" when they do: another process, another open file, until a death."""
    with _scratch(folder) as path:
        if why := _same_process(path):
            return why
        return _other_process(path)


def quick(folder: Path) -> str:
    """The part of `fcntl_locks` that takes no second process."""
    with _scratch(folder) as path:
        return _same_process(path)


def flock_locks(folder: Path) -> bool:
    """Whether flock keeps out another open file of the same process, and lets go when the first is closed."""
    with _scratch(folder) as path:
        one, two = (os.open(path, os.O_RDWR | os.O_CLOEXEC) for _ in range(2))
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                os.close(one)
                one = -1
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False
        finally:
            for fd in (one, two):
                if fd >= 0:
                    os.close(fd)


def hard_links(folder: Path) -> bool:
    """Whether a file can have a second name."""
    with _scratch(folder) as path, _scratch(folder, make=False) as other:
        try:
            os.link(path, other)
        except OSError:
            return False
        return True


def syncs(folder: Path) -> bool:
    """Whether fsync is known for files and folders."""
    with _scratch(folder) as path:
        for place, flags in ((path, os.O_RDWR), (folder, os.O_RDONLY | os.O_DIRECTORY)):
            fd = os.open(place, flags | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            except OSError:
                return False
            finally:
                os.close(fd)
    return True


def refused(folder: Path) -> str:
    """What a home can't do without and isn't there: files made once, renamed over others, appended to; else ""."""
    with _scratch(folder) as path, _scratch(folder) as other:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            return "O_EXCL does not work: an existing file can be created again"
        except FileExistsError:
            pass
        try:
            other.replace(path)
        except OSError as error:
            return f"a file can't be renamed over another ({error.strerror})"
        ends = [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC) for _ in range(2)]
        try:
            for fd in (*ends, *ends):
                os.write(fd, b"x")
            if os.fstat(ends[0]).st_size != 4:
                return "two processes that append to a file overwrite each other"
        except OSError as error:
            if error.errno not in durable.NO_SPACE:
                return f"files can't be appended to ({error.strerror})"
        finally:
            for fd in ends:
                os.close(fd)
    return ""


def _same_process(path: Path) -> str:
    """As `fcntl_locks`, with locks of two kinds that keep each other out (F_OFD_SETLK, fcntl(2))."""
    one, two = (os.open(path, os.O_RDWR | os.O_CLOEXEC) for _ in range(2))
    try:
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(two, fcntl.F_OFD_SETLK, asked)
        except OSError as error:
            return "" if error.errno in HELD or error.errno == errno.EINVAL else _refusal(error)
        return "locks have no effect"
    except OSError as error:
        return _refusal(error)
    finally:
        os.close(one)
        os.close(two)


def _other_process(path: Path) -> str:
    """Whether a lock of a child's keeps us out, and goes with it."""
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError:
        return ""  # no process to be had: what `_same_process` found must do
    fd = -1
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], SECONDS)
        if not ready:
            return "lock requests hang"
        said = child.stdout.readline().strip()
        if not said.isdigit():
            return ""  # the child didn't come so far
        if int(said):
            return _refusal(OSError(int(said), os.strerror(int(said))))
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if not is_locked(fd):
            return "locks don't exclude other processes"
        with suppress(BlockingIOError, PermissionError):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "locks don't exclude other processes"
        child.kill()
        child.wait(SECONDS)
        return "locks outlive their holder" if is_locked(fd) else ""
    except OSError as error:
        return _refusal(error)
    finally:
        if fd >= 0:
            os.close(fd)
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(SECONDS)


def is_locked(fd: int) -> bool:
    """Whether another process has the file locked. Raises OSError where that can't be asked."""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind: int = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK


def _refusal(error: OSError) -> str:
    return f"the system says {errno.errorcode.get(error.errno or 0, error.errno)}, {error.strerror}"


@contextmanager
def _scratch(folder: Path, make: bool = True) -> Iterator[Path]:
    path = durable.scratch(folder / "probe")
    try:
        if make:
            os.close(durable.open_file(path, os.O_WRONLY))
        yield path
    finally:
        with suppress(OSError):
            path.unlink()
