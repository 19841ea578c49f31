"""Jobs that a cluster runs: the same folders, submitted as a command, known by their native id after our death too.

A cluster's commands may take minutes, or never return. Each cluster has a thread here that runs them one after the
other; the runner only reads what it has found.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from datadream import durable
from datadream.home import identity, state
from datadream.home.causes import CLEAR, Why
from datadream.home.launchers import Remote, check_launcher, needs_psij, resources_for
from datadream.home.layout import Home
from datadream.home.state import Status
from datadream.jobs.leader import Leadership

POLL_SECONDS = 5.0  # the job's own folder is looked at far more often, and knows first
SILENT_SECONDS = 10.0  # until it is said that a cluster doesn't answer
CLOSE_SECONDS = 10.0  # for a submission that is under way: its native id must be written down
AT_ONCE = 4
NATIVE = "native.json"


class Remotes:
    """The clusters' jobs of one home, as its runner sees them. Nothing here waits."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lines: dict[str, _Line] = {}
        self._news: queue.SimpleQueue[tuple[str, Exception | None]] = queue.SimpleQueue()
        self._busy: set[str] = set()
        self._cancelled: dict[str, bool] = {}

    def start(self, status: Status, leadership: Leadership) -> None:
        """Claim the next attempt and submit it, soon; `news` tells when that is done."""
        self._busy.add(status.id)
        line = self._line(status.launcher)

        def submit() -> None:
            if leadership.holds():
                _submit(self._home, line.launcher(), status, leadership.epoch)

        line.do(status.id, "submit", submit)

    def room(self, launcher: str) -> int:
        """How many more submissions this cluster may be given now: what was handed to it can't be called back."""
        return max(0, AT_ONCE - self._line(launcher).tasks)

    def is_busy(self, job_id: str) -> bool:
        """Whether it is being submitted: its folder is not to be judged now."""
        return job_id in self._busy

    def news(self) -> list[tuple[str, Exception | None]]:
        """Jobs of which a cluster has told something since the last time, and why one was not taken."""
        found = []
        with suppress(queue.Empty):
            while True:
                job_id, error = self._news.get_nowait()
                self._busy.discard(job_id)
                found.append((job_id, error))
        return found

    def settle(self, status: Status) -> Status:
        """What the cluster says of an attempt that isn't running: still coming, or lost. A cancelled one goes."""
        if status.state not in ("queued", "cancelled") or not status.native:
            return status
        line = self._line(status.launcher)
        if status.state == "cancelled":
            self.cancel(status)
        elif line.state_of(status.native, status.id) == "gone":
            fresh = state.derive(self._home, status.id, held=CLEAR)  # it may have ended since
            if fresh.state == "queued" and fresh.native == status.native:
                line.forget(status.native)
                why = Why(f"{status.launcher} no longer lists job {status.native}")
                return state.because(replace(fresh, state="lost"), why)
            return fresh
        return status

    def cancel(self, status: Status) -> None:
        """Ask the cluster to end it; its worker keeps the checkpoint."""
        native = state.read_native(self._home.job(status.id), status.attempts)
        if native and native not in self._cancelled:
            self._cancelled[native] = False
            line = self._line(status.launcher)

            def cancel() -> None:
                try:
                    line.launcher().cancel(native)
                finally:
                    self._cancelled[native] = True
                    line.forget(native)

            line.do(status.id, "cancel", cancel)

    def is_cancelling(self, status: Status) -> bool:
        """Whether the cluster has yet to hear that the job is cancelled."""
        return bool(status.native) and self._cancelled.get(status.native) is False

    def silent(self) -> dict[str, str]:
        """What to say of clusters that don't answer, by name."""
        found = {name: line.trouble() for name, line in self._lines.items()}
        return {name: said for name, said in found.items() if said}

    def close(self) -> None:
        """Start nothing more; a submission that is under way gets a moment to be written down."""
        for line in self._lines.values():
            line.close()

    def _line(self, name: str) -> _Line:
        if name not in self._lines:
            self._lines[name] = _Line(self._home, name, self._news)
        return self._lines[name]


def _submit(home: Home, remote: Remote, status: Status, epoch: int) -> None:
    fresh = state.derive(home, status.id, held=CLEAR)
    if fresh.state != "queued" or fresh.paused or fresh.attempts != status.attempts:
        return  # asked otherwise, or started, while it waited here
    asked = state.read_request(home, status.id).resources
    resources = resources_for(home, status.launcher, status.stage, asked)
    number = status.attempts + 1
    if not state.claim(home, status.id, number, {"slot": status.launcher, "launcher": status.launcher, "epoch": epoch}):
        return
    native = remote.submit(home.path, status.id, number, resources, status.title)
    written: dict[str, object] = {"launcher": status.launcher, "native": native, "attempt": number}
    written["home"] = identity.place(home.path)
    durable.write_json(home.job(status.id) / NATIVE, written)
    # Else a refusal, said before, would be the reason for as long as it waits.
    retries = state.read_control(home, status.id).retries
    state.write_history(home, status.id, "queued", f"pending in {status.launcher} as {native}", number, retries=retries)


class _Line:
    """One cluster, and the thread that talks to it."""

    def __init__(self, home: Home, name: str, news: queue.SimpleQueue[tuple[str, Exception | None]]) -> None:
        self._home, self._name, self._news = home, name, news
        self._tasks: queue.SimpleQueue[tuple[str, str, Callable[[], None]]] = queue.SimpleQueue()
        self._known: dict[str, tuple[str, str]] = {}  # state and job by native id
        self._launcher: Remote | None = None
        self._polled = -POLL_SECONDS
        self._doing: tuple[str, float] | None = None
        self._refused = ""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def tasks(self) -> int:
        """How many wait or are under way."""
        return self._tasks.qsize() + (self._doing is not None)

    def do(self, job_id: str, verb: str, task: Callable[[], None]) -> None:
        """Have `task` done, and then news of the job."""
        self._tasks.put((job_id, verb, task))

    def launcher(self) -> Remote:
        """The cluster itself. Raises UserError when it can't be reached from here."""
        if self._launcher is None:
            check_launcher(self._name)
            try:
                from datadream.jobs.clusters.cluster import Cluster  # imports PSI/J, which only these need
            except ImportError as error:
                raise needs_psij(self._name) from error
            self._launcher = Cluster(self._name, self._home)
        return self._launcher

    def state_of(self, native: str, job_id: str) -> str:
        """`pending`, `running` or `gone`, as last heard."""
        return self._known.setdefault(native, ("pending", job_id))[0]

    def forget(self, native: str) -> None:
        """Ask for it no more."""
        self._known.pop(native, None)

    def trouble(self) -> str:
        """Why nothing is heard of it, or ""."""
        doing = self._doing
        if doing is not None and time.monotonic() - doing[1] > SILENT_SECONDS:
            return f"{self._name} has not answered `{doing[0]}` for {10 * int((time.monotonic() - doing[1]) / 10)} s"
        return self._refused

    def close(self) -> None:
        self._closed = True
        doing = self._doing
        self._tasks.put(("", "", lambda: None))
        if doing is not None and doing[0] == "submit":
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            with suppress(queue.Empty):
                job_id, verb, task = self._tasks.get(timeout=0.2)
                if self._closed:
                    return
                error: Exception | None = None
                self._doing = verb, time.monotonic()
                try:
                    task()
                except Exception as caught:  # noqa: BLE001 - whatever a scheduler's commands and PSI/J come up with
                    error = caught
                self._doing = None
                self._news.put((job_id, error if verb == "submit" else None))
                if verb == "submit":
                    self._polled = -POLL_SECONDS
            if self._known and time.monotonic() - self._polled >= POLL_SECONDS:
                self._poll()

    def _poll(self) -> None:
        before = dict(self._known)
        self._doing = "poll", time.monotonic()
        try:
            found = self.launcher().poll(list(before))
            self._refused = ""
        except Exception as error:  # noqa: BLE001 - it is said with the jobs, and asked again
            found, self._refused = {}, " ".join(str(error).split())
        self._doing, self._polled = None, time.monotonic()
        for native, now in found.items():
            if native in self._known:
                self._known[native] = now, before[native][1]
                if now == "gone":
                    self._news.put((before[native][1], None))
