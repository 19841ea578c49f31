"""A job that doesn't run has a reason, and whoever waits is told what the runner's own trouble is."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.errors import UserError
from datadream.home import control, queue, state, trouble
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import follow, leader, orphans, pool, spawn, staff, watch
from datadream.jobs import runner as module
from datadream.jobs.runner import Runner
from datadream.plans import enqueue
from tests.conftest import Cli
from tests.frozen import frozen
from tests.runners import kill_all, processes_of, rehearsals, steps_done, until, wait_for, wait_for_end

FAST = QueueSettings(retry_seconds=0.0, grace_seconds=1.0)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """The home of `cli`."""
    home = open_home(tmp_path / "home")
    write_settings(home, FAST)
    yield home
    kill_all(home)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(staff, "KEPT_SECONDS", 0.2)
    monkeypatch.setattr(module, "STARVED_SECONDS", 0.05)


def lead(home: Home) -> Runner:
    leadership = leader.take(home)
    assert leadership is not None
    return Runner(home, leadership, idle_seconds=0.5)


def until_it_leaves(home: Home) -> Runner:
    """A runner of this process, from start to end."""
    runner = lead(home)
    end = time.monotonic() + 60
    while runner.tick():
        assert time.monotonic() < end, "it idles"
        runner.wait()
    runner.close()
    return runner


def reason(home: Home, job: str) -> str:
    status = state.derive(home, job)
    assert status.state == "queued"
    return status.reason


def test_a_python_that_is_gone_is_told_and_the_next_runner_mends_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/moved/venv/bin/python")
        assert until_it_leaves(home).left
    assert trouble.read(home).left
    assert "the Python of this runner no longer exists (/moved/venv/bin/python)" in reason(home, job)
    assert state.attempts(home.job(job)) == 0
    assert watch.look(home) == watch.Outlook(reason(home, job), stuck=True)
    (status,) = follow.follow(home, [job], lambda spec, event: None)
    assert status.state == "done"
    until(lambda: not trouble.read(home))


def test_workers_that_end_before_they_are_ready_are_no_loss_of_a_job(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the environment was moved under a live runner."""
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    code = "import sys; sys.stderr.write('a' * 500 + chr(10)); import a_package_that_was_moved"
    monkeypatch.setattr(spawn, "command", lambda *_: [sys.executable, "-c", code])
    assert until_it_leaves(home).left
    assert "the worker for cpu:0 ended with status 1: ModuleNotFoundError: No module named" in reason(home, job)
    assert "a_package_that_was_moved" in reason(home, job)
    assert state.attempts(home.job(job)) == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_a_runner_that_gets_no_process_says_so_and_leaves_in_the_end(
    number: int, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    refusing = True
    start = spawn.start

    def refuse(*arguments: Any, **more: Any) -> Any:
        if refusing:
            raise OSError(number, os.strerror(number))
        return start(*arguments, **more)

    monkeypatch.setattr(spawn, "start", refuse)
    runner = lead(home)
    until(lambda: runner.tick() and trouble.read(home).what)
    assert os.strerror(number) in reason(home, job)
    assert not trouble.read(home).left
    refusing = False
    until(lambda: not runner.tick() or not (home.queue / job).exists())
    until(lambda: not runner.tick() or not trouble.read(home))
    runner.close()
    monkeypatch.setattr(staff, "PATIENCE_SECONDS", 0.3)
    refusing = True
    (job,) = enqueue.enqueue(home, rehearsals(1, 1, steps=1), {})
    assert until_it_leaves(home).left
    assert os.strerror(number) in reason(home, job)


def test_a_runner_out_of_descriptors_tells_with_the_last_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system's own limit; with every number of descriptors left it hires, or says why it can't, and leaves."""
    monkeypatch.setattr(staff, "PATIENCE_SECONDS", 0.2)
    runner = lead(home)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, durable.names("/proc/self/fd"))) + 30, hard))
    told = 0
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for number in range(8):
            (job,) = submit_with(taken, home, number)
            until(lambda: not runner.tick() or trouble.read(home).what or not (home.queue / job).exists())  # noqa: B023
            os.close(taken.pop())
            if trouble.read(home).what:
                told += 1
                assert "raise the limit that `ulimit -n` shows" in reason(home, job)
                assert state.attempts(home.job(job)) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert told > 3
    until(lambda: ticked(runner) and not list(home.queue.iterdir()))
    runner.close()
    assert not trouble.read(home)


def submit_with(taken: list[int], home: Home, number: int) -> list[str]:
    """Asked for by another process, which has its own descriptors."""
    kept = [taken.pop() for _ in range(5)]
    for fd in kept:
        os.close(fd)
    found = enqueue.enqueue(home, rehearsals(1, number, steps=1), {})
    taken += [os.open(os.devnull, os.O_RDONLY) for _ in kept]
    return found


def test_processes_that_keep_a_slot_are_named_and_ended_when_asked(home: Home, cli: Cli) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    durable.make_dir(home.path / "slots")
    with frozen(f"flock:{home.slot('cpu:0')}") as process:
        runner = lead(home)
        until(lambda: runner.tick() and "`datadream queue free cpu:0` ends them" in reason(home, job))
        assert f"(pid {process.pid} on " in reason(home, job)
        shown = cli("queue", "show")
        assert f"(pid {process.pid} on " in shown.stdout
        assert json.loads(cli("queue", "show", "--json").stdout)["reason"] == reason(home, job)
        asked = cli("queue", "free", "cpu:0")
        assert (asked.returncode, process.poll()) == (2, None)
        assert f"(pid {process.pid} on " in asked.stderr
        assert "confirm with --yes" in asked.stderr
        freed = cli("queue", "free", "cpu:0", "--yes")
        assert (freed.returncode, freed.stdout) == (0, "slot cpu:0 is free: 1 ended\n")
        assert process.wait(10) == -signal.SIGTERM
        until(lambda: not runner.tick() or not (home.queue / job).exists())
        runner.close()
    assert state.derive(home, job).state == "done"
    assert not trouble.read(home)
    until(lambda: cli("queue", "free", "cpu:0").stdout == "slot cpu:0 is free\n")  # its worker may still be leaving
    assert cli("queue", "free", "cuda:7").returncode == 2


def test_a_slot_that_is_in_use_is_not_freed(home: Home, cli: Cli) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=100_000, children=1), {})
    spawn.ensure_runner(home)
    until(lambda: steps_done(home, job) > 1)
    refused = cli("queue", "free", "cpu:0", "--yes")
    assert refused.returncode == 2
    assert f"job {job[:8]} runs there" in refused.stderr
    control.cancel(home, job)
    wait_for(home, job, "cancelled")
    (job,) = enqueue.enqueue(home, rehearsals(1, 1, steps=1), {})
    (again,) = enqueue.enqueue(home, rehearsals(1, 2), {}, launcher="local")
    control.pause(home, again)
    wait_for(home, job, "done")
    found = orphans.keepers(home, "cpu:0")
    if found and leader.is_led(home):  # until the runner leaves
        with pytest.raises(UserError, match=r"the runner .* has a worker there"):
            orphans.free(home, "cpu:0", found, 0.1)


def test_children_of_a_worker_end_with_it(home: Home) -> None:
    """They had its handlers: the signal that should end them was taken for a wish to stop, and the slot kept for ever."""
    enqueue.enqueue(home, rehearsals(2, steps=2, children=2), {})
    runner = spawn.ensure_runner(home)
    assert runner is not None
    wait_for_end(home)
    assert runner.wait(60) == 0
    # a process that ends loses its command line a moment before its locks
    until(lambda: not processes_of(home) and not queue.is_taken(home, "cpu:0"), 30)


STAYS = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.write(int(sys.argv[sys.argv.index("--told") + 1]), b"ready 0\\n")
os.fork()
time.sleep(3600)
"""


def test_a_worker_that_never_leaves_is_ended_with_its_group(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(home, FAST.model_copy(update={"slots": ("cpu:0",), "grace_seconds": 0.2}))
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    monkeypatch.setattr(spawn, "command", lambda *words: [sys.executable, "-c", STAYS, *words])
    started = []
    hire = pool.hire
    monkeypatch.setattr(staff, "hire", lambda *arguments: started.append(hire(*arguments)) or started[-1])
    runner = lead(home)
    until(lambda: runner.tick() and started)
    write_settings(home, FAST.model_copy(update={"slots": ("cpu:1",), "grace_seconds": 0.2, "paused": True}))
    until(lambda: ticked(runner) and started[0].process.poll() is not None)
    until(lambda: not queue.is_taken(home, "cpu:0"))
    runner.close()
    assert state.attempts(home.job(job)) <= 1


def ticked(runner: Runner) -> bool:
    runner.tick()
    return True


def _folder(path: Path) -> None:
    path.mkdir(parents=True)


def _pipe(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [_folder, _pipe])
def test_a_slot_whose_file_is_none_is_named_and_the_others_are_used(
    spoil: Any, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "PATIENCE_SECONDS", 0.3)
    spoil(home.slot("cpu:0"))
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    assert until_it_leaves(home).left
    assert reason(home, job).startswith("no job can start: slot cpu:0 can't be used (")
    assert str(home.slot("cpu:0")) in reason(home, job)
    write_settings(home, FAST.model_copy(update={"slots": ("cpu:0", "cpu:1")}))
    assert not until_it_leaves(home).left
    assert state.derive(home, job).slot == "cpu:1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"slots": ["banana"]}', "slots.0: 'banana' is not a slot"),
        (b'{"slots": 3}', "slots: "),
        (b'{"grace_seconds": -1}', "grace_seconds: "),
        (b"{torn", "can't be used"),
        (b"\xff" * 100, "can't be used"),
        (b" " * (2 << 20), "larger than 1 MiB"),
        (None, "not a regular file"),
    ],
)
def test_settings_that_can_not_be_used_start_nothing_and_are_named(
    content: bytes | None, said: str, home: Home, cli: Cli
) -> None:
    home.queue_settings.unlink()
    if content is None:
        home.queue_settings.mkdir()
    else:
        home.queue_settings.write_bytes(content)
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=1), {})
    until_it_leaves(home)
    assert said in reason(home, job)
    assert str(home.queue_settings) in reason(home, job)
    with pytest.raises(UserError, match=r"queue\.json can't be used"):
        monitored(home, job)
    if content is not None and content.startswith(b'{"slots": ['):
        assert cli("job", "wait").returncode == 2
        assert said in cli("queue", "show").stdout
        mended = cli("queue", "set", "--slots", "auto", "--retry-seconds", "0")
        assert "kept as queue.json.previous and rewritten" in mended.stderr
        assert durable.previous(home.queue_settings).read_bytes() == content
        assert cli("job", "wait").returncode == 0


def monitored(home: Home, job: str) -> None:
    """A wait that looks at once."""
    found = watch.Watch(home)
    until(lambda: not leader.is_led(home))
    found.look()


def test_no_slot_at_all_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    monkeypatch.setattr(queue, "slots", lambda settings: ())
    assert reason(home, job).startswith("no job can start: no slots")
    assert watch.look(home).stuck


def test_a_launcher_that_is_not_installed_is_the_jobs_own_reason(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psij", None)
    (job,) = enqueue.enqueue(home, rehearsals(1), {}, launcher="slurm")
    runner = lead(home)
    until(lambda: runner.tick() and state.history(home.job(job))[-1]["reason"].startswith("resubmitting"))
    runner.close()
    assert "slurm needs PSI/J: install it with `pip install 'datadream[cluster]'`" in reason(home, job)


CRASH = """
import os
words = open("/proc/self/cmdline", "rb").read().split(b"\\0")
if b"runner" in words:
    os.write(2, b"first line\\nno licence for this runner\\n")
    os._exit(7)
"""


def test_a_runner_that_ends_at_once_is_told_with_its_last_line(home: Home, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASH)
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    path = f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    for command in (("job", "wait"), ("job", "watch", job)):
        waited = cli(*command, PYTHONPATH=path)
        assert waited.returncode == 2
        assert "the runner exits at once, with status 7: no licence for this runner" in waited.stderr


def test_a_runner_that_ends_by_a_mistake_of_ours_tells_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    monkeypatch.setattr(Runner, "_look", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module.run(home)
    assert "the runner crashed with ZeroDivisionError: division by zero; its log is " in reason(home, job)
    assert not leader.is_led(home)


def test_a_worker_that_is_stopped_is_said_to_be(home: Home) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1, steps=100_000), {})
    spawn.ensure_runner(home)
    until(lambda: steps_done(home, job) > 1)
    (worker,) = processes_of(home)
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: f"its worker (pid {worker.pid}) is stopped: `kill -CONT" in state.derive(home, job).reason)
    os.kill(worker.pid, signal.SIGCONT)
    until(lambda: state.derive(home, job).reason == "")


def test_whoever_waits_hears_of_a_paused_queue_and_of_a_full_disk(
    home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.change(home, paused=True)
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    waited = cli("job", "wait", "--timeout", "4")
    assert waited.returncode == 124
    assert "datadream: the queue is paused\n" in waited.stderr
    queue.change(home, paused=False)
    from datadream.home import outlook

    monkeypatch.setattr(outlook, "ROOM_BYTES", 1 << 60)
    assert reason(home, job).startswith("waiting for disk space: ")
    assert not watch.look(home).stuck


def test_what_a_runner_tells_is_read_whatever_is_in_the_file(home: Home) -> None:
    durable.make_dir(home.runner)
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    for content in ("", "[]", '{"what": 3, "slots": [], "left": "yes"}', "{" * 100_000):
        (home.runner / "trouble.json").write_text(content)
        assert not trouble.read(home).left
        state.derive(home, job)


def test_a_want_of_descriptors_is_not_taken_for_an_empty_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a job that is cancelled would run, and one that is done would be lost."""
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    control.cancel(home, job)
    real = durable.open_regular

    def refuse(path: Path) -> Any:
        if path.name in names:
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return real(path)

    monkeypatch.setattr(durable, "open_regular", refuse)
    for names in (["control.json"], ["request.json"], ["spec.json"], ["history.jsonl"], ["queue.json"]):
        submit_again = names == ["queue.json"]
        with pytest.raises(OSError, match="Too many open files"):
            queue.look(home) if submit_again else state.derive(home, job)
