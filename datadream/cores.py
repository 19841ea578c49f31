"""A crash leaves no copy of this process's memory: tokens for the hub are in it."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

PATTERN = Path("/proc/sys/kernel/core_pattern")


def no_core_dumps() -> None:
    """Have the kernel write no core of this process, nor of those it starts (core(5)).

    A handler that cores are piped to gets them whatever the limit is, but for a limit of one byte.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    piped = False
    with suppress(OSError):
        piped = PATTERN.read_text(encoding="utf-8", errors="replace").startswith("|")
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (1 if piped and most else 0, most))
