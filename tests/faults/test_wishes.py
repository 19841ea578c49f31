"""A wish to cancel or pause reaches its worker, whoever has it and wherever the worker is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.data.shots import ShotSet
from datadream.home import control, identity, lease, state
from datadream.home.layout import Home, init_home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.sets import add_set
from datadream.jobs import leader, policy, spawn
from datadream.jobs.runner import Runner
from datadream.models.presets import Backbone
from datadream.plans import enqueue
from datadream.plans.grid import plan
from datadream.recipes.recipe import load_recipe
from tests.faults.scale import record
from tests.runners import kill_all, reasons, rehearsals, steps_done, until, wait_for

STOPPED = 4


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(paused=True, retry_seconds=0.0, grace_seconds=0.2))
    yield home
    kill_all(home)


def by_hand(home: Home, *words: str, code: str = "") -> subprocess.Popen[bytes]:
    """`datadream worker`, which no runner knows of; `code` runs before it in the same process."""
    command = spawn.command("worker", "--home", str(home.path), *words)
    if code:
        start = f"{code}\nfrom datadream.__main__ import main\nmain()\n"
        command = [command[0], "-c", start, *command[command.index("worker") :]]
    return subprocess.Popen(command, env=spawn.environment(), start_new_session=True)


@pytest.mark.parametrize("wish", ["cancel", "pause"])
def test_a_worker_started_by_hand_heeds_a_wish_with_no_runner_about(wish: str, queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=100_000), {})
    worker = by_hand(queue, job)
    until(lambda: steps_done(queue, job) > 3)
    getattr(control, wish)(queue, job)
    status = state.derive(queue, job)
    asked = ("cancelling", "stop requested") if wish == "cancel" else ("running", "pause requested")
    assert (status.state, status.reason) == asked
    assert worker.wait(60) == STOPPED
    status = state.derive(queue, job)
    assert (status.state, status.paused) == (("cancelled", False) if wish == "cancel" else ("queued", True))
    assert (queue.job(job) / "checkpoint" / "count.json").is_file()
    assert not leader.is_led(queue)
    record("wish", wish=wish, worker="started by hand, no runner", outcome="stopped at its next step")


def test_a_wish_that_is_taken_back_at_once_stops_nothing(queue: Home) -> None:
    specs = rehearsals(1, steps=200, step_seconds=0.02)
    (job,) = enqueue.enqueue(queue, specs, {})
    worker = by_hand(queue, job)
    until(lambda: steps_done(queue, job) > 3)
    control.pause(queue, job)
    control.resume(queue, job)
    assert worker.wait(60) == 0
    assert state.derive(queue, job).state == "done"


def test_a_worker_waiting_for_its_job_heeds_a_wish(queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=100_000), {})
    folder = queue.job(job)
    with lease.lease(folder / "lease", lambda _: None):
        worker = by_hand(queue, job)
        until(lambda: (folder / "log.txt").exists() and "waiting for" in (folder / "log.txt").read_text())
        control.cancel(queue, job)
        assert worker.wait(60) == STOPPED


SLOW = """
import importlib, time
real = importlib.import_module
def slow(name, *rest, **more):
    if name.startswith("datadream.stages.{stage}"):
        print("loading", flush=True)
        try:
            time.sleep(600)
        except Exception as error:  # as a library that goes on without what it couldn't load
            raise RuntimeError from error
    return real(name, *rest, **more)
importlib.import_module = slow
"""


def test_a_wish_is_heeded_while_code_and_models_load(queue: Home, mini: Backbone, two_shots: ShotSet) -> None:
    """Nothing is lost by it, and the job isn't called failed."""
    recipe = load_recipe("real-only", mini, ["classify.steps=1", "classify.batch_size=4"])
    run = plan(recipe, add_set(queue, two_shots, "s"), mini, "real")
    (job,) = enqueue.enqueue(queue, list(run.jobs.values()), {})
    worker = by_hand(queue, job, code=SLOW.format(stage="classify"))
    log = queue.job(job) / "log.txt"
    until(lambda: log.exists() and "loading" in log.read_text())
    control.cancel(queue, job)
    assert worker.wait(60) == STOPPED
    assert state.derive(queue, job).state == "cancelled"
    assert not (queue.job(job) / "error.json").exists()
    assert "stopped; the checkpoint is kept" in log.read_text()
    assert state.last_events(queue.job(job))[-1]["kind"] == "stopped"
    record("wish", wish="cancel", worker="loading a model", outcome="left at once, nothing failed")


def test_a_runner_whose_signals_reach_nobody_cancels_all_the_same(queue: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of another user of a shared home, or of another host."""
    monkeypatch.setattr(identity, "signal_group", lambda *_: False)
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=100_000), {})
    worker = by_hand(queue, job)
    until(lambda: steps_done(queue, job) > 3)
    leadership = leader.take(queue)
    assert leadership is not None
    runner = Runner(queue, leadership, idle_seconds=0.3)
    runner.tick()
    control.cancel(queue, job)
    end = time.monotonic() + 60
    while runner.tick():
        assert time.monotonic() < end
        runner.wait()
    runner.close()
    assert worker.wait(10) == STOPPED
    assert [name for name, _ in reasons(queue, job)][-2:] == ["cancelling", "cancelled"]
    record("wish", wish="cancel", worker="out of reach of signals", outcome="stopped at its next step")


@pytest.mark.parametrize("where", ["another user's", "another host's"])
def test_a_worker_that_heeds_nothing_and_cant_be_ended_is_named_on_its_job(
    where: str, queue: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=1, step_seconds=600), {})
    worker = by_hand(queue, job)
    wait_for(queue, job, "running")
    until(lambda: lease.read_note(queue.job(job) / "lease").get("pid") == worker.pid)

    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if where == "another user's":
        for name in ("kill", "killpg"):
            monkeypatch.setattr(os, name, forbidden)
        named = f"pid {worker.pid} on {identity.myself().host}, of another user"
    else:
        me = identity.myself()
        monkeypatch.setattr(identity.socket, "gethostname", lambda: "elsewhere")
        named = f"pid {worker.pid} on {me.host}, another host"
    leadership = leader.take(queue)
    assert leadership is not None
    runner = Runner(queue, leadership)
    control.cancel(queue, job)
    said = (
        f"stop requested; its worker ({named}) can't be signalled from here: it stops at its next step, or end it there"
    )
    end = time.monotonic() + 60
    while state.derive(queue, job).reason != said:
        assert time.monotonic() < end, state.derive(queue, job)
        runner.tick()
        runner.wait()
    for _ in range(5):
        runner.tick()
    runner.close()
    assert reasons(queue, job)[-2:] == [("cancelling", "stop requested"), ("cancelling", said)]
    assert state.derive(queue, job).state == "cancelling"
    monkeypatch.undo()
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def test_a_cancelled_evaluation_ends_between_two_batches(two_shots: ShotSet, mini: Backbone, tmp_path: Path) -> None:
    from datadream.stages.classify import classify
    from datadream.stages.emit import Event, Stopped, stopping
    from datadream.stages.settings import ClassifySettings
    from datadream.stages.task import Task

    looked: list[Event] = []

    def emit(event: Event) -> None:
        looked.append(event)
        stopping.set()

    try:
        with pytest.raises(Stopped):
            classify(
                Task(ClassifySettings(), tmp_path, tmp_path / "checkpoint", emit, model=mini.clip, shots=two_shots)
            )
    finally:
        stopping.clear()
    assert [event["unit"] for event in looked] == ["images checked"]
    assert not (tmp_path / "scores.json").exists()


@pytest.fixture
def shared() -> Iterator[Home]:
    """A home of this user's, and of a group that another is in; not below pytest's folders, which are private."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "home"
        place.mkdir()
        os.chown(place, 0, 12345)
        home = init_home(place, shared=True)
        write_settings(home, QueueSettings(paused=True))
        yield home
        kill_all(home)


def test_another_user_of_a_shared_home_cancels_a_job(shared: Home) -> None:
    """Who may not signal the worker."""
    (job,) = enqueue.enqueue(shared, rehearsals(1, steps=100_000), {})
    worker = by_hand(shared, job)
    until(lambda: steps_done(shared, job) > 3)
    code = (
        "import os\nfrom datadream.home import control\nfrom datadream.home.layout import open_home\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(54321)\n"
        f"try:\n    os.kill({worker.pid}, 0)\nexcept PermissionError:\n"
        f"    control.cancel(open_home({str(shared.path)!r}), {job!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert worker.wait(60) == STOPPED
    assert state.derive(shared, job).state == "cancelled"
    record("wish", wish="cancel", worker="another user's", outcome="stopped at its next step")


def test_what_a_stuck_worker_is_told_of_reads_as_a_sentence() -> None:
    status = state.Status(id="a" * 16, stage="adapt", kind="adapter", state="running", reason="", paused=True)
    assert policy.out_of_reach(status, "pid 7 on node3, another host") == (
        "pause requested; its worker (pid 7 on node3, another host) can't be signalled from here: it stops at its next "
        "step, or end it there"
    )
