"""What 5,000 waiting jobs cost: `python -m benchmarks.queue [JOBS]`.

Processor seconds of the runner alone, at rest (one job runs, all others wait) and for each job that ends; of `datadream
job ls` beside a queue of ten; and of submitting five times as many. The bars are those of docs/jobs.md.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.spec import JobSpec
from datadream.jobs import leader, spawn
from datadream.plans.enqueue import enqueue
from datadream.stages.settings import RehearseSettings

JOBS, FEW, ENDED = 5_000, 10, 200
REST_SECONDS = 20.0
SETTLED = 0.05  # of a core: below this the runner has read what there was to read
TICKS = os.sysconf("SC_CLK_TCK")
BARS = {"rest": 3.0, "job": 0.05, "ls": 2.0, "submit": 1.5}


def rehearsals(count: int, first_seed: int, **settings: object) -> list[JobSpec]:
    """As many jobs that differ in their seeds."""
    dumped = RehearseSettings.model_validate(settings).model_dump(mode="json")
    return [JobSpec(stage="rehearse", settings=dumped, inputs={}, seed=first_seed + i) for i in range(count)]


def cpu_seconds(pid: int) -> float:
    """Of one process, all its threads, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def start_runner(home: Home) -> subprocess.Popen[bytes]:
    """A runner of ours, leading."""
    log = (home.path / "bench.log").open("ab")
    process = subprocess.Popen(
        spawn.command("runner", "--home", str(home.path), "--idle-seconds", "600"),
        env=spawn.environment(),
        stdout=log,
        stderr=log,
    )
    log.close()
    while not leader.is_led(home):
        time.sleep(0.05)
    return process


def settle(pid: int) -> float:
    """Wait until the runner has read its queue; the processor seconds that took."""
    before, still = cpu_seconds(pid), 0
    began = before
    while still < 3:
        time.sleep(2.0)
        now = cpu_seconds(pid)
        still = still + 1 if now - before < 2 * SETTLED else 0
        before = now
        if before - began > 120:
            break
    return before - began


def ls_seconds(home: Home) -> float:
    """Processor seconds of the first page, the median of five."""
    found = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            spawn.command("job", "ls", "--home", str(home.path)),
            env=spawn.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found[1:])


def say(name: str, value: float, unit: str, bar: str) -> None:
    """One line; a figure over its bar is marked, and nothing more: machines differ."""
    over = "  OVER" if value > BARS[bar] else ""
    print(f"{name:<56} {value:8.3f} {unit:<10} bar {BARS[bar]:g}{over}", flush=True)


def submit_seconds(home: Home, count: int, first: int) -> float:
    """Processor seconds of submitting."""
    before = time.process_time()
    enqueue(home, rehearsals(count, first, steps=1, step_seconds=0.0), {})
    return time.process_time() - before


def main(jobs: int) -> None:
    """All four figures."""
    with tempfile.TemporaryDirectory() as folder:
        paused = QueueSettings(paused=True)
        few = open_home(Path(folder) / "few")
        write_settings(few, paused)
        submit_seconds(few, FEW, 0)
        home = open_home(Path(folder) / "many")
        write_settings(home, paused)
        fifth = submit_seconds(home, jobs // 5, 1_000_000)
        rest = submit_seconds(home, jobs - jobs // 5, 2_000_000)
        say(f"submit {jobs:,} jobs, a job, against the first {jobs // 5:,}", rest / fifth / 4, "x", "submit")
        say(f"`job ls` with {jobs:,} jobs against {FEW}", ls_seconds(home) / ls_seconds(few), "x", "ls")
        long = rehearsals(1, 0, steps=1, step_seconds=3600.0)
        enqueue(home, long, {}, priority=9)
        write_settings(home, QueueSettings())
        runner = start_runner(home)
        try:
            print(f"{'read a queue of that size':<56} {settle(runner.pid):8.3f} s", flush=True)
            before = cpu_seconds(runner.pid)
            time.sleep(REST_SECONDS)
            used = cpu_seconds(runner.pid) - before
            say(f"{jobs:,} wait, one runs: of a core", 100 * used / REST_SECONDS, "%", "rest")
            write_settings(home, QueueSettings(slots=("cpu:0", "cpu:1")))
            waiting = len(list(home.queue.iterdir()))
            before = cpu_seconds(runner.pid)
            while waiting - len(list(home.queue.iterdir())) < min(ENDED, jobs // 2):
                time.sleep(0.2)
            ended = waiting - len(list(home.queue.iterdir()))
            say(f"a job that ends, of {ended}", (cpu_seconds(runner.pid) - before) / ended, "CPU s", "job")
            say(f"`job ls` meanwhile against {FEW}", ls_seconds(home) / ls_seconds(few), "x", "ls")
        finally:
            write_settings(home, paused)
            runner.terminate()
            runner.wait(60)
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with_home = path.read_bytes() if path.exists() else b""
                if str(home.path).encode() in with_home and b"worker" in with_home:
                    os.kill(int(path.parent.name), 9)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else JOBS)
