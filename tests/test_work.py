"""What a queue of many costs: counted, not timed. `python -m benchmarks.queue` times it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadream import durable
from datadream.home import control, queue, state
from datadream.home.artifacts import publish
from datadream.home.causes import CLEAR
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.spec import JobSpec
from datadream.home.state import Status
from datadream.jobs import follow, leader, policy, staff
from datadream.jobs import runner as module
from datadream.jobs.board import Board, Seen
from datadream.jobs.runner import Runner
from datadream.plans import enqueue
from datadream.stages.table import ROLES
from store import index, queries, rows, writes
from tests.runners import kill_all, rehearsals, until

FEW, MANY = 20, 200


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(durable.os, "fsync", lambda fd: None)
    home = open_home(tmp_path / "home")
    yield home
    kill_all(home)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a job was derived, a time of change was asked for, a file was opened, a row was made."""
    found: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counting(*arguments: Any, **more: Any) -> Any:
            found[name] += 1
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, counting)

    for owner, name in (
        *((state, "look"), (state, "write_history"), (durable, "changed_at"), (durable, "open_regular")),
        *((rows, "job_rows"), (writes, "put_job")),
    ):
        count(owner, name)
    return found


class Clock:
    """Time that goes on by ticks alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        for user in (module, staff, policy):
            monkeypatch.setattr(user.time, "monotonic", lambda: self.now)


def settled(home: Home, monkeypatch: pytest.MonkeyPatch) -> tuple[Runner, Clock]:
    """A runner that has read its queue and has nobody to give a job to. Its clock is ours; it keeps no registry."""
    monkeypatch.setattr(module.Registrar, "follow", lambda *_: None)
    monkeypatch.setattr(module.Staff, "free", lambda *_: iter(()))
    leadership = leader.take(home)
    assert leadership is not None
    runner = Runner(home, leadership)
    until(lambda: ticked(runner) and not runner._board.behind)
    clock = Clock(monkeypatch)
    clock.now += 10
    for _ in range(30):
        clock.now += module.TICK_SECONDS
        runner.tick()
    until(lambda: ticked(runner) and not runner._board.behind)
    return runner, clock


def ticked(runner: Runner) -> bool:
    runner.tick()
    return True


def chain(home: Home, number: int) -> tuple[JobSpec, JobSpec]:
    """A job, and one that waits for what it makes."""
    (first,) = rehearsals(1, number)
    return first, JobSpec(stage="rehearse", settings=first.settings, inputs={"adapter": first.id}, seed=-number - 1)


def test_a_tick_at_rest_costs_the_same_beside_many_jobs(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {}
    for count in (FEW, MANY):
        enqueue.enqueue(home, rehearsals(count, 1000 * count), {})
        with monkeypatch.context() as patched:
            runner, clock = settled(home, patched)
            counted.clear()
            for _ in range(50):
                clock.now += module.TICK_SECONDS
                assert runner.tick()
            costs[count] = dict(counted)
            runner.close()
    assert costs[MANY]["look"] <= 50 * module.TICK_SECONDS / module.SWEEP_SECONDS + 1
    for name in ("look", "changed_at", "open_regular"):
        assert costs[MANY][name] <= 1.1 * costs[FEW][name] + 20, (name, costs)
    assert "write_history" not in costs[MANY]


@pytest.mark.parametrize("what", ["ends", "is cancelled", "is new", "is paused by hand"])
def test_one_change_among_many_is_found_and_costs_one_look(
    what: str, home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueue.enqueue(home, rehearsals(MANY), {})
    runner, clock = settled(home, monkeypatch)
    monkeypatch.setattr(runner._board, "sweep", lambda count: None)
    job = jobs[MANY // 2]
    if what == "ends":
        assert state.claim(home, job, 1, {"slot": "", "launcher": "local", "worker": {}})
        finish(home, job)
        runner._board.mark(job)  # as the worker's word does
    elif what == "is cancelled":
        control.cancel(home, job)
    elif what == "is new":
        (job,) = enqueue.enqueue(home, rehearsals(1, 5000), {})
    else:  # by an editor: nothing but the folder's time tells
        durable.write_json(home.job(job) / "control.json", {"paused": True})
        durable.touch_dir(home.queue)
    counted.clear()
    clock.now += module.TICK_SECONDS
    runner.tick()
    assert counted["look"] <= 3
    expected = {"ends": "done", "is cancelled": "cancelled", "is new": "queued", "is paused by hand": "queued"}[what]
    assert state.last_change(home.job(job))["state"] == expected
    assert (home.queue / job).exists() == (expected == "queued")
    runner.close()


def finish(home: Home, job: str) -> None:
    """What a worker leaves at the end."""
    spec = state.read_spec(home, job)
    staged = durable.make_dir(home.staging(spec.kind, spec.id))
    durable.write_json(staged / "count.json", {})
    publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {"job": job})
    durable.write_json(home.job(job) / "result.json", {"artifact": spec.id})


def test_a_change_that_no_time_shows_is_found_by_the_sweep(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = enqueue.enqueue(home, rehearsals(FEW), {})
    runner, clock = settled(home, monkeypatch)
    folder = home.job(jobs[3])
    times = folder.stat()
    durable.write_json(folder / "control.json", {"cancel": True})
    durable.os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    for _ in range(2 * FEW):
        clock.now += module.TICK_SECONDS
        runner.tick()
    assert not (home.queue / jobs[3]).exists()
    runner.close()


def test_who_waits_for_a_job_is_looked_at_when_it_is_over_and_nobody_else(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [chain(home, number) for number in range(MANY // 4)]
    enqueue.enqueue(home, list(itertools.chain(*pairs)), {})
    monkeypatch.setitem(ROLES, "adapter", "rehearsal")
    runner, clock = settled(home, monkeypatch)
    monkeypatch.setattr(runner._board, "sweep", lambda count: None)
    first, second = (spec.id for spec in pairs[7])
    assert state.derive(home, second).reason == f"waiting for adapter {first[:8]}"
    control.cancel(home, first)
    counted.clear()
    clock.now += module.TICK_SECONDS
    runner.tick()
    assert state.last_change(home.job(second))["reason"] == f"adapter {first[:8]} was cancelled"
    assert counted["look"] <= 8
    control.retry(home, first)
    finish(home, first)
    for _ in range(3):
        clock.now += module.TICK_SECONDS
        runner.tick()
    assert runner._board.ready >= 1
    found = runner._board.get(second)
    assert found is not None
    assert (found.status.state, found.status.reason) == ("queued", "")
    runner.close()


def test_a_queue_that_is_paused_writes_nothing_into_its_jobs(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueue.enqueue(home, rehearsals(FEW), {})
    runner, clock = settled(home, monkeypatch)
    counted.clear()
    queue.change(home, paused=True)
    for _ in range(5):
        clock.now += module.TICK_SECONDS
        runner.tick()
    assert counted["write_history"] == 0
    assert {state.derive(home, job).reason for job in jobs} == {"the queue is paused"}
    runner.close()


# Who goes next


def status(number: int, **more: Any) -> Status:
    values = {"stage": "rehearse", "kind": "rehearsal", "state": "queued", "reason": "", **more}
    return Status(id=f"{number:016x}", order=number, **values)


def plain_choice(known: dict[str, Status], served: dict[str, int]) -> str:
    """The rule as one sentence says it."""
    running = Counter(job.experiment for job in known.values() if job.state == "running")
    ready = [job for job in known.values() if job.state == "queued"]
    rank = lambda job: (-job.priority, running[job.experiment], served.get(job.experiment, 0), job.order)  # noqa: E731
    return min(ready, key=rank).id


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_next_is_the_one_that_a_look_at_all_would_choose(data: st.DataObject) -> None:
    board, known, served, turn = Board(), dict[str, Status](), dict[str, int](), 0
    for step in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["new", "new", "start", "end", "priority", "drop"]))
        ready = [job for job in known.values() if job.state == "queued"]
        running = [job for job in known.values() if job.state == "running"]
        if action == "new":
            job = status(step, priority=data.draw(st.integers(0, 2)), experiment=data.draw(st.sampled_from("abc")))
        elif action == "start" and ready:
            chosen = board.next()
            assert chosen == plain_choice(known, served)
            turn += 1
            board.serve(known[chosen].experiment)
            served[known[chosen].experiment] = turn
            job = replaced(known[chosen], state="running")
        elif action == "end" and running:
            job = replaced(data.draw(st.sampled_from(running)), state="done")
        elif action == "priority" and ready:
            job = replaced(data.draw(st.sampled_from(ready)), priority=data.draw(st.integers(0, 3)))
        elif action == "drop" and ready:
            job = data.draw(st.sampled_from(ready))
            del known[job.id]
            board.drop(job.id)
            continue
        else:
            continue
        known[job.id] = job
        board.put(Seen(job, 0), job.state == "queued")
    ready = [job for job in known.values() if job.state == "queued"]
    assert board.ready == len(ready)
    assert board.next() == (plain_choice(known, served) if ready else None)
    assert board.live == {job.id for job in known.values() if job.state == "running"}


def replaced(job: Status, **more: Any) -> Status:
    from dataclasses import replace

    return replace(job, **more)


# The index and those who follow


def test_a_list_reads_again_only_what_has_changed(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "RACY_NS", 0)
    jobs = enqueue.enqueue(home, rehearsals(MANY), {})
    registry = index.open_registry(home)
    counted.clear()
    assert index.sync(home, registry) == 0
    assert counted["job_rows"] == counted["look"] == 0
    control.cancel(home, jobs[5])
    index.sync(home, registry)
    assert counted["job_rows"] == 1
    write_settings(home, QueueSettings(paused=True))
    index.sync(home, registry)
    assert counted["job_rows"] == 1
    found = {row["id"]: row["reason"] for row in queries.page(registry, "job", limit=MANY)}
    assert set(found.values()) == {"cancel requested", "the queue is paused"}
    write_settings(home, QueueSettings())
    index.sync(home, registry)
    assert {row["reason"] for row in queries.page(registry, "job", limit=MANY)} == {"cancel requested", ""}
    registry.close()


def test_what_a_job_makes_reaches_its_row_and_those_who_wait_for_it(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the folder of artifacts tells: no runner is about."""
    monkeypatch.setattr(durable, "RACY_NS", 0)
    monkeypatch.setitem(ROLES, "adapter", "rehearsal")
    first, second = chain(home, 1)
    enqueue.enqueue(home, [first, second, *rehearsals(FEW, 100)], {})
    registry = index.open_registry(home)

    def states() -> tuple[str, str]:
        found = {row["id"]: row["state"] for row in queries.page(registry, "job", limit=MANY)}
        return found[first.id], found[second.id]

    assert states() == ("queued", "blocked")
    finish(home, first.id)
    counted.clear()
    index.sync(home, registry)
    assert counted["job_rows"] == 2
    assert states()[1] == "queued"
    durable.remove_dir(home.artifact("rehearsal", first.id))
    index.sync(home, registry)
    assert states()[1] == "blocked"
    registry.close()


def test_the_runners_hand_in_the_registry_reads_what_it_is_told_of(home: Home, counted: Counter[str]) -> None:
    jobs = enqueue.enqueue(home, rehearsals(MANY), {})
    registry = index.open_registry(home)
    finish(home, jobs[0])
    durable.remove_file(home.queue / jobs[0])
    counted.clear()
    index.follow(home, registry, [jobs[0]], CLEAR)
    assert counted["job_rows"] == 1
    assert queries.rows_of(registry, "job", [jobs[0]])[0]["state"] == "done"
    with registry.reading() as session:
        assert writes.sql(session, "SELECT count(*) FROM artifact WHERE id = ?", jobs[0]).scalar() == 1
    registry.close()


def test_following_many_opens_only_files_that_have_grown(
    home: Home, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(home, QueueSettings(paused=True))
    jobs = enqueue.enqueue(home, rehearsals(FEW), {})
    told: list[tuple[str, str]] = []
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            counted.clear()
            state.write_history(home, jobs[4], "queued", "because", 0)
        if looks == 6:
            assert counted["open_regular"] <= 4
            control.cancel(home, jobs[4])
            for job in jobs:
                control.cancel(home, job)
                durable.remove_file(home.queue / job)

    monkeypatch.setattr(follow, "Watch", lambda home: None)
    monkeypatch.setattr(follow.time, "sleep", sleep)
    found = follow.follow(home, jobs, lambda spec, event: told.append((spec.id, event["reason"])))
    assert {status.state for status in found} == {"cancelled"}
    assert told == [(jobs[4], "because")]
