"""One thread that gathers: job folders, registry, devices. It hands over frozen snapshots, and only changed ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError
from datadream.home import queue, state
from datadream.home.events import is_event, metrics
from datadream.home.lines import Tail
from datadream.jobs import devices, leader, watch
from tui.services.data import Data
from tui.services.snapshot import Device, Host, JobRow, LiveJob, Snapshot

if TYPE_CHECKING:
    from datadream.home.state import Status

LIVE_SECONDS, IDLE_SECONDS, BLURRED_SECONDS = 0.5, 1.0, 3.0
HOST_SECONDS, HOST_IDLE_SECONDS = 2.0, 60.0
SYNC_SECONDS = 5.0  # without a runner the app brings the registry up to date itself
RECHECK_SECONDS = 5.0
RUNNER_SECONDS = 4.0
SHOWN_JOBS = 200
READS_A_TICK = 200  # jobs whose folders are looked at in one round
LOSSES = 240
TAIL_BYTES = 65536
FINISHED, FAILURES = 8, 5
LIVE = ("running", "cancelling")


@dataclass
class _Known:
    """What is kept of an open job between rounds."""

    status: Status
    mtime: int
    at: float
    tail: Tail | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=LOSSES))
    steps: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=40))
    attempt: int = 0
    preview: str = ""
    preview_at: float = 0.0


class Poller:
    """Calls `deliver` (from its thread) with each snapshot that differs from the one before."""

    def __init__(self, data: Data, deliver: Callable[[Snapshot], None], fail: Callable[[Exception], None]) -> None:
        self._data, self._home, self._deliver, self._fail = data, data.home, deliver, fail
        self._known: dict[str, _Known] = {}
        self._unreadable: set[str] = set()
        self._last: Snapshot | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._host: Host | None = None
        self._devices: tuple[Device, ...] = ()
        self._host_at = self._synced_at = -1e9
        self._listed: tuple[object, ...] = ()
        self._lists: tuple[tuple[JobRow, ...], tuple[JobRow, ...], dict[str, int]] = ((), (), {})
        self._waiting_since: float | None = None
        self._problems = 0
        self.blurred = False

    def poke(self) -> None:
        """Gather at once: something was done."""
        self._synced_at = -1e9
        self._wake.set()

    def stop(self) -> None:
        """Gather no more."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Gather until stopped."""
        while not self._stop.is_set():
            try:
                snapshot = self.gather()
                if snapshot != self._last:
                    self._last = snapshot
                    self._deliver(snapshot)
            except Exception as error:  # noqa: BLE001 - shown by the app; the next round may do better
                if self._stop.is_set():
                    return
                self._fail(error)
                self._stop.wait(IDLE_SECONDS)
            live = self._last is not None and bool(self._last.running)
            self._wake.wait(BLURRED_SECONDS if self.blurred else LIVE_SECONDS if live else IDLE_SECONDS)
            self._wake.clear()

    def gather(self) -> Snapshot:
        """One round."""
        trouble = ""
        jobs, count = self._jobs()
        settings = queue.read_settings(self._home)
        led = leader.is_led(self._home)
        live = any(job.state in LIVE for job in jobs)
        version = 0
        try:
            if not self._home.path.is_dir():
                raise UserError("the home no longer exists", at=self._home.path, hint="restart with another --home")
            now = time.monotonic()
            if not led and now - self._synced_at > SYNC_SECONDS:
                self._synced_at = now
                self._data.sync(0.5)
            version = self._version()
            self._listings(version)
        except UserError as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a locked or damaged registry must not hide the jobs
            trouble = f"the registry can't be read now: {error}".splitlines()[0]
        if not trouble and count and not (settings.paused and not queue.look(self._home)[1]):
            trouble = watch.look(self._home).why
        self._look_around(live)
        finished, failures, counts = self._lists
        return Snapshot(
            jobs=jobs,
            open_jobs=count,
            finished=finished,
            failures=failures,
            counts=counts,
            devices=self._devices,
            host=self._host,
            led=led,
            paused=settings.paused,
            slots=devices.shown(self._home, settings),
            version=version,
            trouble=trouble,
            problems=self._problems,
            needs_runner=self._is_forsaken(jobs, led, settings.paused),
            empty=not jobs and not counts.get("run") and not counts.get("job") and not counts.get("set"),
        )

    def _is_forsaken(self, jobs: tuple[LiveJob, ...], led: bool, paused: bool) -> bool:
        """Whether jobs wait for a runner that should have come by now: it takes a second or two to start."""
        waiting = any(job.state in ("queued", "lost") and not job.paused for job in jobs) and not led and not paused
        if not waiting:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        return time.monotonic() - self._waiting_since > RUNNER_SECONDS

    def _version(self) -> int:
        """Changes with every commit to the registry, seen from outside: the times and sizes of its files."""
        seen: list[int] = []
        for tail in ("", "-wal"):
            try:
                found = self._home.registry.with_name(self._home.registry.name + tail).stat()
                seen += [found.st_ino, found.st_mtime_ns, found.st_size]
            except OSError:
                seen.append(0)
        return hash(tuple(seen))

    def _listings(self, version: int) -> None:
        if self._listed == (version,):
            return
        from store import queries
        from store.where import Condition

        registry = self._data.registry()

        def rows(state_: str, limit: int) -> tuple[JobRow, ...]:
            found = queries.page(registry, "job", [Condition("state", "=", state_)], "-ended", limit)
            return tuple(JobRow(**{name: row[name] for name in JobRow.__dataclass_fields__}) for row in found)

        counts = {noun: queries.count(registry, noun) for noun in ("job", "run", "set", "adapter", "synth")}
        self._lists = rows("done", FINISHED), rows("failed", FAILURES), counts
        self._problems = len(queries.problems(registry))
        self._listed = (version,)

    # Open jobs

    def _jobs(self) -> tuple[tuple[LiveJob, ...], int]:
        try:
            names = {path.name for path in self._home.queue.iterdir() if state.is_id(path.name)}
        except OSError:
            names = set()
        for gone in set(self._known) - names:
            del self._known[gone]
        self._unreadable &= names
        now = time.monotonic()
        due = sorted(names, key=lambda name: self._known[name].at if name in self._known else -1e9)
        live = [name for name in due if name in self._known and self._known[name].status.state in LIVE]
        for name in [*live, *[name for name in due if name not in live][:READS_A_TICK]]:
            self._look(name, now)
        found = [self._live(name, known) for name, known in self._known.items()]
        order = {"running": 0, "cancelling": 0, "lost": 1, "queued": 2, "blocked": 3}
        over = sum(job.state not in order for job in found)  # a runner has yet to take them off the queue
        found = [job for job in found if job.state in order]
        found.sort(key=lambda job: (order[job.state], -job.priority, self._known[job.id].status.order, job.id))
        return tuple(found[:SHOWN_JOBS]), len(names) - over - len(self._unreadable)

    def _look(self, name: str, now: float) -> None:
        known = self._known.get(name)
        try:
            mtime = self._home.job(name).stat().st_mtime_ns
        except OSError:
            mtime = 0
        if known and known.status.state not in LIVE and known.mtime == mtime and now - known.at < RECHECK_SECONDS:
            return
        try:
            status = state.derive(self._home, name)
        except (UserError, OSError):
            self._known.pop(name, None)
            self._unreadable.add(name)
            return
        self._unreadable.discard(name)
        if known is None:
            known = self._known[name] = _Known(status, mtime, now)
        known.status, known.mtime, known.at = status, mtime, now
        if status.state in LIVE:
            with suppress(OSError):  # events that can't be read cost the job its curve, not its card
                self._read_events(known)

    def _read_events(self, known: _Known) -> None:
        path = self._home.files(known.status.id).events
        if known.tail is None:
            try:
                start = max(0, path.stat().st_size - TAIL_BYTES)
            except OSError:
                start = 0
            known.tail = Tail(path, start)
        for event in filter(is_event, known.tail.records()):
            self._take(known, event)
        if known.status.stage == "generate" and time.monotonic() - known.preview_at > 1.0:
            known.preview_at = time.monotonic()
            known.preview = newest_image(self._home.staging("synthetic", known.status.id)) or known.preview

    @staticmethod
    def _take(known: _Known, event: dict[str, Any]) -> None:
        attempt = event.get("attempt")
        if isinstance(attempt, int) and attempt != known.attempt:
            known.attempt = attempt
            known.steps.clear()
        if (found := metrics(event)) is not None:
            known.losses += [found[1]["loss"]] if "loss" in found[1] else []
        elif event.get("kind") == "progress" and isinstance(event.get("seconds"), int | float):
            done = event.get("done")
            if isinstance(done, int):
                if known.steps and done < known.steps[-1][1]:
                    known.steps.clear()
                known.steps.append((float(event["seconds"]), done))

    def _live(self, name: str, known: _Known) -> LiveJob:
        status = known.status
        rate = eta = None
        if status.state in LIVE and len(known.steps) > 1:
            (first, began), (last, done) = known.steps[0], known.steps[-1]
            if last > first and done > began:
                rate = round((done - began) / (last - first), 2)
                eta = float(round((status.total - done) / ((done - began) / (last - first)))) if status.total else None
        return LiveJob(
            id=name,
            stage=status.stage,
            state=status.state,
            reason=status.reason,
            title=status.title,
            done=status.done,
            total=status.total,
            unit=status.unit,
            rate=rate,
            eta=eta,
            losses=tuple(known.losses) if status.state in LIVE else (),
            slot=status.slot if status.state in LIVE else "",
            priority=status.priority,
            attempts=status.attempts,
            paused=status.paused,
            experiment=status.experiment,
            preview=known.preview,
            cause=status.cause,
        )

    # The machine

    def _look_around(self, live: bool) -> None:
        now = time.monotonic()
        if now - self._host_at < (HOST_SECONDS if live else HOST_IDLE_SECONDS):
            return
        self._host_at = now
        try:
            self._host = read_host(self._home.path)
        except OSError:
            self._host = None
        from tui.services.gpu import read_devices

        self._devices = read_devices()


def read_host(path: Path) -> Host:
    """CPU, memory and disk, rounded so that noise doesn't repaint a screen."""
    import psutil

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(path))
    step = 1 << 27
    return Host(
        cpu=5 * round(psutil.cpu_percent(None) / 5),
        memory_used=(memory.total - memory.available) // step * step,
        memory_total=memory.total,
        disk_free=disk.free // step * step,
        disk_total=disk.total,
    )


def newest_image(staging: Path) -> str:
    """The image drawn last below `staging`; "" before the first."""
    try:
        folders = [path for path in (staging / "data" / "train").iterdir() if path.is_dir()]
        folder = max(folders, key=lambda path: path.stat().st_mtime_ns)
        return str(max(folder.glob("[0-9]*.png"), key=lambda path: path.name))
    except (OSError, ValueError):
        return ""
