"""Many runners at once, and one that was stopped and comes back: one start a job."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import identity, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import leader, spawn
from datadream.jobs.runner import Runner, run
from datadream.plans.enqueue import enqueue
from tests.faults.scale import record, scale
from tests.runners import kill_all, rehearsals, runner_of, steps_done, until

RUNNERS = 10


def _race(folder: Path, rounds: int, barrier: Barrier) -> None:
    for number in range(rounds):
        home = Home(folder / str(number))
        barrier.wait(300)
        run(home, idle_seconds=0.05, patience=5.0)
        barrier.wait(300)


def check_started_once(home: Home) -> int:
    starts = 0
    for folder in (home.path / "jobs").iterdir():
        assert state.derive(home, folder.name).state == "done"
        assert state.attempts(folder) == 1
        events = durable.read_jsonl(folder / "events.jsonl")[0]
        assert [event["kind"] for event in events].count("started") == 1
        starts += 1
    return starts


def test_ten_runners_started_at_once_start_every_job_once(tmp_path: Path) -> None:
    rounds, jobs = scale(4, 200), 2
    for number in range(rounds):
        home = open_home(tmp_path / str(number))
        enqueue(home, rehearsals(jobs, steps=1, step_seconds=0.0), {})
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RUNNERS)
    runners = [context.Process(target=_race, args=(tmp_path, rounds, barrier)) for _ in range(RUNNERS)]
    for process in runners:
        process.start()
    for process in runners:
        process.join(scale(120, 1500))
    assert [process.exitcode for process in runners] == [0] * RUNNERS
    starts = sum(check_started_once(Home(tmp_path / str(number))) for number in range(rounds))
    assert starts == rounds * jobs
    record("ten-runners", rounds=rounds, runners=RUNNERS, jobs=starts, outcome="one start a job")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(slots=("cpu:0", "cpu:1"), retry_seconds=0.0))
    yield home
    kill_all(home)


def test_a_runner_that_was_stopped_is_replaced_and_leaves_when_it_comes_back(queue: Home) -> None:
    patience, asleep = scale(1.0, leader.TAKEOVER_SECONDS), scale(3.0, 60.0)
    long, *others = enqueue(queue, rehearsals(6, steps=scale(200, 2000)), {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, long) > 5)
    old = runner_of(queue)
    assert old is not None
    os.kill(old.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    new = leader.take(queue, patience)
    assert new is not None
    runner = Runner(queue, new, idle_seconds=1.0)
    while time.monotonic() - stopped < asleep:
        assert runner.tick()
        runner.wait()
    os.kill(old.pid, signal.SIGCONT)
    with contextlib.suppress(ChildProcessError):
        threading.Thread(target=os.waitpid, args=(old.pid, 0), daemon=True).start()
    until(lambda: not identity.is_alive(old))
    while runner.tick():
        runner.wait()
    runner.close()
    assert check_started_once(queue) == len(others) + 1
    assert "another runner has taken over" in (queue.runner / "runner.log").read_text()
    record("stopped-runner", seconds=asleep, jobs=len(others) + 1, outcome="fenced out, one start a job")


def test_one_that_beats_is_never_replaced(queue: Home) -> None:
    enqueue(queue, rehearsals(1, steps=400), {})
    spawn.ensure_runner(queue)
    until(lambda: leader.is_led(queue))
    assert leader.take(queue, 60.0) is None
