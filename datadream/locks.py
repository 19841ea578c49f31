"""Waiting for a lock with a bound, and saying who has it.

Whoever takes a lock of a home leaves a note in the lock's file: process, host, command, since when. Whoever waits for
longer than TELL_SECONDS reads it aloud, and gives up after a while. Where there is no note that fits, as for SQLite's
own locks, the kernel is asked (proc_locks(5)).
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.text import shown

PROC = Path("/proc")
TELL_SECONDS = 2.0
PATIENCE_SECONDS = 15.0  # with one and the same holder
POLL_SECONDS = 0.02
LOOK_SECONDS = 0.25  # between two looks at who has it
COMMAND_LENGTH = 60
STOPPED = ("T", "t")  # by a signal, by a debugger
Notice = Callable[[str], None]


class LockHeld(UserError):
    """Somebody kept a lock for longer than one would wait. Says who, and what to do."""


@dataclass(frozen=True)
class Holder:
    """A process that has something: `since` is when it took it (UTC), "" when nobody knows."""

    pid: int
    host: str
    command: str
    since: str = ""
    stopped: bool = False

    def __str__(self) -> str:
        return f"`{shown(' '.join(self.command.split()))}` (pid {self.pid} on {shown(self.host)})"

    @property
    def in_words(self) -> str:
        """That it has it, since when, and whether it stands still."""
        since = f"holds it since {self.since[11:19]} UTC" if self.since else "holds it"
        return f"{self} {since}{' and is stopped' if self.stopped else ''}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.host != socket.gethostname():
            return f"wait for it, or end it on {shown(self.host)}"
        if self.stopped:
            return f"`kill -CONT {self.pid}` resumes it"
        return f"wait for it, or end it: `kill {self.pid}`"


def say(text: str) -> None:
    """A notice on standard error."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"datadream: {text}\n")
        sys.stderr.flush()


def silent(_: str) -> None:
    """A notice nobody needs."""


def note(**more: Any) -> bytes:
    """What a holder writes of itself."""
    return json.dumps({**content(), **more}).encode("utf-8", "replace")


def content() -> dict[str, Any]:
    """Who this process is, as a note says it."""
    found = stat_of(os.getpid())
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv and sys.argv[0] else ["python"]
    if words[0] == "__main__.py":
        words[0] = "datadream"
    return {
        "pid": os.getpid(),
        "start": found[1] if found else 0,
        "host": socket.gethostname(),
        "command": " ".join(words)[:COMMAND_LENGTH],
        "since": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def write_note(fd: int, path: Path, text: bytes) -> None:
    """Replace the note in a lock's file."""
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text, 0)
    except OSError as error:
        raise durable.user_error(error, path) from error


def stat_of(pid: int, proc: Path | None = None) -> tuple[str, int] | None:
    """The state letter of a process and its start in clock ticks since boot; None without one (proc_pid_stat(5))."""
    try:
        text = ((proc or PROC) / str(pid) / "stat").read_text()
        fields = text[text.rfind(")") + 2 :].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether a process stands still by a signal, as after Ctrl-Z."""
    found = stat_of(pid)
    return found is not None and found[0] in STOPPED


def process(pid: int, since: str = "") -> Holder:
    """A process of this machine as a holder."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        words = []
    command = " ".join(word for word in words if word)[:COMMAND_LENGTH] or "a process of another user"
    return Holder(pid, socket.gethostname(), command, since, is_stopped(pid))


def holder(path: Path) -> Holder | None:
    """Who has the lock at `path`: by its note, when that process lives and the kernel doesn't name another.

    Not for a file that this process has locked by fcntl, as SQLite's: reading it would drop the lock.
    """
    try:
        found = noted(durable.parse_record(durable.read_bytes(path, durable.RECORD_BYTES)) or {})
    except (OSError, ValueError):
        found = None
    pids = lockers(path)
    if found is not None and (found.host != socket.gethostname() or not pids or found.pid in pids):
        return found
    alive = [pid for pid in pids if stat_of(pid)] or (openers(path) if pids else [])  # a child may have it still
    return process(alive[0]) if alive else None


def of_kernel(*paths: Path) -> list[Holder]:
    """The living processes that have locked any of these files for writing; no file is opened for that."""
    return [process(pid) for path in paths for pid in lockers(path) if stat_of(pid)]


def noted(content: Mapping[str, Any]) -> Holder | None:
    """The holder that a note names; None when it is no note, or of a process of this machine that is over."""
    try:
        pid, host = int(content["pid"]), str(content["host"])
        start = int(content["start"])
    except (KeyError, TypeError, ValueError):
        return None
    command = str(content.get("command", ""))[:COMMAND_LENGTH]
    since = str(content.get("since", ""))
    if host != socket.gethostname():
        return Holder(pid, host, command or "a process", since)
    found = stat_of(pid)
    if found is None or (start and found[1] != start):
        return None
    known = process(pid, since)
    return Holder(pid, host, command or known.command, since, known.stopped)


def lockers(path: Path) -> list[int]:
    """The processes that have a lock on `path` for writing, as far as this kernel shows them."""
    try:
        found = path.stat()
        lines = (PROC / "locks").read_text().splitlines()
    except OSError:
        return []
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    fields = [line.split() for line in lines]
    return [
        int(words[4])
        for words in fields
        if len(words) > 5 and words[1] != "->" and words[3] == "WRITE" and words[5] == file and words[4].isdecimal()
    ]


def openers(path: Path) -> list[int]:
    """The other processes that have the file open, as far as this user may look. No file is touched for that."""
    target = os.path.realpath(path)
    pids = [int(name) for name in durable.names(PROC) if name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and _has_open(pid, target)]


def _has_open(pid: int, target: str) -> bool:
    folder = PROC / str(pid) / "fd"
    for name in durable.names(folder):
        with suppress(OSError):  # closed meanwhile
            if str((folder / name).readlink()) == target:
                return True
    return False


def wait_for(
    take: Callable[[], bool],
    path: Path,
    *,
    seconds: float | None = None,
    told: Notice = say,
    who: Callable[[], Holder | None] | None = None,
) -> None:
    """Call `take` until it says True. `who` tells who has it, where that isn't `holder`.

    After TELL_SECONDS `told` hears once who has it. Raises LockHeld when one holder had it for `seconds`
    (PATIENCE_SECONDS when None), or several in turn for four times as long.
    """
    seconds = PATIENCE_SECONDS if seconds is None else seconds
    began = since = time.monotonic()
    looked, said, pause = began, False, POLL_SECONDS / 8
    known: Holder | None = None
    while not take():
        now = time.monotonic()
        over = now - since >= seconds
        if over or now - max(looked, began + TELL_SECONDS) > LOOK_SECONDS:
            before, known, looked = known, who() if who else holder(path), now
            others = before is not None and known is not None and (before.pid, before.since) != (known.pid, known.since)
            if others and now - began < 4 * seconds:
                since, over = now, False  # they come and go: that is no standstill
        if over:
            raise _held(path, known, now - began)
        if known is not None and not said and now - began > TELL_SECONDS:
            said = True
            told(f"waiting for {path}: {known.in_words}")
        time.sleep(pause)
        pause = LOOK_SECONDS if said and seconds == math.inf else min(2 * pause, POLL_SECONDS)


def _held(path: Path, known: Holder | None, waited: float) -> LockHeld:
    for_long = f" after {waited:.0f} s" if waited >= 1 else ""
    who = known.in_words if known else "the holder is unknown on this system"
    return LockHeld(f"still locked{for_long}: {who}", at=path, hint=known.hint if known else "try again in a moment")


@contextmanager
def flocked(path: Path, *, seconds: float | None = None, told: Notice = say) -> Iterator[None]:
    """Hold a flock on `path`, also against other threads of this process; waits as `wait_for` does."""
    fd = durable.open_file(path, os.O_RDWR)
    try:
        wait_for(lambda: _flock(fd), path, seconds=seconds, told=told)
        with suppress(UserError, OSError):  # a full disk is no reason not to go on
            write_note(fd, path, note())
        yield
    finally:
        os.close(fd)


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
