"""Following jobs from outside, through their folders alone: works from any process, after any death."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import leader, spawn, state
from datadream.jobs.home import Home
from datadream.jobs.lines import Tail
from datadream.jobs.spec import JobSpec
from datadream.jobs.state import Status
from datadream.stages.emit import Event

POLL_SECONDS = 0.1
CHECK_SECONDS = 3.0
OnEvent = Callable[[JobSpec, Event], None]


class JobFailed(Exception):
    """A job met a programming error, or died too often; its log has the details."""


def follow(home: Home, job_ids: Sequence[str], on_event: OnEvent, *, timeout: float | None = None) -> list[Status]:
    """Hand on what jobs tell until all are over or can't go on; their statuses then, or at `timeout` seconds.

    Changes of state come as {"kind": "state", "state", "reason", "attempt"}. A runner that died meanwhile is replaced.
    """
    specs = {job_id: state.read_spec(home, job_id) for job_id in dict.fromkeys(job_ids)}
    tails = {job_id: _tails(home, job_id) for job_id in specs}
    waiting = dict.fromkeys(specs)
    found: dict[str, Status] = {}
    began = checked = time.monotonic()
    spawn.ensure_runner(home)
    while waiting:
        over = [job_id for job_id in waiting if not (home.queue / job_id).exists()]
        late = time.monotonic() - checked > CHECK_SECONDS
        if late:
            checked = time.monotonic()
            if not leader.is_led(home):
                spawn.ensure_runner(home)
        for job_id in waiting:
            for event in _new(tails[job_id]):
                on_event(specs[job_id], event)
        for job_id in waiting if late else over:
            found[job_id] = state.derive(home, job_id)
        if over and any(found[job_id].state != "done" for job_id in over):
            found |= {job_id: state.derive(home, job_id) for job_id in waiting}
        for job_id in [job_id for job_id in waiting if job_id in found and _ended(found[job_id])]:
            for event in _new(tails[job_id]):
                on_event(specs[job_id], event)
            del waiting[job_id]
        if timeout is not None and time.monotonic() - began > timeout:
            break
        if waiting:
            time.sleep(POLL_SECONDS)
    return [state.derive(home, job_id) if job_id in waiting else found[job_id] for job_id in specs]


def failure(home: Home, statuses: Sequence[Status]) -> Exception | None:
    """What to raise for jobs that are over without being done; None when all are done."""
    for status in statuses:
        if status.state == "failed":
            error = state.read_dict(home.job(status.id) / "error.json") or {}
            if error.get("kind") == "user":
                return UserError(status.reason)
            lines = "".join(f"\n  {line}" for line in last_lines(home, status.id))
            log = home.job(status.id) / "log.txt"
            return JobFailed(f"{status.stage} failed: {status.reason} (its log, {log}, ends with:{lines})")
    for status in statuses:
        if status.state != "done":
            return UserError(
                f"the job {status.id[:8]} ({status.title or status.stage}) is {status.state}: {status.reason}",
                hint=f"`datadream job retry {status.id[:8]}` or the same command again tries anew",
            )
    return None


def last_lines(home: Home, job_id: str, count: int = 5) -> list[str]:
    """The end of a job's log."""
    try:
        with durable.open_regular(home.job(job_id) / "log.txt") as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def open_jobs(home: Home) -> list[str]:
    """The jobs that aren't over, in the order they were asked for."""
    try:
        names = [path.name for path in home.queue.iterdir() if state.is_id(path.name)]
    except OSError:
        return []
    readable = [name for name in names if (home.job(name) / "spec.json").is_file()]
    return sorted(readable, key=lambda name: (state.read_request(home, name).order, name))


def waiting(home: Home, ids: Collection[str]) -> set[str]:
    """Those of `ids` that are queued or run: asking for them again starts nothing.

    A mark in the queue is not enough: with no runner alive, a cancelled job keeps its own.
    """
    marked = set(open_jobs(home)).intersection(ids)
    return {job_id for job_id in marked if not state.derive(home, job_id).final}


def _ended(status: Status) -> bool:
    return status.final or status.hopeless


def _tails(home: Home, job_id: str) -> tuple[Tail, Tail]:
    tails = Tail(home.job(job_id) / "events.jsonl"), Tail(home.job(job_id) / "history.jsonl")
    for tail in tails:
        tail.skip()
    return tails


def _new(tails: tuple[Tail, Tail]) -> Iterator[Event]:
    events, history = tails
    yield from events.records()
    for line in history.records():
        yield {**line, "kind": "state"}
