"""What gc removes, and what it leaves: whatever a job that failed or was cancelled goes on from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream import durable
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import control, gc, labels, state, trash
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.sets import add_set
from datadream.home.spec import JobSpec
from datadream.models.presets import Backbone
from datadream.plans import enqueue
from datadream.plans.grid import plan, shards_of
from datadream.recipes.recipe import load_recipe
from tests.conftest import run_cli
from tests.runners import kill_all, rehearsals, wait_for_end


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(retry_seconds=0.0, grace_seconds=2.0))
    yield home
    kill_all(home)


def drawing(home: Home, mini: Backbone, two_shots: ShotSet) -> dict[str, JobSpec]:
    recipe = load_recipe("name-only", mini, ["generate.images_per_class=2", "generate.batch_size=1",
        "generate.num_inference_steps=1", "classify.steps=1", "classify.batch_size=4"])  # fmt: skip
    return plan(recipe, add_set(home, two_shots, "s"), mini, "synth").jobs


def cancelled(home: Home, count: int) -> list[str]:
    """Jobs that are over, with no runner about."""
    ids = enqueue.enqueue(home, rehearsals(count), {})
    for job_id in ids:
        control.cancel(home, job_id)
        (home.queue / job_id).unlink()
    return ids


def planned(home: Home, jobs: bool = False) -> set[tuple[str, str]]:
    return {(item.kind, item.id) for item in gc.plan(home, jobs)}


def test_a_job_whose_input_was_made_and_removed_says_so_and_is_not_waited_for(
    queue: Home, mini: Backbone, two_shots: ShotSet
) -> None:
    specs = drawing(queue, mini, two_shots)
    generate, classify = specs["generate"], specs["classify"]
    enqueue.enqueue(queue, [generate], {})
    wait_for_end(queue)
    durable.remove_dir(queue.artifact("synthetic", generate.id))
    enqueue.enqueue(queue, [classify], {})
    status = state.derive(queue, classify.id)
    assert (status.state, status.hopeless) == ("blocked", True)
    assert status.reason == f"synthetic {generate.id[:8]} is missing: run the same command again"
    waited = run_cli("job", "wait", classify.id, "--timeout", 60, home=queue.path)
    assert waited.returncode == 1
    assert "is missing: run the same command again" in waited.stderr
    enqueue.enqueue(queue, [generate, classify], {})
    wait_for_end(queue)
    assert state.derive(queue, classify.id).state == "done"


def test_the_shards_of_a_cancelled_job_stay_until_it_has_joined_them(
    queue: Home, mini: Backbone, two_shots: ShotSet
) -> None:
    spec = drawing(queue, mini, two_shots)["generate"]
    parts = shards_of(spec, 2)
    enqueue.enqueue(queue, [*parts, spec], {}, shards={spec.id: [part.id for part in parts]})
    control.cancel(queue, spec.id)
    wait_for_end(queue)
    assert state.derive(queue, spec.id).state == "cancelled"
    gc.apply(queue, gc.plan(queue))
    assert all(queue.has("shard", part.id) for part in parts)
    control.retry(queue, spec.id)
    wait_for_end(queue)
    assert state.derive(queue, spec.id).state == "done"
    assert {("shard", part.id) for part in parts} <= planned(queue)


def test_staging_stays_as_long_as_its_job_can_be_tried_again(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=5, fail_at=2), {})
    wait_for_end(queue)
    assert state.derive(queue, job).state == "failed"
    staged = queue.staging("rehearsal", job)
    durable.make_dir(staged)
    assert gc.apply(queue, gc.plan(queue)) == []
    assert staged.is_dir()
    labels.tag(queue, job, add=["keep"])
    assert planned(queue, jobs=True) == set()
    labels.tag(queue, job, remove=["keep"])
    assert {item.kind for item in gc.apply(queue, gc.plan(queue, jobs=True))} == {"job", "staging"}
    assert not staged.exists()
    assert not queue.job(job).exists()


def test_staging_without_a_job_goes(home: Home) -> None:
    durable.make_dir(home.staging("synthetic", "a" * 16))
    assert planned(home) == {("staging", "a" * 16)}


def test_what_has_come_to_be_needed_since_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ("a" * 16, "b" * 16)
    for artifact_id in (first, second):
        durable.make_dir(home.artifact("set", artifact_id))
    found = gc.plan(home)
    discard = gc.trash.discard

    def discard_and_tag(home: Home, path: Path) -> trash.Entry:
        labels.tag(home, second, add=["best"])
        return discard(home, path)

    monkeypatch.setattr(gc.trash, "discard", discard_and_tag)
    assert [item.id for item in gc.apply(home, found)] == [first]
    assert home.artifact("set", second).is_dir()


def test_what_may_have_come_to_be_needed_since_is_put_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = durable.make_dir(home.artifact("adapter", "a" * 16))
    found = gc.plan(home)
    discard = gc.trash.discard

    def discard_and_spoil(home: Home, path: Path) -> trash.Entry:
        durable.write_text(durable.make_dir(home.path / "labels") / f"{'b' * 16}.json", "{")
        return discard(home, path)

    monkeypatch.setattr(gc.trash, "discard", discard_and_spoil)
    with pytest.raises(UserError, match="nothing is removed"):
        gc.apply(home, found)
    assert path.is_dir()


def test_a_removal_looks_at_each_thing_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = cancelled(home, 12)
    for number in range(12):
        durable.make_dir(home.artifact("adapter", f"{number:016x}"))
    for place in ("runs", "names/set", "labels", "queue"):
        os.utime(durable.make_dir(home.path / place), (1, 1))
    found = gc.plan(home, jobs=True)
    assert len(found) == 24
    looked: list[str] = []
    derive = state.derive

    def derive_and_count(home: Home, job_id: str) -> state.Status:
        looked.append(job_id)
        return derive(home, job_id)

    monkeypatch.setattr(state, "derive", derive_and_count)
    assert len(gc.apply(home, found)) == 24
    assert sorted(looked) == sorted(jobs)
