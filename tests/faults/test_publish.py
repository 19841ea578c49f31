"""`kill -9` at every single durable system call of a job: the old state or the new one, never between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datadream.home import state
from datadream.home.layout import Home, open_home
from datadream.plans.enqueue import enqueue
from tests.faults import strace
from tests.faults.scale import record, scale
from tests.runners import rehearsals

KILLED = (-9, 137)


@pytest.mark.parametrize("call", ["rename", "link", "unlink", "fsync", "mkdir", "rmdir", "write", "ftruncate"])
def test_killed_at_every_durable_call(call: str, tmp_path: Path) -> None:
    strace.available()
    (spec,) = rehearsals(1, steps=2, step_seconds=0.0, size=100)
    fresh = open_home(tmp_path / "fresh")
    enqueue(fresh, [spec], {})
    whole = Home(Path(shutil.copytree(fresh.path, tmp_path / "whole")))
    assert strace.worker(whole, spec.id) == 0
    expected = read(whole, spec.id)
    stride = scale({"fsync": 9, "write": 9, "rename": 4, "unlink": 5}.get(call, 2), 1)
    moments, published, number = 0, 0, 1
    while True:
        cut = Home(Path(shutil.copytree(fresh.path, tmp_path / "cut")))
        status = strace.worker(cut, spec.id, call, f"signal=SIGKILL:when={number}")
        if status not in KILLED:
            assert status == 0
            break
        published += strace.check_old_or_new(cut, spec)
        assert strace.worker(cut, spec.id) == 0
        assert read(cut, spec.id) == expected
        assert state.derive(cut, spec.id).state == "done"
        assert not list(cut.path.glob("artifacts/*/.staging-*"))
        shutil.rmtree(cut.path)
        moments += 1
        number += stride
    assert moments or call in ("rmdir", "ftruncate")
    record("killed-at-every-call", call=call, moments=moments, already_published=published, outcome="old or new")


def read(home: Home, artifact_id: str) -> dict[str, bytes]:
    folder = home.artifact("rehearsal", artifact_id)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
