"""The registry is deleted again and again while jobs run; at the end it is what the folders say."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import spawn
from datadream.plans.enqueue import enqueue
from store import index, queries
from tests.faults.scale import record, scale
from tests.runners import kill_all, rehearsals, until, wait_for_end
from tests.store.test_index import dump


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(slots=("cpu:0", "cpu:1"), retry_seconds=0.0))
    yield home
    kill_all(home)


def test_deleted_at_random_moments_while_jobs_run(queue: Home) -> None:
    times, seed = scale(6, 50), 21
    dice = random.Random(seed)
    jobs = enqueue(queue, rehearsals(scale(4, 12), steps=scale(80, 400)), {})
    spawn.ensure_runner(queue)
    deleted = 0
    until(queue.registry.exists)
    while deleted < times:
        time.sleep(dice.uniform(0.0, 0.8))
        for path in queue.path.glob("registry.db*"):
            path.unlink(missing_ok=True)
        deleted += 1
        if dice.random() < 0.3:
            registry = index.open_registry(queue)
            assert queries.count(registry, "job") == len(jobs)
            registry.close()
    wait_for_end(queue, 300)
    kill_all(queue)
    registry = index.open_registry(queue)
    assert registry.problems() == []
    registry.close()
    kept = dump(queue)
    for path in queue.path.glob("registry.db*"):
        path.unlink()
    index.rebuild(queue).close()
    made = dump(queue)
    assert kept == made
    assert len(made["metric"]) == scale(80, 400) * len(jobs)
    record("registry-deleted", times=deleted, seed=seed, jobs=len(jobs), outcome="rebuilt row for row")


def test_metrics_of_a_live_job_arrive_soon(queue: Home) -> None:
    """Not a wall-clock promise: while the job still runs, the registry has most of what it told."""
    (job,) = enqueue(queue, rehearsals(1, steps=400), {})
    spawn.ensure_runner(queue)
    registry = index.Registry.open(queue.registry, queue.registry_lock)
    until(lambda: len(queries.metrics(registry, job).get("loss", [])) > 50)
    assert queries.page(registry, "job")[0]["state"] == "running"
    until(lambda: len(queries.metrics(registry, job).get("loss", [])) > 200)
    assert queries.page(registry, "job")[0]["state"] == "running"
    registry.close()
