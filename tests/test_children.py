"""Whoever starts a runner and lives on, as the app does, leaves no dead child in the process table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from datadream.home.layout import Home
from datadream.jobs import spawn
from tests.runners import until


def children() -> dict[int, str]:
    """Pids and states of this process's children."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        state, parent = text[text.rfind(")") + 2 :].split()[:2]
        if int(parent) == os.getpid():
            found[int(path.parent.name)] = state
    return found


def test_a_runner_that_has_left_is_no_zombie(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"open({str(home.path / 'ran')!r}, 'a').write('x')"
    monkeypatch.setattr(spawn, "command", lambda *_: [sys.executable, "-S", "-c", script])
    before = set(children())
    for _ in range(3):
        spawn.ensure_runner(home)
    until(lambda: (home.path / "ran").exists() and (home.path / "ran").read_text() == "xxx")
    until(lambda: not set(children()) - before)
    assert "Z" not in children().values()
