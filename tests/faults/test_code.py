"""The code changes under a running worker and a running runner: no job is made by a mixture, and its record says which."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.home import provenance, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import leader, runner, spawn, worker
from datadream.plans.enqueue import enqueue
from tests.faults.scale import SOAK, record
from tests.runners import kill_all, reasons, rehearsals, runner_of, steps_done, until, workers_used

ROOT = Path(__file__).parents[2]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the program, to be changed at will."""
    for room in ("datadream", "store"):
        shutil.copytree(ROOT / room, tmp_path / "code" / room, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return tmp_path / "code"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(slots=("cpu:0",)))
    yield home
    kill_all(home)


def source_of(home: Home, job: str) -> str:
    return str((state.read_dict(home.job(job) / "environment.json") or {})["code"]["source"])


def test_a_worker_whose_code_changed_leaves_the_next_job_to_a_fresh_one(code: Path, queue: Home) -> None:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    words = (
        "rehearse",
        "--jobs",
        "3",
        "--steps",
        "40",
        "--step-seconds",
        "0.05",
        "--max-attempts",
        "1",
        "--detach",
        "--json",
    )
    command = [sys.executable, "-P", "-m", "datadream", *words, "--home", str(queue.path)]
    started = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert started.returncode == 0, started.stderr
    first, second, third = json.loads(started.stdout)["jobs"]
    until(lambda: steps_done(queue, first) > 2)
    path = code / "datadream" / "stages" / "rehearse.py"
    path.write_text(path.read_text() + "\n# another version\n")
    until(lambda: state.derive(queue, third).state == "done", 300)
    assert [state.derive(queue, job).state for job in (first, second, third)] == ["done"] * 3
    before, after = source_of(queue, first), source_of(queue, second)
    assert before != after == source_of(queue, third)
    assert len(workers_used(queue, first)) == 1
    old, new = workers_used(queue, second)
    assert old == workers_used(queue, first)[0] != new
    assert any(worker.CODE_CHANGED in reason for _, reason in reasons(queue, second))
    assert worker.CODE_CHANGED in (queue.job(second) / "log.txt").read_text()
    assert "made with version" in (queue.job(second) / "log.txt").read_text()  # asked for with other code
    manifest = json.loads((queue.artifact("rehearsal", second) / "manifest.json").read_text())
    assert manifest["origin"]["code"]["source"] == after
    record("code-changed", jobs=3, outcome="the running job ended with its own code, the next had a fresh worker")


@pytest.mark.skipif(not SOAK, reason="takes as long as a runner looks for other code")
def test_a_runner_whose_code_changed_is_followed_by_another(code: Path, queue: Home) -> None:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    words = ("rehearse", "--jobs", "2", "--steps", "400", "--step-seconds", "0.1", "--detach", "--json")
    command = [sys.executable, "-P", "-m", "datadream", *words, "--home", str(queue.path)]
    started = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    jobs = json.loads(started.stdout)["jobs"]
    until(lambda: steps_done(queue, jobs[0]) > 2)
    before = runner_of(queue)
    (code / "datadream" / "jobs" / "new.py").write_text("")
    until(lambda: runner_of(queue) not in (None, before))
    until(lambda: all(state.derive(queue, job).state == "done" for job in jobs), 300)
    assert len(workers_used(queue, jobs[0])) == 1
    record("code-changed-under-a-runner", outcome="another runner took over, the running job was not disturbed")


def test_an_outdated_runner_leaves_and_starts_another(queue: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Home] = []
    monkeypatch.setattr(runner, "CODE_SECONDS", 0.0)
    monkeypatch.setattr(spawn, "ensure_runner", started.append)
    monkeypatch.setattr(provenance.Code, "changed", lambda self: True)
    write_settings(queue, QueueSettings(paused=True))
    enqueue(queue, rehearsals(1), {})
    monkeypatch.setattr(provenance.Code, "settled", lambda self: len(looks) > 2 or looks.append(1))
    looks: list[int] = []
    assert runner.run(queue, idle_seconds=60)
    assert started == [queue]
    assert len(looks) == 3  # not while the files were still changing
    assert not leader.is_led(queue)


def test_what_counts_as_other_code(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", code)
    provenance.describe_code.cache_clear()
    found = provenance.Code()
    assert not found.changed()
    path = code / "datadream" / "recipes" / "real-only.toml"
    path.touch()
    (code / "datadream" / "notes.txt").write_text("x")
    assert not found.changed()
    path.write_text(path.read_text() + "\n")
    assert found.changed()
    assert not found.settled()
    found = provenance.Code.__new__(provenance.Code)
    provenance.describe_code.cache_clear()
    found.__init__()  # type: ignore[misc]
    assert not found.changed()
    (code / "store" / "queries.py").unlink()
    assert found.changed()
    monkeypatch.setattr(provenance, "_packages", lambda: {"torch": "9"})
    assert found.changed()
    monkeypatch.undo()
    provenance.describe_code.cache_clear()


def test_a_stage_imports_nothing_of_ours_once_it_runs(queue: Home) -> None:
    """Or a later version of it might come into an earlier one."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom datadream.home import lease, provenance\nfrom datadream.jobs import worker\n"
        "from datadream.home.layout import Home\nseen = []\nfunction_of = worker.function_of\n"
        "def watched(stage):\n"
        "    function = function_of(stage)\n"
        "    def run(task):\n"
        "        before = {name for name in sys.modules if name.startswith('datadream')}\n"
        "        result = function(task)\n"
        "        seen.append({name for name in sys.modules if name.startswith('datadream')} - before)\n"
        "        return result\n"
        "    return run\n"
        "worker.function_of = watched\n"
        "for job in sys.argv[2:]:\n"
        "    with lease.lease(Home(Path(sys.argv[1])).job(job) / 'lease', print) as held:\n"
        "        worker._run(Home(Path(sys.argv[1])), job, 1, held, provenance.Code())\n"
        "assert seen == [set()] * len(sys.argv[2:]), seen\n"
    )
    from datadream.plans import ask
    from datadream.plans import request as requests
    from tests.conftest import TINY

    overrides = tuple(f"{key}={value}" for key, value in TINY.items())
    asked = requests.Request(("datadream-dset",), source="digits", shots=(2,), data=("synth",), overrides=overrides)
    jobs = [*ask.submit(queue, asked), *enqueue(queue, rehearsals(1, steps=1), {})]
    result = subprocess.run(
        [sys.executable, "-c", script, str(queue.path), *jobs], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
