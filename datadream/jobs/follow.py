"""Following jobs from outside, through their folders alone: works from any process, after any death."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from datadream import durable
from datadream.errors import UserError
from datadream.home import state
from datadream.home.events import is_event
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.lines import Tail
from datadream.home.spec import JobSpec
from datadream.home.state import Status
from datadream.jobs.watch import Watch
from datadream.stages.emit import Event

POLL_SECONDS = 0.1
SHARE = 10.0  # a look at thousands of jobs takes a while: it is followed by a pause as many times as long
CHECKED_AT_ONCE = 50  # jobs that are looked at though nothing tells that they have changed
CHECK_SECONDS = 3.0
AGAIN = "running the same command again"  # a job that waits for what failed can't be retried by itself
OnEvent = Callable[[JobSpec, Event], None]


class JobFailed(Exception):
    """A job met a programming error, or died too often; its log has the details."""


def follow(
    home: Home,
    job_ids: Sequence[str],
    on_event: OnEvent,
    *,
    timeout: float | None = None,
    watch: Watch | None = None,
) -> list[Status]:
    """Hand on what jobs tell until all are over or can't go on; their statuses then, or at `timeout` seconds.

    Changes of state come as {"kind": "state", "state", "reason", "attempt"}; why no job starts at all as {"kind":
    "notice", "text"}, of any of them. A runner that died meanwhile is replaced. Raises UserError when none can be had,
    or none that can start a job. `watch` is one that has begun already.
    """
    jobs = {job_id: _Followed(home, job_id) for job_id in dict.fromkeys(job_ids)}
    waiting = dict.fromkeys(jobs)
    began = checked = time.monotonic()
    watch = watch or Watch(home)
    rounds = itertools.cycle(list(jobs) or [""])
    said = ""
    while waiting:
        looked = time.monotonic()
        marked = set(durable.names(home.queue))
        for job_id in list(waiting):
            for event in jobs[job_id].news():
                on_event(jobs[job_id].spec, event)
        over = [job_id for job_id in waiting if job_id not in marked or jobs[job_id].may_be_over]
        if looked - checked > CHECK_SECONDS:
            checked = looked
            over += [job_id for job_id in itertools.islice(rounds, CHECKED_AT_ONCE) if job_id in waiting]
            if (why := watch.look()) != said:
                said = why
                if why:
                    on_event(jobs[next(iter(waiting))].spec, {"kind": "notice", "text": why})
        failed = False
        for job_id in dict.fromkeys(over):
            status = jobs[job_id].derive(home)
            failed = failed or (status.final and status.state != "done")
        if failed:  # those that wait for it may have no hope
            for job_id in waiting:
                if jobs[job_id].blocked:
                    jobs[job_id].derive(home)
        for job_id in [job_id for job_id in waiting if jobs[job_id].ended]:
            for event in jobs[job_id].news():
                on_event(jobs[job_id].spec, event)
            del waiting[job_id]
        if timeout is not None and time.monotonic() - began > timeout:
            break
        if waiting:
            time.sleep(max(POLL_SECONDS, SHARE * (time.monotonic() - looked)))
    return [jobs[job_id].derive(home) if job_id in waiting else jobs[job_id].known for job_id in jobs]


class _Followed:
    """One job, as it is followed: its files are opened only when they have grown."""

    def __init__(self, home: Home, job_id: str) -> None:
        self.id, self.spec = job_id, state.read_spec(home, job_id)
        folder = home.job(job_id)
        self._events, self._history = Tail(JobFiles(folder).events), Tail(JobFiles(folder).history)
        self._paths = str(JobFiles(folder).events), str(JobFiles(folder).history)
        for tail in (self._events, self._history):
            tail.skip()
        last = state.last_change(folder).get("state")
        self._runs = last not in ("queued", "blocked")
        self._status: Status | None = None
        self.blocked = last == "blocked"
        self.may_be_over = self.blocked or last in state.FINAL

    def news(self) -> Iterator[Event]:
        """What it has told since the last time."""
        if self._runs and durable.size_of(self._paths[0]) > self._events.offset:
            yield from filter(is_event, self._events.records())
        if durable.size_of(self._paths[1]) > self._history.offset:
            for line in filter(state.is_change, self._history.records()):
                told = line.get("state")
                self._runs = self._runs or told in ("running", "cancelling")
                self.blocked = told == "blocked"
                self.may_be_over = told in state.FINAL or self.blocked
                yield {**line, "kind": "state"}
            if self._runs:
                yield from filter(is_event, self._events.records())

    def derive(self, home: Home) -> Status:
        """Its status now."""
        self._status = state.derive(home, self.id)
        self.may_be_over, self.blocked = False, self._status.state == "blocked"
        self._runs = self._status.state not in ("queued", "blocked")
        return self._status

    @property
    def known(self) -> Status:
        """The status that `derive` gave last."""
        assert self._status is not None
        return self._status

    @property
    def ended(self) -> bool:
        """Whether it is over, or can't go on."""
        return self._status is not None and (self._status.final or self._status.hopeless)


def failure(home: Home, statuses: Sequence[Status]) -> Exception | None:
    """What to raise for jobs that are over without being done; None when all are done."""
    for status in statuses:
        if status.state == "failed":
            error = state.read_dict(home.files(status.id).error) or {}
            if error.get("kind") == "user":
                return UserError(status.reason)
            lines = "".join(f"\n  {line}" for line in last_lines(home, status.id))
            log = home.files(status.id).log
            return JobFailed(f"{status.stage} failed: {status.reason} (its log, {log}, ends with:{lines})")
    for status in statuses:
        if status.state != "done":
            again = f"`datadream job retry {status.id[:8]}` or the same command again" if status.final else AGAIN
            return UserError(
                f"job {status.id[:8]} ({status.title or status.stage}) is {status.state}: {status.reason}",
                hint=f"{again} starts it again",
            )
    return None


def last_lines(home: Home, job_id: str, count: int = 5) -> list[str]:
    """The end of a job's log."""
    try:
        with durable.open_regular(home.files(job_id).log) as file:
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
    readable = [name for name in names if home.files(name).spec.is_file()]
    return sorted(readable, key=lambda name: (state.read_request(home, name).order, name))


def waiting(home: Home, ids: Collection[str]) -> set[str]:
    """Those of `ids` that are queued or run: asking for them again starts nothing.

    A mark in the queue is not enough: with no runner alive, a cancelled job keeps its own.
    """
    marked = set(open_jobs(home)).intersection(ids)
    return {job_id for job_id in marked if not state.derive(home, job_id).final}
