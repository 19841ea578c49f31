"""Reboots, stale and reused pids: the lost go on once, or are held; a stranger is never signalled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import control, identity, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import leader, policy
from datadream.jobs.runner import Runner
from datadream.plans import enqueue
from tests.faults.scale import record
from tests.runners import kill_all, reasons, rehearsals


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    yield home
    kill_all(home)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process, in a group of its own."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def abandon(home: Home, seed: int, worker: identity.Process, hours_ago: float = 0.0) -> str:
    """A job that `worker` is said to have started and told of once."""
    (job,) = enqueue.enqueue(home, rehearsals(1, seed, steps=3), {})
    assert state.claim(home, job, 1, {"worker": worker.to_json(), "slot": "cpu:0", "launcher": "local"})
    at = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
    durable.write_text(home.job(job) / "events.jsonl", json.dumps({"kind": "started", "seq": 1, "at": at}) + "\n")
    durable.write_json(home.job(job) / "lease", worker.to_json())
    return job


def finish(home: Home) -> None:
    leadership = leader.take(home)
    assert leadership is not None
    runner = Runner(home, leadership, idle_seconds=0.3)
    while runner.tick():
        runner.wait()
    runner.close()


def reused(pid: int) -> identity.Process:
    """What a lease says of an earlier process that had this pid."""
    now = identity.identify(pid)
    assert now is not None
    return identity.Process(pid, now.start - 100, now.boot, now.host)


def test_a_reused_pid_is_no_worker_and_is_left_alone(queue: Home, stranger: subprocess.Popen[bytes]) -> None:
    write_settings(queue, QueueSettings(retry_seconds=0.0, grace_seconds=0.0))
    job = abandon(queue, 1, reused(stranger.pid))
    other = abandon(queue, 2, reused(stranger.pid))
    control.cancel(queue, other)
    assert state.derive(queue, job).state == "lost"
    finish(queue)
    assert [name for name, _ in reasons(queue, job)] == ["lost", "queued", "running", "done"]
    assert state.derive(queue, other).state == "cancelled"
    assert stranger.poll() is None
    record("reused-pid", jobs=2, outcome="requeued once, the stranger left alone")


@pytest.mark.parametrize("hours", [0.0, 5.0])
@pytest.mark.parametrize("rule", ["hold", "resume"])
def test_after_a_reboot_jobs_go_on_or_are_held(
    queue: Home, stranger: subprocess.Popen[bytes], hours: float, rule: str
) -> None:
    write_settings(queue, QueueSettings.model_validate({"reboot": rule, "retry_seconds": 0.0}))
    now = identity.identify(stranger.pid)
    assert now is not None
    job = abandon(queue, 1, identity.Process(now.pid, now.start, "another boot", now.host), hours)
    finish(queue)
    assert reasons(queue, job)[0] == ("lost", "the machine rebooted")
    if rule == "hold" and hours:
        status = state.derive(queue, job)
        assert (status.state, status.reason) == ("queued", f"paused: {policy.HELD}")
        control.resume(queue, job)
        finish(queue)
    assert state.derive(queue, job).state == "done"
    assert state.attempts(queue.job(job)) == 2
    assert stranger.poll() is None
    record("reboot", rule=rule, hours=hours, outcome="requeued once" if not hours or rule == "resume" else "held")


def test_signals_reach_only_the_very_process(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    """The same pid as another process tells of it: another start, another boot, a corpse, or none at all."""
    real = identity.identify(stranger.pid)
    assert real is not None
    others = [
        reused(stranger.pid),
        identity.Process(real.pid, real.start, "another boot", real.host),
        identity.Process(real.pid, real.start, real.boot, "another host"),
    ]
    for other in others:
        assert not identity.signal_group(other, signal.SIGKILL)
    assert stranger.poll() is None
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text(f"{real.boot}\n")
    (proc / str(real.pid)).mkdir()
    fields = ["S", *["0"] * 18, str(real.start), "0"]
    for state_, expected in (("S", real), ("Z", None), ("X", None)):
        (proc / str(real.pid) / "stat").write_text(f"{real.pid} (a) b (c) {' '.join([state_, *fields[1:]])}\n")
        assert identity.identify(real.pid, proc) == expected
    assert identity.signal_group(real, signal.SIGKILL)
    stranger.wait(10)
    assert not identity.signal_group(real, signal.SIGKILL)


def test_a_real_pid_is_reused_in_a_pid_namespace(tmp_path: Path) -> None:
    """The kernel is told which pid comes next (ns_last_pid); the second owner of the pid is not the first."""
    import shutil
    import sys

    code = """
import subprocess, sys, time
from pathlib import Path
from datadream.home import identity
first = subprocess.Popen(["sleep", "600"], start_new_session=True)
who = identity.identify(first.pid)
first.kill(); first.wait()
time.sleep(0.05)
Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
second = subprocess.Popen(["sleep", "600"], start_new_session=True)
assert second.pid == first.pid, (first.pid, second.pid)
assert not identity.is_alive(who)
assert not identity.signal_group(who, 9)
assert second.poll() is None
second.kill()
print("reused", first.pid)
"""
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private pid namespace on this machine")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*unshare, sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    if "ns_last_pid" in result.stderr:
        pytest.skip("the kernel does not let us choose the next pid")
    assert "reused" in result.stdout, result.stderr
    record("reused-pid-namespace", outcome="not taken for the first, not signalled")
