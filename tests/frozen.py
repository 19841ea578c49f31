"""A process that takes locks of a home and stands still with them, as after Ctrl-Z."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.runners import until

CODE = """
import fcntl, os, signal, sqlite3, sys, time
kept = []
for argument in sys.argv[1:]:
    kind, _, path = argument.partition(":")
    if kind in ("flock", "lockf"):
        kept.append(open(path, "a+"))
        getattr(fcntl, kind)(kept[-1], fcntl.LOCK_EX)
    else:
        database = sqlite3.connect(path, isolation_level=None)
        if kind == "reads":
            database.execute("BEGIN")
            database.execute("SELECT count(*) FROM job").fetchone()
        elif kind == "writes":
            database.execute("BEGIN IMMEDIATE")
        else:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("BEGIN EXCLUSIVE")
        kept.append(database)
print("has them", flush=True)
if os.environ.get("STOPS"):
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(3600)
"""


@contextmanager
def frozen(*what: str, stops: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process that has these until the end: `flock:PATH`, `lockf:PATH`, `reads:DB`, `writes:DB` or `owns:DB`."""
    for argument in what:
        kind, _, path = argument.partition(":")
        if kind in ("flock", "lockf"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "STOPS": "1" if stops else ""}
    command: Sequence[str] = [sys.executable, "-c", CODE, *what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "has them\n"
        if stops:
            until(lambda: _state(process.pid) == "T")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rfind(")") + 2]
