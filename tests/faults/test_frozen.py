"""Whoever stands still with a lock holds up no job but its own, and is named to those who wait."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datadream import durable, locks
from datadream.errors import UserError
from datadream.home import control, labels, queue, state
from datadream.home.identity import myself
from datadream.home.layout import Home, open_home
from datadream.home.lease import lease
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import leader
from datadream.jobs.clusters import remote
from datadream.jobs.runner import Runner
from datadream.plans import enqueue
from store import index, queries
from tests.conftest import run_cli
from tests.faults.scale import record
from tests.frozen import frozen
from tests.runners import kill_all, reasons, rehearsals, until

SETTINGS = QueueSettings(retry_seconds=0.0, slots=("cpu:0", "cpu:1"))
LOCKS = {
    "registry lock": "flock:{home}/registry.lock",
    "registry, writing": "writes:{home}/registry.db",
    "registry, reading": "reads:{home}/registry.db",
    "rebuild": "flock:{home}/.registry.rebuild-lock",
    "labels": "lockf:{home}/labels/.lease",
    "marks": "lockf:{home}/marks/.lease",
    "sets": "lockf:{home}/artifacts/set/.lease",
    "experiments": "lockf:{home}/experiments/.lease",
    "settings": "lockf:{home}/.queue.lease",
    "slot": "flock:{home}/slots/cpu-1",
    "control": "lockf:{home}/jobs/{held}/control.lock",
    "job": "lockf:{home}/jobs/{odd}/lease",
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, SETTINGS)
    index.open_registry(home).close()
    yield home
    kill_all(home)


def abandoned(home: Home, seed: int) -> str:
    """A job whose worker fell to a reboot, and which is to be held: for that the runner needs its control lock."""
    (job,) = enqueue.enqueue(home, rehearsals(1, seed, steps=1), {})
    worker = {**myself().to_json(), "boot": "another"}
    assert state.claim(home, job, 1, {"worker": worker, "slot": "cpu:0", "launcher": "local"})
    durable.write_text(home.job(job) / "events.jsonl", '{"kind":"started","seq":1,"at":"2020-01-01T00:00:00+00:00"}\n')
    return job


def lead(home: Home) -> Runner:
    leadership = leader.take(home)
    assert leadership is not None
    return Runner(home, leadership, idle_seconds=0.5)


def ticked(runner: Runner) -> bool:
    runner.tick()
    return True


def run_until_done(home: Home, *jobs: str) -> Runner:
    runner = lead(home)
    run_on(runner, home, *jobs)
    return runner


def run_on(runner: Runner, home: Home, *jobs: str) -> None:
    end = time.monotonic() + 120
    while any((home.queue / job).exists() for job in jobs):
        assert runner.tick()
        assert time.monotonic() < end
        runner.wait()


def test_all_locks_of_a_home_are_held_by_one_that_is_stopped_and_jobs_go_on(home: Home) -> None:
    held, odd = abandoned(home, 1), enqueue.enqueue(home, rehearsals(1, 2), {})[0]
    good = enqueue.enqueue(home, rehearsals(3, 10, steps=1), {})
    os.mkfifo(home.job(odd) / "history.jsonl")
    asked = [text.format(home=home.path, held=held, odd=odd) for name, text in LOCKS.items() if "reading" not in name]
    with frozen(*asked) as process, frozen(LOCKS["registry, reading"].format(home=home.path)):
        runner = run_until_done(home, *good)
        assert {state.derive(home, job).state for job in good} == {"done"}
        assert (state.derive(home, held).state, reasons(home, held)) == ("lost", [])
        listed = run_cli("job", "ls", "--json", home=home.path)
        assert (listed.returncode, "Error" in listed.stderr) == (0, False), listed.stderr
        assert f"pid {process.pid}" in listed.stderr
        assert f"`kill -CONT {process.pid}` resumes it" in listed.stderr
    until(lambda: ticked(runner) and state.derive(home, held).paused)
    assert [name for name, _ in reasons(home, held)] == ["lost", "queued"]
    (home.job(odd) / "history.jsonl").unlink()
    control.resume(home, held)
    run_on(runner, home, held, odd)
    runner.close()
    registry = index.open_registry(home)
    states = {row["id"]: row["state"] for row in queries.page(registry, "job")}
    assert {states[job] for job in good} == {"done"}
    assert registry.problems() == []
    registry.close()
    record("locks-held-by-a-stopped-process", locks=len(LOCKS), jobs=len(good), outcome="jobs done, holder named")


@pytest.mark.parametrize("kind", ["registry lock", "registry, writing"])
def test_a_list_shows_the_last_index_and_names_who_keeps_it_from_a_new_one(kind: str, home: Home) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    index.open_registry(home).close()
    (later,) = enqueue.enqueue(home, rehearsals(1, 5), {})
    with frozen(LOCKS[kind].format(home=home.path)) as process:
        told: list[str] = []
        registry = index.open_registry(home, notices=told.append, patience=0.2)
        assert {row["id"] for row in queries.page(registry, "job")} == {job}
        registry.close()
    assert [f"pid {process.pid} on" in text and "is stopped" in text for text in told] == [True]
    assert "the view may be out of date" in told[0]
    registry = index.open_registry(home)
    assert {row["id"] for row in queries.page(registry, "job")} == {job, later}
    registry.close()


@pytest.mark.parametrize("there", [True, False])
def test_where_no_index_can_be_read_the_folders_are(there: bool, home: Home, tmp_path: Path) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    if not there:
        for path in home.path.glob("registry.db*"):
            path.unlink()
    with frozen(f"owns:{home.registry}" if there else f"flock:{home.registry_lock}", stops=False) as process:
        told: list[str] = []
        registry = index.open_registry(home, notices=told.append, patience=0.2)
        assert [row["id"] for row in queries.page(registry, "job")] == [job]
        assert registry.path.parent != home.path
        registry.close()
        assert not registry.path.parent.exists()
        assert f"pid {process.pid} on" in told[-1]
        assert "reading the folders instead" in told[-1]
        assert home.registry.exists() == there


def test_what_sqlite_refuses_is_a_sentence(home: Home) -> None:
    registry = index.Registry.open(home.registry, home.registry_lock, patience=0.1)
    with closing(sqlite3.connect(home.registry, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(locks.LockHeld, match=rf"the registry is locked: .*\(pid {os.getpid()} on .* holds it"):
            labelled(registry)
    registry.close()
    with closing(sqlite3.connect(home.registry)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with home.registry.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))
    with pytest.raises(UserError, match=r"the registry is damaged .*rebuild it with `datadream registry rebuild`"):
        queries.page(index.Registry(home.registry, home.registry_lock), "job", sort="title")


def labelled(registry: index.Registry) -> None:
    from store import writes
    from store.tables import Tag

    with registry.writing() as session:
        writes.put(session, [Tag(subject="x", label="y")])


def test_who_waits_for_a_lock_hears_who_has_it_and_gives_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    path = home.path / "labels" / ".lease"
    acts = {
        path: lambda: labels.tag(home, job, ["x"]),
        home.job(job) / "control.lock": lambda: control.cancel(home, job),
        home.path / ".queue.lease": lambda: queue.change(home, paused=True),
    }
    with frozen(*(f"lockf:{place}" for place in acts)) as process:
        for place, act in acts.items():
            with pytest.raises(locks.LockHeld) as caught:
                act()
            said = str(caught.value)
            assert f"(pid {process.pid} on " in said
            assert " and is stopped" in said
            assert str(place) in said
            assert said.endswith(f"`kill -CONT {process.pid}` resumes it")
        told: list[str] = []
        with pytest.raises(locks.LockHeld), lease(path, told.append):
            pass
        assert len(told) == 1
        assert f"waiting for {path}: " in told[0]


def test_a_holder_of_our_own_is_named_by_its_command_and_since_when(home: Home, tmp_path: Path) -> None:
    with lease(tmp_path / "lock"):
        found = locks.holder(tmp_path / "lock")
        assert found is not None
        assert (found.pid, found.stopped) == (os.getpid(), False)
        assert found.since[:4].isdecimal()
        assert str(found).startswith("`")
        assert f"(pid {os.getpid()} on " in found.in_words
        assert " holds it since " in found.in_words
        with pytest.raises(locks.LockHeld), lease(tmp_path / "lock", seconds=0):  # another thread of this process
            pass
    durable.write_text(tmp_path / "lock", '{"pid": 1, "start": 0, "host": "elsewhere", "command": "x \\u001b[2J"}')
    found = locks.holder(tmp_path / "lock")
    assert found is not None
    assert str(found) == r"`x \x1b[2J` (pid 1 on elsewhere)"
    for odd in ("", "[]", "{}", '{"pid": "x"}', "[" * 100_000):
        durable.write_text(tmp_path / "lock", odd)
        assert locks.holder(tmp_path / "lock") is None


def test_several_in_turn_are_waited_for_longer_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + 0.5))
    monkeypatch.setattr(locks, "holder", lambda path: locks.Holder(int(clock[0] // 2), "here", "x", str(clock[0] // 2)))
    with pytest.raises(locks.LockHeld):
        locks.wait_for(lambda: False, tmp_path / "x", seconds=5.0, told=locks.silent)
    assert 20.0 <= clock[0] < 26.0
    clock[0] = 0.0
    monkeypatch.setattr(locks, "holder", lambda path: locks.Holder(7, "here", "x", "since"))
    with pytest.raises(locks.LockHeld):
        locks.wait_for(lambda: False, tmp_path / "x", seconds=5.0, told=locks.silent)
    assert 5.0 <= clock[0] < 6.5


def test_a_cluster_that_never_answers_holds_up_no_job_here(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexec sleep 98765\n")
        (tmp_path / "bin" / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(remote, "CLOSE_SECONDS", 0.1)
    far = enqueue.enqueue(home, rehearsals(9, 50), {}, launcher="slurm", priority=5)
    good = enqueue.enqueue(home, rehearsals(2, 10, steps=1), {})
    runner = run_until_done(home, *good)
    until(lambda: ticked(runner) and "slurm has not answered `submit`" in state.derive(home, far[-1]).reason)
    control.cancel(home, far[-1])
    until(lambda: ticked(runner) and not (home.queue / far[-1]).exists())
    runner.close()
    for child in Path("/proc").glob("[0-9]*"):
        if b"sleep\x0098765" in _words(child):
            os.kill(int(child.name), 9)


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_log_that_nobody_reads_holds_nothing_up() -> None:
    from datadream.jobs.runner_log import Log

    kept, (reads, writes) = os.dup(2), os.pipe()
    os.dup2(writes, 2)
    try:
        log = Log()
        for number in range(100):
            log(f"{number} {'x' * 3000}")
    finally:
        os.dup2(kept, 2)
        for fd in (kept, reads, writes):
            os.close(fd)
