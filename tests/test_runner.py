"""The runner: who goes first, what happens to those that fail, and what a person can ask of a running queue."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream import durable
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import control, state
from datadream.home.causes import CLEAR
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, read_settings, slots, write_settings
from datadream.home.sets import add_set
from datadream.jobs import leader, policy, spawn
from datadream.models.presets import Backbone
from datadream.plans import enqueue
from datadream.plans.grid import plan, shards_of
from datadream.recipes.recipe import load_recipe
from store import index, queries
from tests.conftest import contents
from tests.runners import (
    kill_all,
    processes_of,
    reasons,
    rehearsals,
    runner_of,
    steps_done,
    until,
    wait_for,
    wait_for_end,
    workers_used,
)

FAST = QueueSettings(retry_seconds=0.0, grace_seconds=2.0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, FAST)
    yield home
    kill_all(home)


def order_of_starts(home: Home, ids: list[str]) -> list[str]:
    return sorted(ids, key=lambda job_id: str(state.read_attempt(home.job(job_id), 1)["at"]))


def test_jobs_that_follow_one_another_share_a_worker(queue: Home) -> None:
    ids = enqueue.enqueue(queue, rehearsals(5, steps=2), {})
    wait_for_end(queue)
    assert len({workers_used(queue, job_id)[0] for job_id in ids}) == 1
    assert order_of_starts(queue, ids) == ids
    assert [reason[0] for reason in reasons(queue, ids[0])] == ["queued", "running", "done"]


def test_urgent_jobs_go_first_and_experiments_take_turns(queue: Home) -> None:
    write_settings(queue, FAST.model_copy(update={"paused": True}))
    many = enqueue.enqueue(queue, rehearsals(3, 0, steps=1), {}, experiment="many")
    few = enqueue.enqueue(queue, rehearsals(2, 10, steps=1), {}, experiment="few")
    urgent = enqueue.enqueue(queue, rehearsals(1, 20, steps=1), {}, priority=5)
    write_settings(queue, FAST)
    wait_for_end(queue)
    order = order_of_starts(queue, [*many, *few, *urgent])
    assert order == [urgent[0], many[0], few[0], many[1], few[1], many[2]]


def test_several_jobs_may_share_a_device(queue: Home) -> None:
    write_settings(queue, FAST.model_copy(update={"slots": ("cpu:0/0", "cpu:0/1")}))
    ids = enqueue.enqueue(queue, rehearsals(2, steps=60), {})
    spawn.ensure_runner(queue)
    until(lambda: all(state.derive(queue, job_id).state == "running" for job_id in ids))
    assert {state.derive(queue, job_id).slot for job_id in ids} == {"cpu:0/0", "cpu:0/1"}
    wait_for_end(queue)


def test_a_paused_queue_starts_nothing_and_says_so(queue: Home) -> None:
    write_settings(queue, FAST.model_copy(update={"paused": True}))
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=1), {})
    spawn.ensure_runner(queue)
    until(lambda: leader.is_led(queue))
    time.sleep(0.6)
    status = state.derive(queue, job)
    assert (status.state, status.reason, status.attempts) == ("queued", "the queue is paused", 0)
    write_settings(queue, FAST)
    wait_for_end(queue)


def test_a_paused_job_stops_at_its_checkpoint_and_goes_on_there(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=150), {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) > 20)
    control.pause(queue, job)
    until(lambda: state.derive(queue, job).state == "queued")
    until(lambda: reasons(queue, job)[-1] == ("queued", "paused"))
    done = steps_done(queue, job)
    time.sleep(0.5)
    assert steps_done(queue, job) == done < 150
    assert (queue.job(job) / "checkpoint").is_dir()
    control.resume(queue, job)
    wait_for_end(queue)
    events = durable.read_jsonl(queue.job(job) / "events.jsonl")[0]
    assert [event["step"] for event in events if event["kind"] == "metric"] == list(range(1, 151))


def test_cancel_keeps_the_checkpoint_and_retry_goes_on_from_it(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=150), {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) > 20)
    control.cancel(queue, job)
    wait_for(queue, job, "cancelled")
    until(lambda: not list(queue.queue.iterdir()))
    assert [name for name, _ in reasons(queue, job)][-2:] == ["cancelling", "cancelled"]
    assert (queue.job(job) / "checkpoint" / "count.json").is_file()
    with pytest.raises(UserError, match="it is cancelled"):
        control.pause(queue, job)
    control.retry(queue, job)
    spawn.ensure_runner(queue)
    wait_for_end(queue)
    assert state.derive(queue, job).attempts == 2
    assert state.derive(queue, job).state == "done"
    with pytest.raises(UserError, match="is done"):
        control.retry(queue, job)


@pytest.mark.parametrize("killed", [False, True])
def test_asking_again_for_a_job_that_is_being_cancelled_lets_it_go_on(killed: bool, queue: Home) -> None:
    """The worker has been told to stop; its end isn't held against the job."""
    write_settings(queue, FAST.model_copy(update={"grace_seconds": 60.0}))
    specs = rehearsals(1, steps=3, step_seconds=2.0)
    (job,) = enqueue.enqueue(queue, specs, {}, max_attempts=1)
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) >= 1)
    control.cancel(queue, job)
    until(lambda: reasons(queue, job)[-1] == ("cancelling", "stop requested"))
    if killed:
        for worker in processes_of(queue):
            os.kill(worker.pid, signal.SIGSTOP)
    assert enqueue.enqueue(queue, specs, {}) == [job]
    assert state.derive(queue, job).state == "running"
    for worker in processes_of(queue) if killed else []:
        os.kill(worker.pid, signal.SIGKILL)
    wait_for_end(queue)
    assert [name for name, _ in reasons(queue, job)][-4:] == ["lost", "queued", "running", "done"]
    assert ("lost", "its worker was asked to stop") in reasons(queue, job)
    assert state.derive(queue, job).attempts == 2


def test_asking_again_for_a_paused_job_lets_it_go_on(queue: Home) -> None:
    specs = rehearsals(1, steps=2)
    (job,) = enqueue.enqueue(queue, specs, {})
    control.pause(queue, job)
    enqueue.enqueue(queue, specs, {})
    assert not state.derive(queue, job).paused
    wait_for_end(queue)
    assert state.derive(queue, job).state == "done"


def test_a_worker_that_heeds_nothing_is_ended_with_its_group_after_the_grace_time(queue: Home) -> None:
    write_settings(queue, FAST.model_copy(update={"grace_seconds": 0.5}))
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=1, step_seconds=600, children=1), {})
    spawn.ensure_runner(queue)
    wait_for(queue, job, "running")
    until(lambda: len(processes_of(queue)) >= 2)
    control.cancel(queue, job)
    assert wait_for(queue, job, "cancelled").attempts == 1
    until(lambda: not processes_of(queue))


def test_bad_input_fails_at_once_and_says_why(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=10, fail_at=3), {})
    wait_for_end(queue)
    status = state.derive(queue, job)
    assert (status.state, status.attempts) == ("failed", 1)
    assert "error at step 3, requested by --fail-at: omit --fail-at" in status.reason
    assert reasons(queue, job)[-1] == ("failed", status.reason)


def test_a_worker_that_leaves_after_a_failure_takes_no_other_job_with_it(home: Home) -> None:
    bad = rehearsals(6, steps=3, step_seconds=0, fail_at=1)
    good = rehearsals(6, first_seed=50, steps=3, step_seconds=0)
    enqueue.enqueue(home, [spec for pair in zip(bad, good, strict=True) for spec in pair], {})
    spawn.ensure_runner(home)
    wait_for_end(home)
    for spec in good:
        assert state.derive(home, spec.id).attempts == 1
        assert [name for name, _ in reasons(home, spec.id) if name == "lost"] == []


def test_a_failed_parent_is_named_in_its_children_and_its_retry_lets_them_go_on(
    queue: Home, mini: Backbone, two_shots: ShotSet
) -> None:
    recipe = load_recipe("datadream-dset", mini, ["adapt.steps=2", "generate.images_per_class=1",
        "generate.num_inference_steps=1", "classify.steps=1", "classify.batch_size=4"])  # fmt: skip
    run = plan(recipe, add_set(queue, two_shots, "s"), mini, "synth")
    adapt, generate, classify = (run.jobs[stage].id for stage in ("adapt", "generate", "classify"))
    file = queue.artifact("set", run.set.id) / "set.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"digits", b"digitz", 1))
    enqueue.enqueue(queue, list(run.jobs.values()), {})
    spawn.ensure_runner(queue)
    until(lambda: state.derive(queue, classify).hopeless)
    assert "is damaged: set.json was changed after" in state.derive(queue, adapt).reason
    assert state.derive(queue, generate).reason == f"adapter {adapt[:8]} failed"
    assert state.derive(queue, classify).reason == f"adapter {adapt[:8]} failed"
    assert state.derive(queue, classify).state == "blocked"
    file.write_bytes(whole)
    control.retry(queue, adapt)
    spawn.ensure_runner(queue)
    wait_for_end(queue)
    assert {state.derive(queue, job_id).state for job_id in (adapt, generate, classify)} == {"done"}


def test_a_job_whose_worker_always_dies_is_given_up(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=1, step_seconds=600), {}, max_attempts=2)
    spawn.ensure_runner(queue)
    for attempt in (1, 2):
        until(lambda attempt=attempt: state.attempts(queue.job(job)) == attempt)  # type: ignore[misc]
        until(lambda: state.derive(queue, job).state == "running" and processes_of(queue))
        for worker in processes_of(queue):
            os.kill(worker.pid, signal.SIGKILL)
    status = wait_for(queue, job, "failed")
    assert "failed after 2 attempts: its worker died without a message" in status.reason
    control.retry(queue, job)
    until(lambda: state.attempts(queue.job(job)) == 3)


def test_a_killed_worker_resumes_and_the_history_tells(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=120), {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) > 10)
    for worker in processes_of(queue):
        os.kill(worker.pid, signal.SIGKILL)
    wait_for_end(queue)
    assert [name for name, _ in reasons(queue, job)] == ["queued", "running", "lost", "queued", "running", "done"]
    assert reasons(queue, job)[3][1] == "restarts from its checkpoint: its worker died without a message"


def test_workers_are_adopted_when_their_runner_dies(queue: Home) -> None:
    first, second = enqueue.enqueue(queue, rehearsals(2, steps=100), {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, first) > 10)
    runner = runner_of(queue)
    assert runner is not None
    os.kill(runner.pid, signal.SIGKILL)
    wait_for_end(queue)
    assert state.derive(queue, first).attempts == state.derive(queue, second).attempts == 1
    assert leader.newest(queue) == 2


def test_a_worker_started_by_hand_is_seen(queue: Home) -> None:
    write_settings(queue, FAST.model_copy(update={"paused": True}))
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=60), {})
    spawn.ensure_runner(queue)
    command = spawn.command("worker", "--home", str(queue.path), str(queue.job(job)))
    worker = subprocess.Popen(command, env=spawn.environment())
    wait_for(queue, job, "running")
    until(lambda: state.attempts(queue.job(job)) == 1)  # it takes the lease first
    assert worker.wait(60) == 0
    until(lambda: not list(queue.queue.iterdir()))
    assert [name for name, _ in reasons(queue, job)][-2:] == ["running", "done"]


def test_a_runner_leaves_when_idle_and_comes_when_asked(queue: Home) -> None:
    enqueue.enqueue(queue, rehearsals(1, steps=1), {})
    runner = subprocess.Popen(
        spawn.command("runner", "--home", str(queue.path), "--idle-seconds", "0.3"), env=spawn.environment()
    )
    assert runner.wait(60) == 0
    assert not list(queue.queue.iterdir())
    assert not leader.is_led(queue)
    until(lambda: not processes_of(queue))
    enqueue.enqueue(queue, rehearsals(1, 5, steps=1), {})
    spawn.ensure_runner(queue)
    until(lambda: not list(queue.queue.iterdir()))


def test_asking_again_is_the_same_job_and_a_failed_one_is_tried_anew(queue: Home) -> None:
    specs = rehearsals(1, steps=5, fail_at=2)
    assert enqueue.enqueue(queue, specs, {}) == enqueue.enqueue(queue, specs, {})
    wait_for_end(queue)
    assert state.derive(queue, specs[0].id).attempts == 1
    enqueue.enqueue(queue, specs, {})
    wait_for_end(queue)
    assert state.derive(queue, specs[0].id).attempts == 2
    done = rehearsals(1, 9, steps=1)
    enqueue.enqueue(queue, done, {})
    wait_for_end(queue)
    assert enqueue.enqueue(queue, done, {}) == []


def lead_until_idle(home: Home) -> None:
    """A runner of its own, that leaves as soon as nothing is left to do."""
    command = spawn.command("runner", "--home", str(home.path), "--idle-seconds", "0.2")
    assert subprocess.run(command, env=spawn.environment(), timeout=60, check=False).returncode == 0


def test_a_submission_that_dies_leaves_no_job_or_one_that_is_seen(queue: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying_after(name: str) -> list[str]:
        real = getattr(durable, name)

        def die(*given: object) -> None:
            real(*given)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(durable, name, die)
            enqueue.enqueue(queue, rehearsals(1, steps=1), {})
        return [path.name for path in (queue.path / "jobs").iterdir() if state.is_id(path.name)]

    assert dying_after("write_json") == []
    lead_until_idle(queue)
    (job,) = dying_after("move")
    lead_until_idle(queue)
    assert state.derive(queue, job).state == "done"


def test_a_retry_that_dies_before_its_job_is_queued_is_made_up_for(
    queue: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path) -> None:
        raise KeyboardInterrupt

    def retry_and_die() -> None:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(durable, "mark", die)
            control.retry(queue, job)
        assert state.derive(queue, job).state == "queued"
        assert not (queue.queue / job).exists()

    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=3, fail_at=2), {})
    lead_until_idle(queue)
    retry_and_die()
    lead_until_idle(queue)
    assert state.derive(queue, job).attempts == 2
    retry_and_die()
    control.retry(queue, job)
    assert (queue.queue / job).exists()
    with pytest.raises(UserError, match="is still queued"):
        control.retry(queue, job)


def test_a_mark_without_a_job_is_taken_off_after_a_while(queue: Home) -> None:
    old, young = durable.make_dir(queue.queue) / ("a" * 16), queue.queue / ("b" * 16)
    for path in (old, young):
        durable.mark(path)
    os.utime(old, (time.time() - 100, time.time() - 100))
    lead_until_idle(queue)
    assert list(queue.queue.iterdir()) == [young]


def test_shards_make_the_very_set_that_one_job_makes(
    queue: Home, tmp_path: Path, mini: Backbone, two_shots: ShotSet
) -> None:
    recipe = load_recipe("name-only", mini, ["generate.images_per_class=5", "generate.batch_size=2",
        "generate.num_inference_steps=2"])  # fmt: skip
    spec = plan(recipe, add_set(queue, two_shots, "s"), mini, "synth").jobs["generate"]
    parts = shards_of(spec, 3)
    ids = enqueue.enqueue(queue, [*parts, spec], {}, shards={spec.id: [part.id for part in parts]})
    assert ids == [*(part.id for part in parts), spec.id]
    assert state.derive(queue, spec.id).reason == f"waiting for shard {sorted(ids[:3])[0][:8]}"
    wait_for_end(queue)
    alone = open_home(tmp_path / "alone")
    enqueue.enqueue(alone, [spec], {})
    wait_for_end(alone)
    key = f"synthetic/{spec.id}"
    assert contents(queue.path)[key] == contents(alone.path)[key]
    kill_all(alone)


def test_a_silent_job_is_told_from_a_slow_one(queue: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=5), {})
    folder = queue.job(job)
    (folder / "events.jsonl").write_text('{"kind":"progress","seq":1,"next":60}\n')
    clock = 1000.0
    monkeypatch.setattr(policy.time, "monotonic", lambda: clock)
    silence, status = policy.Silence(), state.derive(queue, job)
    assert silence.judge(queue, status) == CLEAR
    clock += 85
    assert silence.judge(queue, status) == CLEAR
    clock += 10
    assert "no event within the promised 1 min: it may hang" in silence.judge(queue, status).reason
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind":"progress","seq":2,"next":600}\n')
    assert silence.judge(queue, status) == CLEAR
    clock += 500
    assert silence.judge(queue, status) == CLEAR


def test_slots_are_the_gpus_one_may_see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home) -> None:
    from datadream.home import queue as module

    for i in range(4):
        (tmp_path / "gpus" / f"0000:0{i}:00.0").mkdir(parents=True)
    monkeypatch.setattr(module, "NVIDIA", tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots(read_settings(home)) == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert slots(read_settings(home)) == ("cuda:0", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots(read_settings(home)) == ("cpu:0",)
    assert module.device_of(read_settings(home), "cpu:0") is None  # torch may know of a GPU that is none of NVIDIA's
    write_settings(home, QueueSettings(slots=("cuda:0/0", "cuda:0/1")))
    assert slots(read_settings(home)) == ("cuda:0/0", "cuda:0/1")
    assert module.device_of(read_settings(home), "cuda:0/1") == "cuda:0"
    assert module.device_of(read_settings(home), "cpu:0") == "cpu"


@pytest.mark.parametrize(("times", "seconds"), [(0, 0.0), (1, 2.0), (2, 4.0), (5, 32.0), (50, 60.0)])
def test_waiting_doubles_up_to_a_minute(times: int, seconds: float) -> None:
    assert policy.backoff(QueueSettings(), times) == seconds


def test_the_registry_follows_what_is_asked_while_a_job_runs(queue: Home) -> None:
    """A queue that was paused and goes on, a cancel that was undone: the rows of waiting jobs follow at once."""
    first, second = enqueue.enqueue(queue, [*rehearsals(1, steps=100_000), *rehearsals(1, 1)], {})
    spawn.ensure_runner(queue)
    wait_for(queue, first, "running")
    registry = index.open_registry(queue)

    def row() -> tuple[str, str]:
        (found,) = queries.rows_of(registry, "job", [second])
        return found["state"], found["reason"]

    settings = read_settings(queue)
    write_settings(queue, settings.model_copy(update={"paused": True}))
    until(lambda: row() == ("queued", "the queue is paused"), 20)
    write_settings(queue, settings)
    until(lambda: row()[1] != "the queue is paused", 20)
    control.pause(queue, second)
    until(lambda: row() == ("queued", "paused"), 20)
    control.resume(queue, second)
    until(lambda: row()[1] != "paused", 20)
    registry.close()
