"""One worker a job: a kernel lock that any death of its holder drops."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datadream import durable

POLL_SECONDS = 0.2


@contextmanager
def lease(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; while another process has it, call `waiting` once with its note, then wait."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise durable.user_error(error, path) from error
    told = False
    try:
        while True:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if not told:
                    waiting(os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "another process")
                    told = True
                time.sleep(POLL_SECONDS)
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield
    finally:
        os.close(fd)
