"""The clock jumps by years and hours while jobs run: order is by number, nobody is taken for dead."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import state
from datadream.home.layout import open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import spawn
from datadream.plans.enqueue import enqueue
from tests.faults.scale import record, scale
from tests.runners import kill_all, processes_of, rehearsals, steps_done, until, wait_for_end

YEARS, HOUR = 10 * 365 * 86400, 3600
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    char text[32] = {0};
    int fd = open(getenv("DATADREAM_TEST_SHIFT"), O_RDONLY);
    if (fd < 0) return 0;
    if (read(fd, text, 31) < 0) text[0] = 0;
    close(fd);
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *t) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int found = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += shift();
    return found;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture
def shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; the seconds in it are added to the clock of every process we start."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler for a clock of our own")
    source, library, file = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "shift"
    source.write_text(SHIM)
    file.write_text("0")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("DATADREAM_TEST_SHIFT", str(file))
    shown = subprocess.run(["date", "+%Y"], capture_output=True, text=True, check=True).stdout
    file.write_text(str(YEARS))
    moved = subprocess.run(["date", "+%Y"], capture_output=True, text=True, check=True).stdout
    if int(moved) - int(shown) not in (9, 10):
        pytest.skip("the clock of our own is not heeded here")
    file.write_text("0")
    return file


def test_jumps_while_jobs_run(tmp_path: Path, shift: Path) -> None:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(retry_seconds=0.0))
    steps = scale(120, 600)
    jobs = enqueue(home, rehearsals(3, steps=steps), {})
    spawn.ensure_runner(home)
    jumps = [YEARS, -YEARS, HOUR, -HOUR, 0] * scale(1, 4)
    for number, jump in enumerate(jumps):
        until(lambda number=number: sum(steps_done(home, job) for job in jobs) > 15 * (number + 1))  # type: ignore[misc]
        shift.write_text(str(jump))
        assert len(processes_of(home, "runner")) == 1
    wait_for_end(home)
    stamps = 0
    for job in jobs:
        status = state.derive(home, job)
        assert (status.state, status.attempts) == ("done", 1)
        assert [line["state"] for line in state.history(home.job(job))] == ["queued", "running", "done"]
        events = durable.read_jsonl(home.job(job) / "events.jsonl")[0]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        seconds = [event["seconds"] for event in events]
        assert all(0 <= a <= b for a, b in itertools.pairwise(seconds))
        stamps += len({event["at"][:4] for event in events})
    assert stamps > len(jobs)  # the clock did jump under them
    os.environ.pop("LD_PRELOAD")
    kill_all(home)
    record("clock-jumps", jumps=len(jumps), jobs=len(jobs), outcome="no false death, numbers in order, durations >= 0")
