"""Homes with a runner at work, as tests need them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datadream import durable
from datadream.home import identity, lease, state
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.home.state import Status
from datadream.jobs import leader, spawn
from datadream.stages.settings import RehearseSettings

SECONDS = 120.0


def rehearsals(count: int, first_seed: int = 0, **settings: object) -> list[JobSpec]:
    dumped = RehearseSettings.model_validate(settings).model_dump(mode="json")
    return [JobSpec(stage="rehearse", settings=dumped, inputs={}, seed=first_seed + seed) for seed in range(count)]


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def has_runner(home: Path) -> bool:
    """Whether a process that was started as this home's runner is still there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"runner" in words and os.fsencode(home) in words:
                return True
    return False


def wait_for_end(home: Home, seconds: float = SECONDS) -> None:
    """Until the queue is empty; a runner that is gone is started again."""

    started = -SECONDS

    def over() -> bool:
        nonlocal started
        if not leader.is_led(home) and time.monotonic() - started > 5:  # one on its way needs a moment to lead
            started = time.monotonic()
            spawn.ensure_runner(home)
        time.sleep(0.08)
        return not list(home.queue.iterdir())

    until(over, seconds)


def wait_for(home: Home, job_id: str, *states: str) -> Status:
    """Until the job is in one of `states`."""
    until(lambda: state.derive(home, job_id).state in states)
    return state.derive(home, job_id)


def steps_done(home: Home, job_id: str) -> int:
    events = durable.read_jsonl(home.job(job_id) / "events.jsonl")[0]
    return max((event["step"] for event in events if event["kind"] == "metric"), default=0)


def runner_of(home: Home) -> identity.Process | None:
    number = leader.newest(home)
    path = home.runner / f"epoch-{number}.json"
    return identity.parse(lease.read_note(path)) if number and leader.is_led(home) else None


def processes_of(home: Home, word: str = "worker") -> list[identity.Process]:
    """Our processes that work in this home: `worker` or `runner`."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            who = identity.identify(int(path.name))
            if word.encode() in words and str(home.path).encode() in words and who is not None:
                found.append(who)
    return found


def kill_all(home: Home) -> None:
    for word in ("runner", "worker"):
        for who in processes_of(home, word):
            if identity.is_alive(who):
                os.kill(who.pid, signal.SIGKILL)


def reasons(home: Home, job_id: str) -> list[tuple[str, str]]:
    return [(line["state"], line["reason"]) for line in state.history(home.job(job_id))]


def workers_used(home: Home, job_id: str) -> list[int]:
    folder = home.job(job_id)
    return [state.read_attempt(folder, n)["worker"]["pid"] for n in range(1, state.attempts(folder) + 1)]
