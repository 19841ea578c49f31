"""Jobs on a real one-node Slurm: shards on two pretended GPUs, cancel, requeue in mid-job, a controller restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.home import control, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import spawn
from datadream.plans import enqueue
from tests.faults.scale import SOAK, record
from tests.faults.slurm import Slurm, said
from tests.runners import kill_all, rehearsals, runner_of, steps_done, until, wait_for_end


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        started = Slurm(Path(folder))
        yield started
        started.stop()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(retry_seconds=0.0))
    (home.path / "cluster.toml").write_text("[resources]\ncpus = 1\nminutes = 10\n")
    yield home
    kill_all(home)


def native(home: Home, job: str) -> str:
    return str((state.read_dict(home.job(job) / "native.json") or {}).get("native", ""))


def test_four_jobs_on_two_gpus_one_cancelled_and_the_runner_killed(slurm: Slurm, queue: Home) -> None:
    """The runner dies while they run; the next one knows them by their native ids."""
    ids = enqueue.enqueue(queue, rehearsals(4, steps=700), {}, launcher="slurm")
    spawn.ensure_runner(queue)
    until(lambda: sum(state.derive(queue, job).state == "running" for job in ids) == 2, 60)
    running = [job for job in ids if state.derive(queue, job).state == "running"]
    waiting = [job for job in ids if job not in running]
    until(lambda: all("waits in slurm as" in state.derive(queue, job).reason for job in waiting))
    until(lambda: all((queue.job(job) / "environment.json").exists() for job in running))
    devices = {
        json.loads((queue.job(job) / "environment.json").read_text())["variables"]["CUDA_VISIBLE_DEVICES"]
        for job in running
    }
    assert devices == {"0", "1"}
    control.cancel(queue, running[0])
    control.cancel(queue, waiting[1])
    runner = runner_of(queue)
    assert runner is not None
    until(lambda: state.derive(queue, running[0]).state == "cancelled", 60)
    os.kill(runner.pid, signal.SIGKILL)
    slurm.restart_controller()
    spawn.ensure_runner(queue)
    wait_for_end(queue, 120)
    states = {job: state.derive(queue, job).state for job in ids}
    assert states == {running[0]: "cancelled", waiting[1]: "cancelled", running[1]: "done", waiting[0]: "done"}
    assert all(state.attempts(queue.job(job)) == 1 for job in (running[1], waiting[0]))
    until(lambda: not said("squeue", "-h", "-o", "%i").split(), 30)  # a job is done before its batch job has ended
    record("slurm", jobs=4, gpus=2, cancelled=2, runner_killed=1, controller_restarts=1, outcome="one start a job")


def test_one_that_slurm_loses_is_submitted_again_and_resumes(slurm: Slurm, queue: Home) -> None:
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=400), {}, launcher="slurm")
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) > 20, 60)
    subprocess.run(["scancel", "--signal=KILL", "--full", native(queue, job)], check=False)
    until(lambda: state.attempts(queue.job(job)) == 2, 60)
    wait_for_end(queue, 120)
    assert state.derive(queue, job).state == "done"
    assert [line["state"] for line in state.history(queue.job(job))].count("lost") == 1
    record("slurm-lost", jobs=1, outcome="submitted again, resumed from its checkpoint")


def test_a_requeue_in_mid_job_resumes(slurm: Slurm, queue: Home) -> None:
    if not SOAK:
        pytest.skip("Slurm waits two minutes before it starts a requeued job: `make reliability` does")
    (job,) = enqueue.enqueue(queue, rehearsals(1, steps=400), {}, launcher="slurm")
    spawn.ensure_runner(queue)
    until(lambda: steps_done(queue, job) > 20, 60)
    subprocess.run(["scontrol", "requeue", native(queue, job)], check=True)
    wait_for_end(queue, 300)
    status = state.derive(queue, job)
    assert (status.state, status.attempts) == ("done", 1)
    record("slurm-requeue", jobs=1, outcome="the same attempt, resumed from its checkpoint")
