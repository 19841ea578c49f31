"""Locks that keep nobody out, hard links and fsync that aren't there: found out, done without, never waited for."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream import durable, locks
from datadream.errors import UserError
from datadream.home import identity, labels, lease, leasefiles, mounts, probe, queue, state
from datadream.home.layout import Home, open_home
from datadream.jobs import leader
from datadream.plans import enqueue
from datadream.storage import Mount, mount_of
from tests.conftest import run_cli
from tests.faults.scale import record, scale
from tests.runners import kill_all, processes_of, rehearsals, steps_done, until

OTHER = Path(__file__).parent / "otherhost"
MODES = ("kernel", "files")


def elsewhere(**more: str) -> dict[str, str]:
    """What makes a Python process that of `tests/faults/otherhost`."""
    path = os.pathsep.join([str(OTHER), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, **{f"DATADREAM_TEST_{name.upper()}": value for name, value in more.items()}}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    queue.write_settings(home, queue.QueueSettings(slots=("cpu:0", "cpu:1"), retry_seconds=0.0, grace_seconds=5.0))
    yield home
    kill_all(home)


def without_kernel_locks(home: Home) -> None:
    mounts.distrust(durable.make_dir(home.path / "labels") / "x", "the test says so")


@pytest.fixture(params=MODES)
def lock_path(request: pytest.FixtureRequest, home: Home) -> Path:
    """A lock of a home, by the kernel and by files."""
    if request.param == "files":
        without_kernel_locks(home)
    path = durable.make_dir(home.path / "labels") / ".lease"
    assert mounts.has_kernel_locks(path) == (request.param == "kernel")
    return path


def _count(path: Path, times: int) -> None:
    counter = path.with_name("counter")
    for _ in range(times):
        with lease.lock(path, seconds=120):
            durable.write_text(counter, str(int(counter.read_text() if counter.exists() else "0") + 1))


def test_a_lock_keeps_out_processes_and_threads(lock_path: Path) -> None:
    processes, threads, times = 3, 2, scale(4, 40)
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_count, args=(lock_path, times)) for _ in range(processes)]
    started += [threading.Thread(target=_count, args=(lock_path, times)) for _ in range(threads)]  # type: ignore[list-item]
    for one in started:
        one.start()
    for one in started:
        one.join(400)
    assert lock_path.with_name("counter").read_text() == str(times * (processes + threads))
    assert not lease.is_held(lock_path)
    record("one-lock", mode=MODES[not mounts.has_kernel_locks(lock_path)], outcome="exact counts",
           processes=processes, threads=threads, times=times)  # fmt: skip


def _hold(path: Path, told: str) -> None:
    with lease.lease(path, lambda _: None):
        Path(told).touch()
        time.sleep(600)


def held_by_another(path: Path) -> multiprocessing.process.BaseProcess:
    told = path.with_name("told")
    told.unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, str(told)))
    process.start()
    until(told.exists)
    return process


def test_a_lock_names_its_holder_and_goes_with_it(lock_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = held_by_another(lock_path)
    try:
        assert lease.is_held(lock_path)
        holder = lease.holder(lock_path)
        assert holder is not None
        assert holder["pid"] == process.pid
        waiting: list[str] = []
        monkeypatch.setattr(locks, "TELL_SECONDS", 0.1)
        named = pytest.raises(locks.LockHeld, match=rf"\(pid {process.pid} on .* holds it since \d\d:")
        with named, lease.lease(lock_path, waiting.append, seconds=1.0):
            pass
        assert len(waiting) == 1
        assert f"(pid {process.pid} on " in waiting[0]
    finally:
        process.kill()
        process.join()
    assert not lease.is_held(lock_path)  # at once: its pid is looked for on this host
    with lease.lock(lock_path, seconds=0.0):
        assert lease.is_held(lock_path)


def test_a_lock_whose_file_was_replaced_is_taken_anew(home: Home) -> None:
    """A job that was removed and asked for again is another job."""
    path = durable.make_dir(home.job("a" * 16)) / "lease"
    process = held_by_another(path)
    try:
        durable.remove_dir(path.parent)
        durable.make_dir(path.parent)
        with lease.lease(path, lambda _: None, seconds=0):
            assert lease.is_held(path)
    finally:
        process.kill()
        process.join()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The observer's clock, in the test's hands."""
    now = [1000.0]
    monkeypatch.setattr(leasefiles.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(leasefiles, "_keep_beating", lambda _: None)
    return now


def on_host(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setattr(identity, "boot_id", lambda proc=None: f"boot of {name}")


def test_another_hosts_lease_is_over_when_its_beat_stands_still(
    home: Home, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_kernel_locks(home)
    path = home.path / "labels" / ".lease"
    on_host(monkeypatch, "first")
    mine = leasefiles.take(path, lease.own_note(path, {}))
    assert mine is not None
    on_host(monkeypatch, "second")
    for _ in range(5):
        assert leasefiles.take(path, lease.own_note(path, {})) is None
        clock[0] += leasefiles.LEASE_SECONDS - 1
        on_host(monkeypatch, "first")
        mine.beat()
        on_host(monkeypatch, "second")
    assert leasefiles.holder(path) is not None
    clock[0] += leasefiles.LEASE_SECONDS + 1
    assert leasefiles.holder(path) is None
    theirs = leasefiles.take(path, lease.own_note(path, {}))
    assert theirs is not None
    assert mine.lost  # it comes back, and finds a higher number
    mine.beat()
    assert not theirs.lost
    mine.release()
    assert leasefiles.holder(path) is not None
    theirs.release()
    assert leasefiles.holder(path) is None


def test_a_dead_holder_of_another_pid_space_is_judged_by_its_beat(
    home: Home, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's pid 7 is no process of ours, and may live."""
    without_kernel_locks(home)
    path = home.path / "labels" / ".lease"
    note = {**lease.own_note(path, {}), "pids": "pid:[1]", "pid": 2**22 - 7}
    assert leasefiles.take(path, note) is not None
    assert leasefiles.holder(path) is not None
    clock[0] += leasefiles.LEASE_SECONDS + 1
    assert leasefiles.holder(path) is None


def test_of_two_that_find_a_lease_over_one_gets_it(
    home: Home, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one, whose number is free again since others came and went, sees a higher one."""
    without_kernel_locks(home)
    path = home.path / "labels" / ".lease"
    folder = path.with_name(".lease.held")
    for _ in range(3):
        record_ = leasefiles.take(path, lease.own_note(path, {}))
        assert record_ is not None
        record_.release()
    last = leasefiles.take(path, lease.own_note(path, {}))
    assert last is not None
    real = leasefiles.newest
    looked: list[int] = []

    def slow(folder: Path) -> int:
        looked.append(1)
        return 1 if len(looked) == 1 else real(folder)

    monkeypatch.setattr(leasefiles, "newest", slow)
    monkeypatch.setattr(leasefiles, "holder", lambda _: None)
    assert leasefiles.take(path, lease.own_note(path, {})) is None
    assert [name.name for name in folder.iterdir()] == ["4"]
    assert not last.lost


def test_a_holder_that_came_before_lease_files_were_needed_is_heeded(home: Home) -> None:
    path = durable.make_dir(home.path / "labels") / ".lease"
    process = held_by_another(path)
    try:
        assert mounts.has_kernel_locks(path)
        without_kernel_locks(home)
        assert lease.is_held(path)
        with pytest.raises(locks.LockHeld), lease.lease(path, lambda _: None, seconds=0.3):
            pass
    finally:
        process.kill()
        process.join()
    with lease.lease(path, lambda _: None, seconds=0.3):
        assert (home.path / "labels" / ".lease.held").is_dir()


# What is tried, and what comes of it


def test_this_file_system_was_tried_and_that_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = durable.make_dir(home.path / "labels") / ".lease"
    assert mounts.has_kernel_locks(path), "the tests' own disk"
    (kept,) = (home.path / "hosts").iterdir()
    found = json.loads(kept.read_text())
    assert (found["host"], found["boot"]) == (socket.gethostname(), identity.boot_id())
    assert found["mount"]["root"] == mount_of(path.resolve()).root
    assert found["features"]["locks"] == ""
    tried: list[Path] = []
    monkeypatch.setattr(probe, "fcntl_locks", lambda folder: tried.append(folder) or "")
    monkeypatch.setattr(mounts, "_known", {})
    assert mounts.has_kernel_locks(path)
    assert tried == []  # by another process of this boot, and of this mount
    monkeypatch.setattr(identity, "boot_id", lambda proc=None: "another boot")
    assert mounts.has_kernel_locks(path)
    assert len(tried) == 1


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process."""
    monkeypatch.setattr(mounts, "_known", {})


def noop(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl
    for name in ("lockf", "flock"):
        monkeypatch.setattr(fcntl, name, lambda *_: None)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, cmd, arg=0: arg if isinstance(arg, bytes) else real(fd, cmd, arg))


def refuse(monkeypatch: pytest.MonkeyPatch, module: object, name: str, number: int) -> None:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EPERM, errno.ENOSYS, None])
def test_locks_that_are_missing_or_keep_nobody_out_are_found_out(
    number: int | None, untried: None, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number is None:
        noop(monkeypatch)
    else:
        for name in ("lockf", "flock"):
            refuse(monkeypatch, fcntl, name, number)
    path = durable.make_dir(home.path / "labels") / ".lease"
    found = mounts.features(path)
    assert found.locks
    assert not found.flock
    with lease.lock(path, seconds=0.0):
        assert lease.is_held(path)
        assert list((home.path / "labels" / ".lease.held").iterdir())
    labels.tag(home, "a" * 16, add=["x"])
    slot = queue.take_slot(home, "cpu:0")
    assert slot is not None
    child = subprocess.Popen(["sleep", "600"], pass_fds=[slot])  # a worker's child that lives on
    os.close(slot)
    try:
        until(lambda: queue.take_slot(home, "cpu:0") is None)
        assert queue.is_taken(home, "cpu:0")
    finally:
        child.kill()
        child.wait()
    assert not queue.is_taken(home, "cpu:0")


def test_locks_that_stop_working_are_done_without(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An NFS server's lock manager may go while we work."""
    path = durable.make_dir(home.path / "labels") / ".lease"
    assert mounts.has_kernel_locks(path)
    refuse(monkeypatch, fcntl, "lockf", errno.ENOLCK)
    with lease.lock(path, seconds=0.0):
        assert not mounts.has_kernel_locks(path)


def test_a_lock_that_never_answers_is_not_waited_for(
    untried: None, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(probe, "SECONDS", 0.2)
    monkeypatch.setattr(fcntl, "lockf", lambda *_: over.wait(60))
    path = durable.make_dir(home.path / "labels") / ".lease"
    assert mounts.features(path).locks == mounts.NO_ANSWER
    monkeypatch.undo()
    over.set()
    with lease.lock(path, seconds=0.0):
        pass


@pytest.mark.parametrize("what", ["excl", "rename", "append"])
def test_a_file_system_that_can_hold_no_home_is_refused_in_a_sentence(
    what: str, untried: None, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "excl":
        real = os.open
        monkeypatch.setattr(
            os, "open", lambda path, flags, *more, **named: real(path, flags & ~os.O_EXCL, *more, **named)
        )
    elif what == "rename":
        refuse(monkeypatch, os, "replace", errno.ENOTSUP)
    else:
        real_write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: os.lseek(fd, 0, 0) or (real_write(fd, data) and os.ftruncate(fd, 1)) or 1)  # fmt: skip
    with pytest.raises(UserError, match="this file system can't hold a home") as caught:
        labels.tag(home, "a" * 16, add=["x"])
    assert mount_of(home.path.resolve()).kind in str(caught.value)
    assert "--home" in str(caught.value)


KINDS: list[tuple[str, str, bool]] = [
    ("ext4", "rw", True), ("xfs", "rw", True), ("tmpfs", "rw", True), ("overlay", "rw", True), ("fuseblk", "rw", True),
    ("nfs4", "rw,vers=4.2", True), ("nfs", "rw,vers=3", True), ("nfs", "rw,nolock", False), ("ceph", "rw", True),
    ("nfs4", "rw,local_lock=all", False), ("nfs", "rw,local_lock=posix", False), ("gpfs", "rw", True),
    ("lustre", "rw,flock", True), ("lustre", "rw,localflock", False), ("lustre", "rw", False),
    ("9p", "rw", False), ("cifs", "rw", False), ("virtiofs", "rw", False), ("beegfs", "rw", False),
    ("fuse.sshfs", "rw", False), ("fuse.fuse-overlayfs", "rw", True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "reach"), KINDS)
def test_what_is_mounted_says_whether_locks_reach_other_hosts(kind: str, options: str, reach: bool) -> None:
    assert (mounts._reach(Mount("1", "0:1", "/", kind, tuple(options.split(",")))) == "") == reach


def test_a_mount_table_is_read_as_it_is_written(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /mnt/a\\040b rw,relatime shared:1 - nfs4 host:/x rw,vers=4.2\n"
        "3 1 0:9 / /mnt rw - tmpfs none rw\nnonsense\n"
    )
    assert mount_of(Path("/mnt/a b/home"), table).kind == "nfs4"
    assert "vers=4.2" in mount_of(Path("/mnt/a b/home"), table).options
    assert mount_of(Path("/mnt/a"), table).kind == "tmpfs"
    assert mount_of(Path("/home"), table).kind == "ext4"
    assert mount_of(Path("/home"), tmp_path / "none") == Mount()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_one_of_many_makes_a_file(number: int, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, os, "link", number)
    path = home.path / "once"
    made: list[bool] = []
    threads = [threading.Thread(target=lambda n=n: made.append(durable.create(path, b"%d" % n))) for n in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert path.read_bytes().isdigit()
    fd = durable.create_locked(home.path / "locked", b"x")
    assert fd is not None
    os.close(fd)
    (home.path / "tree").mkdir()
    durable.write_bytes(home.path / "tree" / "a", b"a")
    durable.link_tree(home.path / "tree", home.path / "other")
    assert (home.path / "other" / "a").read_bytes() == b"a"
    assert not [entry for entry in home.path.iterdir() if durable.is_leftover(entry.name)]


def test_a_link_whose_answer_was_lost_was_made(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server asked twice says that it is there: by our own first try."""
    real = os.link

    def lost(*args: object, **more: object) -> None:
        real(*args, **more)  # type: ignore[arg-type]
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", lost)
    assert durable.create(home.path / "once", b"x")
    monkeypatch.undo()
    assert not durable.create(home.path / "once", b"y")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_without_fsync_everything_is_written_all_the_same(
    number: int, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, os, "fsync", number)
    jobs = enqueue.enqueue(home, rehearsals(2), {})
    labels.tag(home, jobs[0], add=["x"])
    assert state.derive(home, jobs[1]).state == "queued"
    refuse(monkeypatch, os, "fsync", errno.EIO)  # a disk that fails is no disk without fsync
    with pytest.raises((UserError, OSError)):
        labels.tag(home, jobs[0], add=["y"])


# Whole commands

LACKING = ("lockf flock link fsync", "lockf", "flock", "link", "fsync")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("rehearse", "--steps", "2", "--quiet"),
    ("job", "ls"),
    ("rehearse", "--steps", "2000", "--seed", "7", "--detach"),
    ("job", "cancel", "--all"),
    ("job", "wait"),
    ("set", "make", "digits", "--shots", "1", "--name", "d"),
    ("experiment", "make", "mine"),
    ("tag", "add", "d", "good"),
    ("note", "d", "some words"),
    ("queue", "set", "--slots", "cpu:0"),
    ("queue", "pause"),
    ("queue", "show"),
    ("queue", "resume"),
    ("compare",),
    ("registry", "rebuild"),
    ("registry", "check"),
    ("gc", "--apply", "--jobs", "--grace", "0"),
    ("gc", "--trash"),
    ("home", "show"),
)
LONG_ONLY = (
    "experiment make",
    "note d",
    "queue set",
    "queue show",
    "registry check",
    "gc --trash",
    "home show",
    "job ls",
)


def check_commands(home: Path, environment: dict[str, str], commands: tuple[tuple[str, ...], ...]) -> list[str]:
    """Each command works, or says one sentence; none is silent for ever. Those that didn't work."""
    refused = []
    for words in commands:
        result = run_cli(*words, home=home, **environment)
        assert "Traceback" not in result.stderr, (words, result.stderr)
        assert "unexpected" not in result.stderr, (words, result.stderr)
        if words == ("job", "wait") and "cancelled: cancel requested" in result.stderr:
            continue  # the job that was cancelled just before was still ending: its end is none with success
        if result.returncode:
            assert result.returncode == 2, (words, result.returncode, result.stderr)
            assert len(result.stderr.strip().splitlines()) == 1, (words, result.stderr)
            refused.append(" ".join(words))
    return refused


@pytest.mark.parametrize("lacks", LACKING[: scale(1, None)])
def test_every_command_works_where_things_are_missing(lacks: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    short = [words for words in COMMANDS if " ".join(words[:2]) not in LONG_ONLY]
    commands = scale(tuple(short), COMMANDS)
    try:
        assert check_commands(home, elsewhere(lacks=lacks), commands) == []
        statuses = [state.derive(Home(home), path.name).state for path in (home / "jobs").glob("[0-9a-f]*")]
        assert statuses == []  # they were over, and gc took them
    finally:
        kill_all(Home(home))
    record("missing-features", lacks=lacks, commands=len(commands), outcome="every command works")


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(int fd) {
    char link[64], path[4096];
    const char *root = getenv("DATADREAM_TEST_ROOT");
    if (!root) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return !strncmp(path, root, strlen(root));
}
static int lock(const char *name, int fd, int command, void *argument) {
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    int asks = command == F_SETLK || command == F_SETLKW || command == F_GETLK
        || command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
    if (asks && refused(fd)) { errno = ENOLCK; return -1; }
    return real(fd, command, argument);
}
int fcntl(int fd, int command, ...) {
    va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more);
    return lock("fcntl", fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more);
    return lock("fcntl64", fd, command, argument);
}
int flock(int fd, int how) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (refused(fd)) { errno = ENOTSUP; return -1; }
    return real(fd, how);
}
int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (refused(fd)) { errno = EINVAL; return -1; }
    return real(fd);
}
int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    const char *root = getenv("DATADREAM_TEST_ROOT");
    if (root && !strncmp(to, root, strlen(root))) { errno = EPERM; return -1; }
    return real(from, to);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that takes locks, links and fsync from every program, SQLite too, below DATADREAM_TEST_ROOT."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    built = folder / "shim.so"
    try:
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(folder / "shim.c"), "-ldl"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no compiler that makes a library")
    except OSError:
        pytest.skip("no compiler on this machine")
    return built


def test_the_registry_works_where_its_library_gets_no_locks(shim: Path, tmp_path: Path) -> None:
    """SQLite's own locks fail too: it would wait half a minute for each, and then say that it is locked."""
    home = tmp_path / "home"
    environment = {"LD_PRELOAD": str(shim), "DATADREAM_TEST_ROOT": str(home)}
    commands = scale(
        (COMMANDS[0], ("job", "ls"), ("set", "make", "digits", "--shots", "1", "--name", "d"), ("set", "ls")), COMMANDS
    )
    try:
        assert check_commands(home, environment, commands) == []
        listed = run_cli("set", "ls", home=home, **environment)
        assert (
            " d " in f" {listed.stdout.replace('  ', ' ')}"
            or listed.stdout.startswith("d ")
            or "digits" in listed.stdout
        )
    finally:
        kill_all(Home(home))
    record("missing-features", lacks="all, by the system", commands=len(commands), outcome="every command works")


def test_a_registry_made_where_locks_are_good_is_read_where_there_are_none(shim: Path, ran_copy: Path) -> None:
    before = run_cli("runs", "ls", "--json", home=ran_copy)
    environment = {"LD_PRELOAD": str(shim), "DATADREAM_TEST_ROOT": str(ran_copy)}
    after = run_cli("runs", "ls", "--json", home=ran_copy, **environment)
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout) == json.loads(before.stdout)


# Two hosts on one home, whose locks don't reach one another


def start_runner(home: Home, host: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **elsewhere(host=host, pace="4")}
    command = [sys.executable, "-m", "datadream", "runner", "--home", str(home.path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


def check_once(home: Home, steps: int) -> None:
    """Every job is done, and no step, number or word of it was told twice."""
    for folder in (home.path / "jobs").glob("[0-9a-f]*"):
        events = durable.read_jsonl(folder / "events.jsonl")[0]
        assert state.derive(home, folder.name).state == "done"
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["step"] for event in events if event["kind"] == "metric"] == list(range(1, steps + 1))
        attempts = [event["attempt"] for event in events]
        assert attempts == sorted(attempts), "one attempt spoke into another"


def test_two_hosts_whose_locks_do_not_meet_run_no_job_twice(running: Home) -> None:
    steps, rounds = scale(20, 100), scale(2, 6)
    for number in range(rounds):
        enqueue.enqueue(running, rehearsals(2, 10 * number, steps=steps), {})
        hosts = [start_runner(running, name) for name in ("alpha", "beta", "gamma")]
        until(lambda: not list(running.queue.iterdir()), 400)
        for process in hosts:
            process.wait(300)
    check_once(running, steps)
    starts = sum(state.attempts(folder) for folder in (running.path / "jobs").glob("[0-9a-f]*"))
    assert starts == 2 * rounds
    record("hosts-without-common-locks", hosts=3, jobs=starts, outcome="one start a job")


def test_another_host_goes_on_when_one_dies_and_not_before(running: Home) -> None:
    """Its runner is killed: the workers live on, and are left alone. They are killed: their jobs start again."""
    steps = scale(400, 1500)
    jobs = enqueue.enqueue(running, rehearsals(2, steps=steps), {})
    alpha = start_runner(running, "alpha")
    until(lambda: all(steps_done(running, job) > 5 for job in jobs))
    (worker, *_) = processes_of(running)
    alpha.kill()
    alpha.wait()
    beta = start_runner(running, "beta")
    until(lambda: leader.newest(running) == 2, 300)
    time.sleep(1.0)
    assert [state.attempts(running.job(job)) for job in jobs] == [1, 1]  # alpha's workers have them
    for who in processes_of(running):
        if who.start <= worker.start + 10_000 and identity.is_alive(who):
            os.kill(who.pid, signal.SIGKILL)
    until(lambda: not list(running.queue.iterdir()), 500)
    beta.wait(300)
    check_once(running, steps)
    record(
        "host-that-died", steps=steps, jobs=len(jobs), outcome="its workers left alone, then their jobs gone on with"
    )


def test_a_worker_that_was_stopped_leaves_when_another_host_has_its_job(running: Home) -> None:
    steps = scale(300, 1000)
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=steps), {})
    alpha = start_runner(running, "alpha")
    until(lambda: steps_done(running, job) > 5)
    workers = processes_of(running)
    for who in [*workers, *processes_of(running, "runner")]:
        os.kill(who.pid, signal.SIGSTOP)
    beta = start_runner(running, "beta")
    until(lambda: state.attempts(running.job(job)) == 2, 300)
    until(lambda: any(e.get("attempt") == 2 for e in durable.read_jsonl(running.job(job) / "events.jsonl")[0]), 300)
    for who in [*workers, *processes_of(running, "runner")]:
        os.kill(who.pid, signal.SIGCONT)
    until(lambda: not list(running.queue.iterdir()), 400)
    for process in (alpha, beta):
        process.wait(300)
    check_once(running, steps)
    assert "another worker took the job" in (running.job(job) / "log.txt").read_text()
    record("stopped-on-another-host", steps=steps, outcome="the one that was away left")


def test_commands_of_one_host_are_seen_by_another(running: Home) -> None:
    (job,) = enqueue.enqueue(running, rehearsals(1, steps=4000), {})
    alpha = start_runner(running, "alpha")
    until(lambda: steps_done(running, job) > 2)
    shown = run_cli("job", "show", job, home=running.path, **elsewhere(host="beta", pace="4"))
    assert "running" in shown.stdout.splitlines()[1]
    refused = run_cli("job", "rm", job, home=running.path, **elsewhere(host="beta", pace="4"))
    assert refused.returncode == 2
    assert "running" in refused.stderr
    assert run_cli("job", "cancel", job, home=running.path, **elsewhere(host="beta", pace="4")).returncode == 0
    until(lambda: state.derive(running, job).state == "cancelled")
    alpha.wait(300)
    assert len(durable.read_jsonl(running.job(job) / "events.jsonl")[0]) > 2
