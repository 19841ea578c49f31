"""Damaged files: found, named, worked around; never in the way of another job."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import IO

import pytest
import torch
from torch import nn

from datadream import durable
from datadream.errors import UserError
from datadream.home import state
from datadream.home.events import Journal
from datadream.home.layout import Home, open_home
from datadream.home.lines import Tail
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import spawn
from datadream.plans.enqueue import enqueue
from datadream.stages.loop import Loop, Schedule
from store import index, queries
from store.check import check
from tests.faults import strace
from tests.faults.scale import record, scale
from tests.runners import kill_all, rehearsals, steps_done, until, wait_for, wait_for_end


def test_forged_events_are_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"seq": 1, "kind": "metric"}\n{"seq": 2, "seconds": "x", "step": [1]}\n')
    journal = Journal(tmp_path / "events.jsonl", 2)
    journal.emit({"kind": "metric", "step": 1, "loss": 1.0})
    journal.close()
    assert durable.read_jsonl(tmp_path / "events.jsonl")[0][-1]["seq"] == 3


def test_events_cut_at_any_byte_are_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path, 1)
    for step in range(5):
        journal.emit({"kind": "metric", "step": step, "loss": 0.5})
    journal.close()
    whole = path.read_bytes()
    cuts = range(0, len(whole) + 1, scale(7, 1))
    for cut in cuts:
        path.write_bytes(whole[:cut])
        again = Journal(path, 2)
        for step in range(6):
            again.emit({"kind": "metric", "step": step, "loss": 0.5})
        again.close()
        records, bad = durable.read_jsonl(path)
        assert [entry["seq"] for entry in records] == list(range(1, len(records) + 1))
        assert [entry["step"] for entry in records] == list(range(6))
        assert bad <= 1
        assert Tail(path).records_and_bad() == (records, bad)
    record("events-cut", cuts=len(cuts), outcome="every step once, at most one bad line counted")


def damaged(whole: bytes, dice: random.Random) -> bytes:
    kind = dice.randrange(3)
    if kind == 0:
        return whole[: dice.randrange(len(whole))]
    if kind == 1:
        place = dice.randrange(len(whole))
        return whole[:place] + bytes([whole[place] ^ (1 << dice.randrange(8))]) + whole[place + 1 :]
    return dice.randbytes(dice.randrange(200))


def test_half_a_checkpoint_costs_the_steps_since_the_one_before(tmp_path: Path) -> None:
    def loop() -> Loop:
        return Loop(
            {"w": nn.Parameter(torch.zeros(50))},
            Schedule(9, 0.1, 0),
            weight_decay=0.0,
            max_grad_norm=1.0,
            checkpoint=tmp_path,
            blame=lambda what, when: UserError(f"{what} {when}"),
        )

    def step(training: Loop) -> None:
        weight = training.parameters["w"]
        training.update(((weight - 3 - training.step) ** 2).sum())

    first = loop()
    step(first)
    first.save()
    after_one = first.parameters["w"].detach().clone()
    step(first)
    first.save()
    after_two = first.parameters["w"].detach().clone()
    newest = tmp_path / "state.safetensors"
    whole = newest.read_bytes()
    assert loop().step == 2
    for cut in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:cut])
        again = loop()
        assert again.step == 1
        assert torch.equal(again.parameters["w"], after_one)
        step(again)
        assert torch.equal(again.parameters["w"], after_two)
    durable.previous(newest).write_bytes(b"")
    assert loop().step == 0


def test_a_rehearsal_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    (spec,) = rehearsals(1, steps=6, step_seconds=0.0)
    enqueue(home, [spec], {})
    assert strace.worker(home, spec.id) == 0
    expected = (home.artifact("rehearsal", spec.id) / "count.json").read_bytes()
    for cut in (0, 10, 20):
        durable.remove_dir(home.artifact("rehearsal", spec.id))
        durable.remove_file(home.job(spec.id) / "result.json")
        folder = durable.make_dir(home.job(spec.id) / "checkpoint")
        durable.write_json(durable.previous(folder / "count.json"), {"step": 0, "chain": "0"})
        (folder / "count.json").write_bytes(b'{"chain": "abc", "step": 4}'[:cut])
        assert strace.worker(home, spec.id) == 0
        assert (home.artifact("rehearsal", spec.id) / "count.json").read_bytes() == expected


@pytest.fixture
def queue(tmp_path: Path) -> Home:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(retry_seconds=0.0))
    return home


def test_garbage_folders_stop_no_other_job_and_are_listed(queue: Home) -> None:
    good = enqueue(queue, rehearsals(2, steps=1), {})
    for number, content in enumerate([None, b"", b"\xff" * 50, b"[]", b'{"stage": "adapt"}']):
        folder = durable.make_dir(queue.job(f"{number:016x}"))
        if content is not None:
            (folder / "spec.json").write_bytes(content)
        durable.mark(queue.queue / folder.name)
    durable.make_dir(queue.job("f" * 16) / "spec.json")
    os.mkfifo(durable.make_dir(queue.job("a" * 16)) / "spec.json")  # nobody writes to it: who reads would wait for ever
    (odd,) = enqueue(queue, rehearsals(1, 9), {})
    durable.make_dir(queue.job(odd) / "lease")
    os.mkfifo(queue.job(odd) / "events.jsonl")
    for name in ("f" * 16, "..x", "-rf", "nothing here", "e" * 16):
        durable.mark(queue.queue / name)
    from datadream.jobs import leader
    from datadream.jobs.runner import Runner

    leadership = leader.take(queue)
    assert leadership is not None
    runner = Runner(queue, leadership, idle_seconds=0.5)
    while runner.tick():
        runner.wait()
    runner.close()
    assert {state.derive(queue, job).state for job in good} == {"done"}
    registry = index.open_registry(queue)
    listed = {path for path, _ in queries.problems(registry)}
    assert {f"jobs/{number:016x}" for number in range(5)} | {f"jobs/{odd}", "jobs/" + "a" * 16} <= listed
    found = {finding.path: finding for finding in check(queue, registry)}
    registry.close()
    assert found["jobs/" + "0" * 16].kind == "unreadable"
    assert "datadream job rm" in found["jobs/" + "0" * 16].advice
    assert found["queue/" + "e" * 16].kind == "stale"
    record("garbage-job-folders", folders=8, markers=5, outcome="other jobs done, all listed")


@pytest.mark.parametrize("gone", ["job", "artifacts", "lease", "home"])
def test_what_is_removed_under_a_running_job_costs_no_other(gone: str, queue: Home, tmp_path: Path) -> None:
    """Whatever such a job comes to, its worker ends and the slot goes to the next."""
    first, second = enqueue(queue, [*rehearsals(1, steps=300), *rehearsals(1, 1, steps=20)], {})
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, first) > 3)
    if gone == "home":
        queue.path.rename(tmp_path / "away")
        time.sleep(1)
        shutil.rmtree(queue.path, ignore_errors=True)
        (tmp_path / "away").rename(queue.path)
        spawn.ensure_runner(queue)
    elif gone == "lease":
        kill_all(queue)
        (queue.job(first) / "lease").unlink()
        durable.make_dir(queue.job(first) / "lease")
        spawn.ensure_runner(queue)
    else:
        away = queue.job(first) if gone == "job" else queue.path / "artifacts"
        away.rename(tmp_path / "away")  # at once: its worker may be writing a checkpoint
        shutil.rmtree(tmp_path / "away", ignore_errors=True)
    until(lambda: state.derive(queue, second).state == "done")
    if gone == "home":
        wait_for_end(queue)
        assert state.derive(queue, first).state == "done"
    if gone == "artifacts":
        assert "No such file or directory" in wait_for(queue, first, "failed").reason
    kill_all(queue)
    record("removed-while-running", what=gone, outcome="the other job done")


def test_an_error_is_never_its_own_cause(tmp_path: Path) -> None:
    """Who follows causes would never end: a worker did, at full speed, with its slot."""
    with pytest.raises(OSError) as caught:
        durable.write_bytes(tmp_path / "nowhere" / "x", b"")
    links = list(durable.causes(caught.value))
    assert 1 <= len(links) < 5
    assert not durable.is_storage(caught.value)
    loop = OSError(28, "No space left on device")
    loop.__cause__ = loop
    assert list(durable.causes(loop)) == [loop]


def test_what_can_not_be_read_now_is_read_again_and_nobody_is_told_to_remove_it(
    ran_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(ran_copy)
    folder = next((ran_copy / "artifacts" / "classifier").iterdir())
    real = durable.open_regular

    def refusing(path: Path) -> IO[bytes]:
        if folder in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(durable, "open_regular", refusing)
    monkeypatch.setattr(durable, "RACY_NS", 0)
    registry = index.rebuild(home)
    found = {finding.path: finding for finding in check(home, registry)}
    place = f"artifacts/classifier/{folder.name}"
    assert found[place].what.startswith("can't be read now: ")
    assert "nothing needs to be removed" in found[place].advice
    assert len(queries.page(registry, "classifier", limit=100)) == len(list(folder.parent.iterdir())) - 1
    registry.close()
    monkeypatch.setattr(durable, "open_regular", real)
    registry = index.open_registry(home)
    assert queries.problems(registry) == [] == check(home, registry)
    assert len(queries.page(registry, "classifier", limit=100)) == len(list(folder.parent.iterdir()))
    registry.close()


def test_a_missing_result_is_made_again_or_told(queue: Home) -> None:
    (job,) = enqueue(queue, rehearsals(1, steps=1), {})
    wait_for_end(queue)
    durable.remove_file(queue.job(job) / "result.json")
    assert state.derive(queue, job).state == "done"
    assert "result.json is missing" in state.derive(queue, job).reason
    durable.mark(queue.queue / job)  # as if the machine had died between the artifact and the result
    wait_for_end(queue)
    assert state.read_dict(queue.job(job) / "result.json") is not None
    events = durable.read_jsonl(queue.job(job) / "events.jsonl")[0]
    assert [event["kind"] for event in events].count("done") == 1
    kill_all(queue)


def test_any_damage_to_an_artifact_is_found(ran_copy: Path) -> None:
    home, dice = Home(ran_copy), random.Random(4)
    registry = index.open_registry(home)
    assert check(home, registry) == []
    files = [path for path in sorted(ran_copy.glob("artifacts/*/*/**/*")) if path.is_file()]
    rounds = scale(15, 200)
    for _ in range(rounds):
        path = dice.choice(files)
        whole = path.read_bytes()
        broken = damaged(whole, dice)
        path.write_bytes(broken)
        found = check(home, registry)
        if path.name == "manifest.json" and not found:
            assert state.read_dict(path) is not None  # a flipped bit in words that bind nothing, as a time
        else:
            assert [finding.kind for finding in found if finding.path in (rel(home, path), rel(home, path.parent))]
        path.write_bytes(whole)
    stranger = files[0].parent / "stranger.txt"
    stranger.write_text("x")
    assert [finding.kind for finding in check(home, registry)] == ["extra"]
    stranger.unlink()
    files[0].unlink()
    assert [finding.kind for finding in check(home, registry)] in (["missing"], ["unreadable"])
    registry.close()
    record("damaged-artifacts", rounds=rounds, seed=4, outcome="each found and named")


def rel(home: Home, path: Path) -> str:
    return path.relative_to(home.path).as_posix()
