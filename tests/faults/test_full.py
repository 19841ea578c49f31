"""A disk full to the last byte, and guards before that: a sentence in every command, a cancel that always works."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.errors import UserError
from datadream.home import control, queue, room, state
from datadream.home.layout import Home, open_home
from datadream.jobs import leader, spawn
from datadream.jobs.failures import EXIT_STORAGE
from datadream.jobs.runner import Runner
from datadream.models.presets import ModelRef
from datadream.plans import enqueue
from store import index, queries
from store.registry import REVISION, Registry
from tests.conftest import run_cli
from tests.faults.scale import record, scale
from tests.runners import kill_all, processes_of, rehearsals, runner_of, steps_done, until

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "store" / "data"

LISTING: list[list[str]] = [
    ["job", "ls"], ["job", "show", "JOB"], ["job", "log", "JOB"], ["queue", "show"], ["set", "ls"], ["set", "show", "d2"],
    ["runs", "ls"], ["adapter", "ls"], ["synth", "ls"], ["synth", "marks", "SYNTH"], ["classifier", "ls"], ["compare"],
    ["experiment", "ls"], ["tag", "ls"], ["recipe", "ls"], ["recipe", "show", "real-only"], ["home", "show"], ["gc"],
    ["gc", "--trash"], ["runs", "show", "RUN"], ["registry", "check"], ["--version"], ["run", "zero-shot", "--set", "d2", "--dry-run"],
]  # fmt: skip
WRITING: list[list[str]] = [
    ["set", "make", "digits", "--shots", "1", "--name", "other"], ["rehearse", "--detach"], ["queue", "pause"],
    ["queue", "set", "--slots", "cpu:0"], ["queue", "resume"], ["job", "pause", "OPEN"], ["job", "priority", "OPEN", "3"],
    ["job", "retry", "DONE"], ["tag", "add", "d2", "word"], ["tag", "rm", "d2", "word"], ["note", "d2", "words"],
    ["experiment", "make", "mine", "RUN"], ["synth", "mark", "SYNTH", "zero/0"], ["registry", "rebuild"],
    ["registry", "backup", "HOME/copy.db"], ["compare", "--format", "csv", "--output", "HOME/table.csv"],
    ["run", "real-only", "--set", "d2", "--detach", "-o", "classify.steps=9"], ["home", "init"], ["gc", "--apply", "--grace", "0"],
    ["gc", "--empty-trash"], ["demo", "--json", "HOME/rows.json"], ["run", "zero-shot", "--source", "digits", "--shots", "1"],
]  # fmt: skip


def prepared(ran: Path, place: Path, registry: str) -> dict[str, str]:
    """A copy of a home with something in everything, and a job that waits."""
    home = Home(Path(shutil.copytree(ran, place, ignore=shutil.ignore_patterns("hf", "log.txt"))))
    queue.write_settings(home, queue.QueueSettings(paused=True))
    job, waits = enqueue.enqueue(home, rehearsals(2), {})
    (done,) = enqueue.enqueue(home, rehearsals(1, 5), {})
    control.cancel(home, done)
    (home.queue / done).unlink()
    if registry == "none":
        for path in place.glob("registry.db*"):
            path.unlink()
    elif registry == "whole":
        index.open_registry(home).close()
    words = {"JOB": job, "OPEN": waits, "DONE": done, "HOME": str(place)}
    words["RUN"] = next((place / "runs").glob("[!.]*.json")).stem
    words["SYNTH"] = next((place / "artifacts" / "synthetic").glob("[!.]*")).name
    return words


def said_in_full(name: str, results: list[Any], must: int) -> None:
    """Nothing unexpected, no traceback, one sentence a line; the first `must` commands work."""
    for number, (words, status, out, err) in enumerate(results):
        shown = (name, " ".join(words), status, out[-500:], err[-1500:])
        assert status in (0, 2), shown
        assert "Traceback" not in err, shown
        assert "unexpected" not in err, shown
        assert "sqlite3." not in err, shown
        assert "OperationalError" not in err, shown
        assert number >= must or status == 0, shown
        if status == 2:
            last = err.strip().splitlines()[-1]
            assert last.startswith("datadream: "), shown
            assert ": " in last.removeprefix("datadream: "), shown  # what is to be done
            assert any(word in err for word in ("no space left", "B free")), shown


def filled(words: dict[str, str], commands: list[list[str]]) -> list[list[str]]:
    def put(word: str) -> str:
        for name, value in words.items():
            word = word.replace(name, value)
        return word

    return [[put(word) for word in command] for command in commands]


TMPFS = 'mount -t tmpfs -o size="$1",mode=700 none "$2" && cp -a "$3/." "$2/" && exec "$4" -m tests.faults.fulldisk "$5" "$6"'


def on_tmpfs(tmp_path: Path, source: Path, commands: list[list[str]], extra: int) -> list[Any]:
    """What the commands do on a file system of their own, full to the last byte."""
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    probe = [*unshare, "sh", "-c", 'mount -t tmpfs -o size=64k none "$0"', str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine")
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in source.rglob("*") if path.is_file()) + extra
    mounted = tmp_path / "mounted"
    mounted.mkdir(exist_ok=True)
    plan, out = tmp_path / "plan.json", tmp_path / "out.json"
    plan.write_text(json.dumps({"home": str(mounted), "fill": True, "limit": None, "commands": commands}))
    out.unlink(missing_ok=True)
    arguments = [str(size), str(mounted), str(source), sys.executable, str(plan), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*unshare, "sh", "-c", TMPFS, "sh", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("registry", scale(["none"], ["none", "whole"]))
def test_every_command_on_a_disk_full_to_the_last_byte(registry: str, ran: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    words = {**prepared(ran, source, registry), "HOME": str(tmp_path / "mounted")}
    must = [["job", "cancel", "JOB"], *LISTING]
    results = on_tmpfs(tmp_path, source, filled(words, [*must, *WRITING]), extra=scale(256, 256) << 10)
    said_in_full(f"full disk, registry {registry}", results, len(must))
    cancelled = next(out for words, _, out, _ in results if words[:2] == ["job", "show"])
    assert "cancelled" in cancelled.splitlines()[1]
    listed = next(out for words, _, out, _ in results if words == ["runs", "ls"])
    assert len(listed.strip().splitlines()) == 9
    record(
        "full-disk",
        how="tmpfs",
        registry=registry,
        commands=len(results),
        outcome="one sentence, cancel and lists work",
    )


@pytest.mark.parametrize("limit", scale([0, 100_000], [0, 300, 5_000, 100_000, 300_000]))
def test_every_command_where_files_may_not_grow(limit: int, ran: Path, tmp_path: Path) -> None:
    """EFBIG, at once or in the middle of a file; SQLite calls it an I/O error. A quota is the same."""
    source = tmp_path / "home"
    words = prepared(ran, source, "whole" if limit else "none")
    commands = filled(words, [["job", "cancel", "JOB"], *LISTING, *WRITING])
    plan, out = tmp_path / "plan.json", tmp_path / "out.json"
    plan.write_text(json.dumps({"home": str(source), "fill": False, "limit": limit, "commands": commands}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fulldisk", str(plan), str(out)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stderr
        results = json.loads(out.read_text())
        assert len(results) == len(commands)
        for words_, status, _, err in results:
            assert status in (0, 2), (words_, status, err)
            assert "Traceback" not in err and "unexpected" not in err, (words_, err)
        assert state.derive(Home(source), words["JOB"]).state == "cancelled"
    finally:
        kill_all(Home(source))
    record("full-disk", how=f"RLIMIT_FSIZE {limit}", commands=len(commands), outcome="one sentence, cancel works")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    queue.write_settings(home, queue.QueueSettings(retry_seconds=0.0, grace_seconds=5.0))
    yield home
    kill_all(home)


def no_room(monkeypatch: pytest.MonkeyPatch, number: int, also_empty: bool) -> None:
    """Nothing can be written any more by this process; not even an empty file be made, where `also_empty`."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    real = os.open
    reserve = []

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT and also_empty and not reserve and not Path(path).exists():
            refuse()
        return real(path, flags, *more, **named)

    removed = os.unlink

    def unlink(path: Any, *more: Any, **named: Any) -> None:
        if Path(path).name == ".reserve" and Path(path).exists():
            reserve.append(path)
        removed(path, *more, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", refuse)
    for name in ("write", "pwrite"):
        monkeypatch.setattr(os, name, refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("also_empty", [False, True])
def test_a_job_is_cancelled_where_nothing_can_be_written(
    number: int, also_empty: bool, running: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueue.enqueue(running, rehearsals(2), {})
    with monkeypatch.context() as patch:
        no_room(patch, number, also_empty)
        control.cancel(running, jobs[0])
        assert state.derive(running, jobs[0]).state == "cancelled"
        with pytest.raises(UserError, match="no space left"):
            control.set_priority(running, jobs[1], 3)
    assert state.derive(running, jobs[0]).state == "cancelled"
    assert state.derive(running, jobs[1]).state == "queued"
    enqueue.enqueue(running, rehearsals(2), {})  # and wanted again, when there is room
    assert state.derive(running, jobs[0]).state == "queued"
    control.cancel(running, jobs[0])
    control.retry(running, jobs[0])
    assert state.derive(running, jobs[0]).state == "queued"


def test_a_running_job_is_ended_by_a_cancel_on_a_full_disk(running: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=100_000), {})
    spawn.ensure_runner(running)
    until(lambda: steps_done(running, job) > 3)
    with monkeypatch.context() as patch:
        no_room(patch, errno.ENOSPC, also_empty=False)
        control.cancel(running, job)
    until(lambda: state.derive(running, job).state == "cancelled")


# Guards


def elsewhere(home: Home, what: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`what` of a home on another disk, which has next to nothing free."""
    other = Path("/dev/shm") / f"datadream-{os.getpid()}-{time.monotonic_ns()}"
    if not other.parent.is_dir() or other.parent.stat().st_dev == home.path.stat().st_dev:
        pytest.skip("no second file system on this machine")
    other.mkdir(mode=0o700)
    place = home.path / what
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.rename(place.with_name("before"))
    place.symlink_to(other)
    real = shutil.disk_usage

    def usage(path: Any) -> Any:
        found = real(path)
        return found._replace(free=3 << 20) if Path(path).resolve().is_relative_to(other) else found

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return other


@pytest.mark.parametrize("what", ["artifacts", "artifacts/rehearsal", "jobs"])
def test_what_is_asked_must_fit_on_the_disk_that_it_goes_to(
    what: str, running: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue.enqueue(running, rehearsals(1), {})
    if what == "jobs":
        shutil.move(running.path / "jobs", running.path / "kept")
    other = elsewhere(running, what, monkeypatch)
    try:
        if what == "jobs":
            shutil.copytree(running.path / "kept", other, dirs_exist_ok=True)
        status = state.derive(running, job)
        assert status.state == "queued"
        assert status.reason.startswith("waiting for disk space: 3 MiB free on the disk of ")
        assert what.split("/")[0] in status.reason
        leadership = leader.take(running)
        assert leadership is not None
        runner = Runner(running, leadership, idle_seconds=0.0)
        for _ in range(3):
            runner.tick()
        assert state.attempts(running.job(job)) == 0
        runner.close()
        if what != "jobs":
            with pytest.raises(UserError, match=r"needs .*; 3.0 MiB free") as caught:
                enqueue.enqueue(running, rehearsals(1, 7), {})
            assert "artifacts" in str(caught.value.at)
    finally:
        shutil.rmtree(other)


def test_a_worker_stops_before_the_disk_it_writes_to_is_full(running: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from datadream.home import lease
    from datadream.jobs import worker

    (spec,) = rehearsals(1)
    other = elsewhere(running, "artifacts", monkeypatch)
    try:
        monkeypatch.setattr(worker, "ROOM_SECONDS", 0.0)
        told: list[Any] = []
        emit = worker._with_room(running, spec, lease.Held(-1), told.append)
        with pytest.raises(UserError, match="no space left") as caught:
            emit({"kind": "progress"})
        assert durable.is_storage(caught.value)
        assert caught.value.at == running.path / "artifacts"
    finally:
        shutil.rmtree(other)
    assert told == [{"kind": "progress"}]


def test_room_is_looked_for_where_files_go(running: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert abs(room.least(running).size - free) < 1 << 30
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    model = ModelRef(location="org/model", revision="main")
    assert room.cache_of(model) == tmp_path / "hf" / "hub"
    (tmp_path / "hf" / "hub" / "models--org--model" / "snapshots" / "abc").mkdir(parents=True)
    assert room.cache_of(model) is None  # it is there
    blobs = tmp_path / "hf" / "hub" / "models--org--model" / "blobs"
    blobs.mkdir()
    (blobs / "x.incomplete").touch()
    assert room.cache_of(model) == tmp_path / "hf" / "hub"
    assert room.cache_of(ModelRef(location=str(tmp_path), digest="x")) is None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert room.cache_of(model) == tmp_path / "cache"
    monkeypatch.setattr(room, "TEMPORARY_BYTES", 1 << 62)
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    if Path("/dev/shm").is_dir():
        assert {found.at for found in room._free([running.path, Path("/dev/shm")])} >= {Path("/dev/shm")}


def test_a_full_disk_is_named_by_the_file_that_found_no_room(tmp_path: Path) -> None:
    from datadream.jobs.failures import _judge

    error = OSError(errno.ENOSPC, "No space left on device", "/cache/hub/models--a--b/blobs/x.incomplete")
    wrapped = UserError("can't load the diffusion model: [Errno 28] No space left on device")
    wrapped.__cause__ = error
    kind, text, status = _judge(wrapped, tmp_path)
    assert (kind, status) == ("storage", EXIT_STORAGE)
    assert text.startswith("no space left (/cache/hub/models--a--b/blobs/x.incomplete)")


# The registry


@pytest.mark.parametrize("revision", ["0001", "0002"])
@pytest.mark.parametrize("limit", [0, 20_000, 60_000])
def test_a_migration_without_room_says_so_and_leaves_the_old_as_it_was(
    revision: str, limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "registry.db"
    shutil.copy(OLD / f"registry-{revision}.db", path)
    before = path.read_bytes()
    code = (
        "import resource, sys; from pathlib import Path; from store.registry import Registry\n"
        "from datadream.errors import UserError\np = Path(sys.argv[1])\nn = int(sys.argv[2])\n"
        "import store.migrations.run\nresource.setrlimit(resource.RLIMIT_FSIZE, (n, n))\n"
        "try:\n    Registry.open(p, p.with_name('lock'))\nexcept UserError as error:\n    print(error)\n    sys.exit(7)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 7, done.stderr
    assert f"no space left to upgrade the registry from schema {revision} to {REVISION}; it is unchanged" in done.stdout
    assert "free 1 MiB, or remove registry.db" in done.stdout
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"registry.db", "lock"}
    Registry.open(path, tmp_path / "lock").close()  # with room it goes on


def test_a_migration_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    from tests.faults.power import at_every_call

    path = tmp_path / "registry.db"

    def before() -> None:
        for entry in tmp_path.iterdir():
            entry.unlink()
        shutil.copy(OLD / "registry-0001.db", path)

    def after() -> None:
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchone() in (("0001",), (REVISION,))
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        told: list[str] = []
        registry = Registry.open(path, tmp_path / "lock", notices=told.append)
        assert registry.problems() == []
        assert not any("damaged" in line for line in told)
        registry.close()

    deaths = at_every_call(lambda: Registry.open(path, tmp_path / "lock").close(), before, after)
    record("killed-at-every-change", what="migration", deaths=deaths, outcome="old or new")


def test_rebuilds_at_once_wait_for_each_other(ran_copy: Path) -> None:
    started = [
        subprocess.Popen(
            spawn.command("registry", "rebuild", "--home", str(ran_copy)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(scale(3, 8))
    ]  # fmt: skip
    said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [0] * len(started), said
    assert {out for out, _ in said} == {said[0][0]}
    assert "8 run" in said[0][0]
    waited = [err for _, err in said if ".registry.rebuild: " in err]
    assert waited or len({err for _, err in said}) == 1  # unless none met another
    registry = index.connect(Home(ran_copy))
    assert registry.problems() == []
    assert queries.count(registry, "run") == 8
    registry.close()
    assert not list(ran_copy.glob(".registry.db.rebuilt*"))
    record("rebuilds-at-once", rebuilds=len(started), outcome="each done, one registry")


def test_a_rebuild_without_room_leaves_the_old_registry(ran_copy: Path) -> None:
    index.open_registry(Home(ran_copy)).close()
    limited = ["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", sys.executable, "-m", "datadream", "registry", "rebuild"]
    environment = {**os.environ, "DATADREAM_HOME": str(ran_copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(limited, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(ran_copy.glob(".registry.db.rebuilt*"))
    registry = index.connect(Home(ran_copy))
    assert queries.count(registry, "run") == 8
    registry.close()


def test_what_is_printed_to_a_full_disk_is_missed(home: Home) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            spawn.command("recipe", "ls"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.strip().startswith("datadream: no space left (standard output")
    assert len(done.stderr.strip().splitlines()) == 1


# Homes that were copied, and crashes


def test_a_copied_home_leaves_the_originals_workers_alone(running: Home, tmp_path: Path) -> None:
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=scale(600, 3000)), {})
    spawn.ensure_runner(running)
    until(lambda: steps_done(running, job) > 5)
    (worker,) = processes_of(running)
    first = runner_of(running)
    copy = Home(tmp_path / "copy")
    copied = subprocess.run(
        ["cp", "-a", str(running.path), str(copy.path)], capture_output=True, text=True, check=False
    )
    lines = copied.stderr.splitlines()  # a file that went while it was copied is none of the copy's
    assert all("No such file" in line for line in lines), lines
    assert state.derive(running, job).state == "running"
    assert state.derive(copy, job).state in ("lost", "queued"), "nobody works on it there"
    control.cancel(copy, job)
    leadership = leader.take(copy, 1.0)
    assert leadership is not None
    runner = Runner(copy, leadership, idle_seconds=0.0)
    for _ in range(5):
        runner.tick()
    runner.close()
    assert state.derive(copy, job).state == "cancelled"
    control.remove(copy, job)
    assert processes_of(running) == [worker]
    assert runner_of(running) == first
    assert state.derive(running, job).state == "running"
    until(lambda: state.derive(running, job).state == "done", 400)
    assert state.attempts(running.job(job)) == 1
    record("copied-home", jobs=1, outcome="the original's worker was left alone")


def test_a_copied_home_does_not_ask_the_cluster_for_its_originals_jobs(running: Home, tmp_path: Path) -> None:
    from datadream.home import identity

    (job,) = enqueue.enqueue(running, rehearsals(1), {}, launcher="slurm")
    note = {"slot": "slurm", "launcher": "slurm", "epoch": 1}
    assert state.claim(running, job, 1, note)
    native = {"launcher": "slurm", "native": "4711", "attempt": 1, "home": identity.place(running.path)}
    durable.write_json(running.job(job) / "native.json", native)
    assert state.derive(running, job).native == "4711"
    copy = Home(Path(shutil.copytree(running.path, tmp_path / "copy")))
    assert state.derive(copy, job).native == ""
    moved = Home(running.path.rename(tmp_path / "moved"))
    assert state.derive(moved, job).native == "4711"


def test_a_home_that_was_moved_keeps_its_workers(running: Home, tmp_path: Path) -> None:
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=2000), {})
    spawn.ensure_runner(running)
    until(lambda: steps_done(running, job) > 3)
    moved = running.path.rename(tmp_path / "moved")
    try:
        assert state.derive(Home(moved), job).state == "running"
    finally:
        moved.rename(running.path)


def test_a_crash_leaves_no_memory_behind(running: Home, tmp_path: Path) -> None:
    """Neither the command, nor the runner, nor a worker; where cores are written beside the program at all."""
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=100_000), {})
    environment = {**os.environ, "HF_TOKEN": "hf_CANARYcore", "DATADREAM_HOME": str(running.path)}
    folder = tmp_path / "here"
    folder.mkdir()
    command = subprocess.Popen(
        [sys.executable, "-m", "datadream", "job", "wait", job], env=environment, cwd=folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2),
    )  # fmt: skip
    until(lambda: steps_done(running, job) > 2)
    found = [command.pid, *(who.pid for word in ("worker", "runner") for who in processes_of(running, word))]
    assert len(found) == 3
    for pid in found:
        (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
        assert line.split()[4] in ("0", "1"), line
        os.kill(pid, signal.SIGABRT)
    command.wait(60)
    until(lambda: not processes_of(running) and not processes_of(running, "runner"))
    cores = [path for place in (folder, running.path) for path in place.glob("core*")]
    assert cores == []
    record("core-dumps", crashed=len(found), outcome="none")


@pytest.mark.parametrize(("pattern", "hard", "soft"), [("core", -1, 0), ("|/usr/bin/handler %p", -1, 1), ("|/x", 0, 0)])
def test_handlers_of_cores_get_none_either(
    pattern: str, hard: int, soft: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datadream import cores

    (tmp_path / "pattern").write_text(pattern)
    monkeypatch.setattr(cores, "PATTERN", tmp_path / "pattern")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    cores.no_core_dumps()
    assert asked == [(soft, hard)]


def test_the_reserve_is_held_again_after_it_was_needed(home: Home) -> None:
    enqueue.enqueue(home, rehearsals(1), {})
    assert home.reserve.stat().st_size == enqueue.RESERVE_BYTES
    home.reserve.unlink()
    enqueue.enqueue(home, rehearsals(1, 3), {})
    assert home.reserve.exists()


def test_lists_are_whole_where_the_registry_can_not_be_written(ran_copy: Path) -> None:
    shown = run_cli("runs", "ls", "--json", home=ran_copy)
    for path in ran_copy.glob("registry.db*"):
        path.unlink()
    registry = index.open_in_memory(Home(ran_copy))
    assert queries.count(registry, "run") == len(json.loads(shown.stdout)) == 8
    registry.close()
    assert not list(ran_copy.glob("registry.db*"))


@pytest.mark.parametrize("there", [True, False])
def test_the_app_shows_what_there_is_on_a_full_disk(
    there: bool, ran_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from datadream.home import experiments
    from tui.services.data import Data

    home = Home(ran_copy)
    index.open_registry(home).close()
    if there:
        experiments.make_experiment(home, "newer than the registry")
    else:
        for path in ran_copy.glob("registry.db*"):
            path.unlink()

    def refuse(*_: object, **__: object) -> None:
        raise durable.no_space(home.registry) from OSError(errno.ENOSPC, "No space left on device")

    if there:
        connected = index.connect(home)
        monkeypatch.setattr(connected, "writing", refuse)
        monkeypatch.setattr(index, "connect", lambda _: connected)
    else:
        monkeypatch.setattr(index, "connect", refuse)
    data = Data(home)
    data.sync()
    with ThreadPoolExecutor(8) as pool:  # as the app asks
        found = [pool.submit(lambda: queries.count(data.registry(), "run")) for _ in range(20)]
        found += [pool.submit(lambda: data.sync() or queries.count(data.registry(), "run")) for _ in range(5)]
        assert {one.result() for one in found} == {8}
    assert queries.count(data.registry(), "experiment") == int(there)
    data.close()
