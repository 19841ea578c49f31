"""Disk full, over quota, failing: at every write a job makes. It pauses with a reason, and goes on when it can."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import state
from datadream.home.layout import Home, open_home
from datadream.jobs.failures import EXIT_STORAGE
from datadream.plans.enqueue import enqueue
from tests.faults import strace
from tests.faults.scale import record, scale
from tests.faults.test_publish import read
from tests.runners import rehearsals


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir", "link"])
def test_an_error_at_every_write_pauses_the_job_and_loses_nothing(call: str, error: str, tmp_path: Path) -> None:
    strace.available()
    (spec,) = rehearsals(1, steps=2, step_seconds=0.0, size=100)
    fresh = open_home(tmp_path / "fresh")
    enqueue(fresh, [spec], {})
    whole = Home(Path(shutil.copytree(fresh.path, tmp_path / "whole")))
    assert strace.worker(whole, spec.id) == 0
    expected = read(whole, spec.id)
    stride, most = scale({"write": 12, "fsync": 12, "rename": 7}.get(call, 3), 1), scale(2, 1000)
    number, paused, moments = 1, 0, 0
    while moments < most:
        cut = Home(Path(shutil.copytree(fresh.path, tmp_path / "cut")))
        sticky = "+" if number % 2 else ""  # every other time all calls from then on fail, as on a full disk
        status = strace.worker(cut, spec.id, call, f"error={error}:when={number}{sticky}")
        if status == 0 and not sticky:
            break
        assert status in (0, EXIT_STORAGE), (call, error, number, (cut.job(spec.id) / "log.txt").read_text())
        strace.check_old_or_new(cut, spec)
        found = state.read_dict(cut.job(spec.id) / "error.json")
        if found is not None and status:
            assert found["kind"] == "storage"
            assert state.derive(cut, spec.id).state == "queued"
            assert "resumes automatically once the disk is writable" in state.derive(cut, spec.id).reason
            paused += 1
        assert strace.worker(cut, spec.id) == 0
        assert read(cut, spec.id) == expected
        shutil.rmtree(cut.path)
        moments += 1
        number += stride
        if status == 0:
            break
    assert moments
    record("storage-error-at-every-write", call=call, error=error, moments=moments, told=paused, outcome="resumed")


def test_a_line_torn_by_a_full_disk_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    appender = durable.Appender(path)
    appender.append({"n": 1})
    real = os.write

    def short(fd: int, data: bytes) -> int:
        return real(fd, data[:5])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(Exception, match="no space left"):
        appender.append({"n": 2})
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    with pytest.raises(Exception, match=r"no|I/O"):
        appender.append({"n": 3})
    monkeypatch.undo()
    appender.close()
    again = durable.Appender(path)
    again.append({"n": 4})
    again.close()
    records, bad = durable.read_jsonl(path)
    assert [entry["n"] for entry in records] == [1, 4]
    assert bad == 1


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the fault of M12, with no mount."""
    import resource
    import subprocess
    import sys

    (spec,) = rehearsals(1, steps=2, step_seconds=0.0, size=1_000_000)
    home = open_home(tmp_path / "home")
    enqueue(home, [spec], {})
    limited = subprocess.run(
        [sys.executable, "-m", "datadream", "worker", "--home", str(home.path), spec.id],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert limited.returncode == EXIT_STORAGE
    assert json.loads((home.job(spec.id) / "error.json").read_text())["kind"] == "storage"
    assert not home.has("rehearsal", spec.id)
    assert not list(home.staging("rehearsal", spec.id).glob("filling"))
    assert strace.worker(home, spec.id) == 0
    assert home.has("rehearsal", spec.id)
