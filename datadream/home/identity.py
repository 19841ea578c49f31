"""Which process is meant: a pid alone may since belong to a stranger; pid, start time, boot and host don't.

See proc(5): field 22 of /proc/<pid>/stat is the start time in clock ticks since boot.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datadream import locks

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process of one boot of one machine."""

    pid: int
    start: int
    boot: str
    host: str

    def to_json(self) -> dict[str, Any]:
        """As it is written into leases and attempts."""
        return asdict(self)


def parse(value: Mapping[str, Any]) -> Process | None:
    """What `to_json` gave, else None."""
    try:
        return Process(int(value["pid"]), int(value["start"]), str(value["boot"]), str(value["host"]))
    except (KeyError, TypeError, ValueError):
        return None


def boot_id(proc: Path | None = None) -> str:
    """This boot's random name."""
    return _boot_id((proc or PROC) / "sys/kernel/random/boot_id")


@lru_cache(maxsize=8)
def _boot_id(path: Path) -> str:
    """No process outlives its boot."""
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"


def identify(pid: int, proc: Path | None = None) -> Process | None:
    """The living process with this pid; None when there is none, or only its corpse."""
    found = locks.stat_of(pid, proc or PROC)
    if found is None or found[0] in ("Z", "X"):
        return None
    return Process(pid, found[1], boot_id(proc), socket.gethostname())


def myself() -> Process:
    """This process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def pid_space() -> str:
    """Whose pids these are: a container has a space of its own, on the same host and boot."""
    try:
        return str((PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def place(home: Path) -> dict[str, Any]:
    """Which folder a home is, for leases and attempts to name: a copy of it is another, whatever it is called."""
    found = home.stat()
    return {"device": str(found.st_dev), "inode": str(found.st_ino), "path": str(home.resolve())}  # of up to 64 bits


def is_of(note: Mapping[str, Any], home: Path) -> bool:
    """Whether what a process of this host and boot noted was meant for this very home, not for one it was copied from.

    What names no home, as before homes were named, was.
    """
    named = note.get("home")
    if not isinstance(named, dict):
        return True
    try:
        found = place(home)
    except OSError:
        return False
    return all(named.get(key) == found[key] for key in ("device", "inode"))


def is_of_here_or_elsewhere(note: Mapping[str, Any], home: Path) -> bool:
    """As `is_of`, of a note from any host: another may see this home under another path, or as another device."""
    named = note.get("home")
    if not isinstance(named, dict):
        return True
    try:
        found = place(home)
    except OSError:
        return False
    return any(named.get(key) == found[key] for key in ("inode", "path"))


def is_alive(process: Process, proc: Path | None = None) -> bool:
    """Whether that very process still lives, here. One of another host or boot doesn't."""
    return identify(process.pid, proc) == process


def obstacle(process: Process) -> str:
    """Why that process can't be signalled from here, or "" when it can, or is gone."""
    where = f"pid {process.pid} on {process.host}"
    if process.host != socket.gethostname():
        return f"{where}, another host"
    try:
        os.kill(process.pid, 0)
    except PermissionError:
        return f"{where}, of another user"
    except ProcessLookupError:
        pass
    return ""


def signal_group(process: Process, number: signal.Signals, proc: Path | None = None) -> bool:
    """Signal the group that `process` leads, or it alone when it leads none (it was started by hand).

    False, and nobody is signalled, when that very process isn't alive.
    """
    if not is_alive(process, proc):
        return False
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
