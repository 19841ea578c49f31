"""`kill -9` of worker, runner, or both, at random moments: nothing lost, nothing doubled, the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datadream import durable
from datadream.canonical import sha256_file
from datadream.data.shots import ShotSet
from datadream.home import identity, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.sets import add_set
from datadream.home.spec import JobSpec
from datadream.jobs import spawn
from datadream.models.presets import Backbone
from datadream.plans.enqueue import enqueue
from datadream.plans.grid import plan, titles_of
from datadream.recipes.recipe import load_recipe
from tests.conftest import contents
from tests.faults.scale import record, scale
from tests.runners import kill_all, processes_of, rehearsals, runner_of, wait_for_end

PATIENCE = 1000  # tries in a row that may come to nothing: a kill can hit before the first step many times


def run_undisturbed(home: Home, specs: list[JobSpec]) -> None:
    enqueue(home, specs, {})
    spawn.ensure_runner(home)
    wait_for_end(home, 300)


def kill_at_random(home: Home, kills: int, seed: int, pause: Callable[[random.Random], float]) -> dict[str, int]:
    """Kill until `kills` processes are dead or all jobs are over; a runner that is gone is started again."""
    dice = random.Random(seed)
    counts = {"worker": 0, "runner": 0}
    while sum(counts.values()) < kills and list(home.queue.iterdir()):
        spawn.ensure_runner(home)
        time.sleep(pause(dice))
        what = dice.choice(["worker", "worker", "runner", "both"])
        victims = [("worker", who) for who in processes_of(home)] if what != "runner" else []
        runner = runner_of(home) if what != "worker" else None
        if runner:
            victims.append(("runner", runner))
        for name, who in victims:
            if identity.is_alive(who):
                os.kill(who.pid, signal.SIGKILL)
                counts[name] += 1
    return counts


def check_events(home: Home, job_id: str) -> int:
    """Every event once, in order; every step's metric once. Returns how many lines were torn."""
    records, bad = durable.read_jsonl(home.job(job_id) / "events.jsonl")
    assert [event["seq"] for event in records] == list(range(1, len(records) + 1))
    steps = [event["step"] for event in records if event["kind"] == "metric"]
    assert steps == sorted(set(steps))
    assert sum(event["kind"] == "done" for event in records) == 1
    assert records[-1]["kind"] == "done"
    assert all(event["seconds"] >= 0 for event in records)
    return bad


def check_nothing_left(home: Home) -> None:
    began = time.monotonic()
    while processes_of(home) and time.monotonic() - began < 30:
        time.sleep(0.1)
    assert not processes_of(home)
    assert not list(home.path.glob("artifacts/*/.staging-*"))
    assert not list(home.path.glob("jobs/*/checkpoint"))


def test_random_kills_over_a_stage_without_torch(tmp_path: Path) -> None:
    kills, seed = scale(25, 1000), scale(7, 20241124)
    jobs, steps = scale((4, 60), (40, 250))
    specs = rehearsals(jobs, steps=steps, step_seconds=0.01, size=10_000)
    whole, cut = open_home(tmp_path / "whole"), open_home(tmp_path / "cut")
    quick = rehearsals(jobs, steps=steps, step_seconds=0.0, size=10_000)
    run_undisturbed(whole, quick)
    write_settings(cut, QueueSettings(slots=("cpu:0", "cpu:1"), retry_seconds=0.0))
    enqueue(cut, specs, {}, max_attempts=PATIENCE)
    counts = kill_at_random(cut, kills, seed, lambda dice: dice.uniform(0.0, 0.5))
    wait_for_end(cut, 600)
    torn = 0
    for before, spec in zip(quick, specs, strict=True):
        assert state.derive(cut, spec.id).state == "done"
        names = ("count.json", "filling")
        left = [sha256_file(whole.artifact("rehearsal", before.id) / name) for name in names]
        right = [sha256_file(cut.artifact("rehearsal", spec.id) / name) for name in names]
        assert left == right
        torn += check_events(cut, spec.id)
        metrics = [e for e in durable.read_jsonl(cut.job(spec.id) / "events.jsonl")[0] if e["kind"] == "metric"]
        assert [event["step"] for event in metrics] == list(range(1, steps + 1))
    check_nothing_left(cut)
    record(
        "random-kills-toy",
        kills=sum(counts.values()), **counts, jobs=jobs, steps=steps, seed=seed, torn_lines=torn,
        outcome="every job done, every event once, artifacts byte-identical",
    )  # fmt: skip
    assert sum(counts.values()) >= kills


def test_random_kills_over_adapt_generate_classify(tmp_path: Path, mini: Backbone, two_shots: ShotSet) -> None:
    """The real stages on the mini models."""
    kills, seed = scale(3, 100), 11
    size = scale(1, 4)
    options = [
        "adapt.batch_size=4", "adapt.warmup_steps=2", "classify.batch_size=16", "generate.batch_size=2",
        f"adapt.steps={30 * size}", f"generate.images_per_class={6 * size}", "generate.num_inference_steps=4",
        f"classify.steps={40 * size}",
    ]  # fmt: skip
    recipe = load_recipe("datadream-dset", mini, options)
    homes = []
    for name in ("whole", "cut"):
        home = open_home(tmp_path / name)
        runs = [plan(recipe, add_set(home, two_shots, "s"), mini, "real+synth")]
        specs = [spec for run in runs for spec in run.jobs.values()]
        enqueue(home, specs, titles_of(runs), max_attempts=PATIENCE)
        homes.append((home, specs))
    (whole, specs), (cut, _) = homes
    spawn.ensure_runner(whole)
    wait_for_end(whole, 600)
    write_settings(cut, QueueSettings(retry_seconds=0.0))
    done = {"worker": 0, "runner": 0}
    for round_ in range(kills):
        if not list(cut.queue.iterdir()):
            for spec in specs:  # all done before the last kill: make them anew, from nothing
                durable.remove_dir(cut.artifact(spec.kind, spec.id))
            enqueue(cut, specs, {}, max_attempts=PATIENCE)
        found = kill_at_random(cut, 1, seed + round_, lambda dice: dice.uniform(1.0, 9.0))
        done = {name: done[name] + found[name] for name in done}
        if sum(done.values()) >= kills:
            break
    wait_for_end(cut, 600)
    assert contents(whole.path) == contents(cut.path)
    assert len(contents(cut.path)) == 4
    check_nothing_left(cut)
    record("random-kills-real", kills=sum(done.values()), **done, seed=seed, outcome="artifacts byte-identical")
    assert sum(done.values()) >= min(kills, 2)


@pytest.fixture(autouse=True)
def _no_process_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test started in its homes ends with it."""
    yield
    for path in tmp_path.iterdir():
        if (path / "runner").is_dir():
            kill_all(Home(path))


def test_figures_are_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADREAM_FIGURES", str(tmp_path / "figures.jsonl"))
    record("x", count=2, outcome="ä")
    assert json.loads((tmp_path / "figures.jsonl").read_text()) == {"name": "x", "count": 2, "outcome": "ä"}
