"""Runs commands, one after another, on a home that has no room: `python -m tests.faults.fulldisk PLAN OUT`.

PLAN is JSON: `home` (filled to the last byte first, where `fill` says so), `limit` (of file sizes, or null), `commands`.
OUT gets a list of status, standard output and standard error. Each command is a fork: the imports are paid once.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def fill(folder: Path) -> None:
    """Leave no byte free on that disk."""
    size = CHUNK
    fd = os.open(folder / "filling", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while size:
        try:
            if os.write(fd, b"x" * size) < size:
                size //= 2
        except OSError:
            size //= 2
    os.close(fd)
    assert shutil.disk_usage(folder).free < 4096


def run(words: list[str], limit: int | None, home: Path) -> tuple[int, str, str]:
    """The command in a fork of this process; its status and what it said, through pipes, which are no files."""
    out, err = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        status = 99
        try:
            os.dup2(out[1], 1)
            os.dup2(err[1], 2)
            os.closerange(3, 100)
            os.chdir("/")
            os.environ["DATADREAM_HOME"] = str(home)
            sys.argv = ["datadream", *words]
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            from datadream.cli.main import main

            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    os.close(out[1])
    os.close(err[1])
    texts = {out[0]: b"", err[0]: b""}
    waiting = [out[0], err[0]]
    while waiting:
        for fd in select.select(waiting, [], [])[0]:
            chunk = os.read(fd, 65536)
            texts[fd] += chunk
            if not chunk:
                waiting.remove(fd)
                os.close(fd)
    _, found = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(found), *(text.decode("utf-8", "replace") for text in texts.values())


def main() -> None:
    """Read the plan, do it, write what came of it."""
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    home = Path(plan["home"])
    for name in (
        "datadream.cli.main",
        "store.index",
        "datadream.home.control",
        "datadream.plans.enqueue",
        "store.queries",
    ):
        importlib.import_module(name)

    if plan["fill"]:
        fill(home)
    results = [[words, *run(words, plan["limit"], home)] for words in plan["commands"]]
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
