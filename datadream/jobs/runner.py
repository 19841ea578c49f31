"""The one scheduler of a home: hands out slots, notices ends and deaths, tries again or gives up, keeps the registry.

It holds nothing that matters: whatever it knows is derived from folders, so it may die at any moment and another
goes on. A start is claimed in the job's folder (at least once, never two for one attempt); a result is published by
one rename (exactly once).
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import identity, leader, lease, policy, queue, state, submit
from datadream.jobs.devices import Devices
from datadream.jobs.home import Home
from datadream.jobs.pool import Hand, hire, variables_for
from datadream.jobs.registrar import Registrar
from datadream.jobs.remote import Remotes
from datadream.jobs.state import Status

TICK_SECONDS = 0.2
IDLE_SECONDS = 5.0
REFRESH_SECONDS = 5.0
STARVED_SECONDS = 1.0
RECALL_SECONDS = 0.05  # of a tick, until every folder has been looked at
STALE_SECONDS = 60.0  # a mark waits as long for its job's folder


@dataclass
class Seen:
    """A job's status as last derived, when, and of which state of its folder."""

    status: Status
    mtime: int
    at: float


class Runner:
    """Made by whoever leads; `tick` until it says there is nothing left to do."""

    def __init__(self, home: Home, leadership: leader.Leadership, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._home, self._leadership, self._idle_seconds = home, leadership, idle_seconds
        self._hands: dict[str, Hand] = {}
        self._devices = Devices(home, leads=True)
        self._seen: dict[str, Seen] = {}
        self._changed = True
        self._queue_mtime = -1
        self._busy_at = time.monotonic()
        self._starved_until = 0.0
        self._not_before: dict[str, tuple[int, float]] = {}
        self._storage: dict[str, int] = {}
        self._signalled: dict[tuple[str, int], float] = {}
        self._served: dict[str, int] = {}
        self._silence = policy.Silence()
        self._remote = Remotes(home)
        self._registrar = Registrar(home)
        self._said: set[str] = set()
        self._recalled = self._recall()

    def tick(self) -> bool:
        """Look at everything once and act; False when it should leave (idle long enough, or another leads)."""
        if not self._leadership.holds():
            self._say("another runner has taken over")
            return False
        self._settings = queue.read_settings(self._home)
        self._collect()
        self._look()
        if time.monotonic() >= self._starved_until:
            self._dispatch()
        self._registrar.follow(
            [job for job, seen in self._seen.items() if seen.status.state in ("running", "cancelling")]
        )
        if self._recalling() or self._active():
            self._busy_at = time.monotonic()
        return time.monotonic() - self._busy_at < self._idle_seconds

    def wait(self) -> None:
        """Sleep until a worker has something to say, or a little while."""
        told = [hand.told for hand in self._hands.values()]
        select.select(told, [], [], TICK_SECONDS)

    def close(self) -> None:
        """Let workers finish what they have, and the next runner lead."""
        for hand in self._hands.values():
            hand.close()
        self._hands = {}
        self._registrar.close()
        self._leadership.leave()

    @property
    def overlooked(self) -> bool:
        """Whether the queue has changed since the last look."""
        return _mtime(self._home.queue) != self._queue_mtime

    def _active(self) -> bool:
        waiting = any(
            seen.status.state == "queued" and not seen.status.paused and not self._settings.paused
            for seen in self._seen.values()
        )
        return waiting or any(seen.status.state in ("running", "cancelling", "lost") for seen in self._seen.values())

    # What has happened

    def _collect(self) -> None:
        """Hear what workers say; forget those that are gone."""
        for slot, hand in list(self._hands.items()):
            for job_id in hand.listen():
                self._drop(job_id)
            if hand.gone:
                if hand.job:
                    self._drop(hand.job)
                hand.close()
                del self._hands[slot]

    def _drop(self, job_id: str) -> None:
        if job_id in self._seen:
            self._seen[job_id].at = -REFRESH_SECONDS
            self._changed = True

    def _look(self) -> None:
        """Bring every open job's status up to date, and do what its state asks for."""
        mtime = _mtime(self._home.queue)
        try:
            names = [path.name for path in self._home.queue.iterdir() if state.is_id(path.name)]
        except OSError:
            names = []
        if mtime != self._queue_mtime:
            self._queue_mtime, self._changed = mtime, True
        for gone in set(self._seen) - set(names):
            del self._seen[gone]
        over, changed = [], self._changed
        self._changed = False
        for job_id in names:
            with self._guarded(job_id):
                status = self._status(job_id, changed)
                if status is None:
                    continue
                status = self._settle(status)
                if status.final:
                    over.append(job_id)
        for job_id in over:
            with self._guarded(job_id):
                self._finish(job_id)

    def _status(self, job_id: str, changed: bool) -> Status | None:
        """The cached status, unless something may have changed it."""
        seen, mtime, now = self._seen.get(job_id), _mtime(self._home.job(job_id)), time.monotonic()
        live = seen is not None and seen.status.state in ("running", "cancelling", "lost")
        if seen and not changed and not live and seen.mtime == mtime and now - seen.at < REFRESH_SECONDS:
            return seen.status
        try:
            status = state.derive(self._home, job_id)
        except UserError as error:
            self._say(str(error))
            self._seen.pop(job_id, None)
            return None
        self._seen[job_id] = Seen(status, mtime, now)
        return status

    def _settle(self, status: Status) -> Status:
        """Write the change of state down, and do what it asks for; the status that results."""
        if status.launcher != "local" and status.attempts:
            status = self._remote.settle(status)
        if status.state == "lost":
            self._lose(status)
            status = state.derive(self._home, status.id)
            self._seen[status.id].status = status
        elif status.state == "cancelling" or (status.state == "running" and status.paused):
            self._note(status)
            self._note(self._stop(status))
        elif status.state == "running":
            self._signalled.pop((status.id, status.attempts), None)  # wanted again, it has all of the grace time again
            self._note(policy.with_reason(status, self._silence.judge(self._home, status)))
        else:
            self._note(status)
        return status

    def _note(self, status: Status) -> None:
        """Add the transition to the job's history, when it is one."""
        folder = self._home.job(status.id)
        lines = state.history(folder)
        last = lines[-1] if lines else {}
        if (last.get("state"), last.get("reason"), last.get("attempt")) != (
            status.state,
            status.reason,
            status.attempts,
        ):
            retries = state.read_control(self._home, status.id).retries
            state.write_history(self._home, status.id, status.state, status.reason, status.attempts, retries=retries)

    def _lose(self, status: Status) -> None:
        """A worker is gone without a result: try again from the checkpoint, hold, or give up."""
        self._heed(status, policy.after_loss(self._home, status, self._settings))

    def _heed(self, status: Status, verdicts: Sequence[policy.Verdict]) -> None:
        """Write them down, and hold or wait as they say."""
        for verdict in verdicts:
            state.write_history(self._home, status.id, verdict.state, verdict.reason, status.attempts, **verdict.more)
            if verdict.hold:
                submit.pause(self._home, status.id, verdict.hold)
            self._not_before[status.id] = (status.attempts, time.monotonic() + verdict.delay)

    def _stop(self, status: Status) -> Status:
        """Ask its worker to stop; after the grace time, end its whole process group, or say that it is out of reach.

        The worker watches for the wish itself: a signal only hurries it.
        """
        folder, key, now = self._home.job(status.id), (status.id, status.attempts), time.monotonic()
        if status.launcher != "local":  # the cluster has its own grace time
            if key not in self._signalled:
                self._remote.cancel(status)
                self._signalled[key] = now
            return status
        who = identity.parse(lease.read_note(folder / "lease")) if lease.is_held(folder / "lease") else None
        who = who or identity.parse(state.read_attempt(folder, status.attempts).get("worker") or {})
        if key not in self._signalled:
            self._signalled[key] = now
            if who is not None:
                identity.signal_group(who, signal.SIGTERM)
        elif who is not None and now - self._signalled[key] > self._settings.grace_seconds:
            why = "" if identity.signal_group(who, signal.SIGKILL) else identity.obstacle(who)
            return replace(status, reason=policy.out_of_reach(status, why)) if why else status
        return status

    def _finish(self, job_id: str) -> None:
        """Take it off the queue, unless it was asked for again in this very moment."""
        durable.remove_file(self._home.queue / job_id)
        self._registrar.finished(job_id)
        self._seen.pop(job_id, None)
        self._changed = True
        if not state.derive(self._home, job_id).final:
            durable.mark(self._home.queue / job_id)

    def _recalling(self) -> bool:
        """Go on with `_recall` for a moment; False when it has come to its end."""
        end = time.monotonic() + RECALL_SECONDS
        while time.monotonic() < end:
            if next(self._recalled, None) is None:
                return False
        return True

    def _recall(self) -> Iterator[str]:
        """Put back on the queue whatever a death between two files left off it, and take off what has no job."""
        for path in _entries(self._home.queue):
            with self._guarded(path.name):
                old = time.time() - path.stat().st_mtime > STALE_SECONDS
                if old and not (self._home.job(path.name) / "spec.json").exists():
                    durable.remove_file(path)
            yield path.name
        for path in _entries(self._home.path / "jobs"):
            mark = self._home.queue / path.name
            with self._guarded(path.name):
                known = mark.exists() or (path / "result.json").exists() or not (path / "spec.json").exists()
                if not known and not state.derive(self._home, path.name).final:
                    durable.mark(durable.make_dir(mark.parent) / mark.name)
            yield path.name

    # What is to be done

    def _dispatch(self) -> None:
        """Give ready jobs to free slots."""
        if self._settings.paused or shutil.disk_usage(self._home.path).free < state.ROOM_BYTES:
            return
        now = time.monotonic()
        ready = [seen.status for seen in self._seen.values() if self._is_ready(seen.status, now)]
        for status in [status for status in ready if status.launcher != "local"]:
            with self._guarded(status.id):
                self._submit(status)
        ready = [status for status in ready if status.launcher == "local"]
        fits = {asked: self._devices.open_to(self._settings, asked) for asked in {status.asked for status in ready}}
        for status in ready:
            if not fits[status.asked] or status.reason.startswith(state.NO_DEVICE):
                with self._guarded(status.id):
                    self._explain(status, bool(fits[status.asked]))
        slots = self._devices.slots(self._settings)
        for slot in slots:
            fitting = [status for status in ready if slot in fits[status.asked]] if self._may_be_free(slot) else []
            if not fitting:
                continue
            chosen = min(fitting, key=self._rank)
            hand = self._free(slot, chosen, fits[chosen.asked][slot])
            if hand is None:
                continue
            ready.remove(chosen)
            with self._guarded(chosen.id):
                self._start(chosen, hand)
        for slot, hand in list(self._hands.items()):
            if slot not in slots and hand.job is None:
                hand.dismiss()

    def _explain(self, status: Status, fits: bool) -> None:
        """Say on a job why no slot is open to it, and take that back when one is."""
        why = "" if fits else self._devices.why_none(self._settings, status.asked)
        if status.reason != why:
            self._seen[status.id].status = replace(status, reason=why)
            self._note(self._seen[status.id].status)

    def _is_ready(self, status: Status, now: float) -> bool:
        attempt, moment = self._not_before.get(status.id, (0, 0.0))
        waiting = status.state == "queued" and not status.paused and not status.native
        return waiting and (attempt != status.attempts or now >= moment)

    def _rank(self, status: Status) -> tuple[object, ...]:
        """Urgent first; then the experiment that has the least running; then the one served longest ago; then age."""
        running = sum(
            seen.status.experiment == status.experiment and seen.status.state in ("running", "cancelling")
            for seen in self._seen.values()
        )
        served = self._served.get(status.experiment, 0)
        return -status.priority, running, served, status.order

    def _may_be_free(self, slot: str) -> bool:
        hand = self._hands.get(slot)
        return hand is None or (hand.job is None and not hand.leaving and not hand.gone)

    def _free(self, slot: str, status: Status, device: str | None) -> Hand | None:
        """An idle worker on `slot` with the settings the job was asked for with, hired if the slot is free; else None.

        One with other settings makes room.
        """
        wanted = variables_for(self._home, status.id, device)
        hand = self._hands.get(slot)
        if hand is not None:
            if hand.variables == wanted:
                return hand
            hand.dismiss()
            return None
        try:
            fd = queue.take_slot(self._home, slot)
            if fd is None:
                return None
            try:
                hand = hire(self._home, slot, fd, wanted)
            finally:
                os.close(fd)
        except (OSError, UserError) as error:
            self._starve(error)
            return None
        if hand is not None:
            self._hands[slot] = hand
        return hand

    def _start(self, status: Status, hand: Hand) -> None:
        """Claim the next attempt and hand it over."""
        if not self._leadership.holds():
            return
        note = {"slot": hand.slot, "worker": hand.who.to_json(), "launcher": "local", "epoch": self._leadership.epoch}
        number = status.attempts + 1
        if not state.claim(self._home, status.id, number, note):
            self._drop(status.id)
            return
        self._served[status.experiment] = max(self._served.values(), default=0) + 1
        if state.failed_by_storage(self._home, status.id):
            self._storage[status.id] = self._storage.get(status.id, 0) + 1
            delay = policy.backoff(self._settings, self._storage[status.id])
            self._not_before[status.id] = (number, time.monotonic() + delay)
        hand.give(status.id, number)
        fresh = state.derive(self._home, status.id)
        self._seen[status.id] = Seen(fresh, _mtime(self._home.job(status.id)), time.monotonic())
        self._note(fresh)

    def _submit(self, status: Status) -> None:
        """Hand it to its cluster. What that doesn't take is submitted again later, and has failed after a few times."""
        try:
            self._remote.start(status, self._leadership)
        except Exception as error:
            if not durable.is_storage(error):
                self._refuse(status, error)
            raise
        finally:
            self._drop(status.id)

    def _refuse(self, status: Status, error: Exception) -> None:
        """Say in the job's own folder why its cluster didn't take it."""
        folder = self._home.job(status.id)
        status = replace(status, attempts=state.attempts(folder), reason=" ".join(str(error).split()))
        verdicts = policy.after_refusal(self._home, status, self._settings)
        self._heed(status, verdicts)
        if verdicts[-1].state == "failed" and isinstance(error, UserError):
            content = {"kind": "user", "message": status.reason, "attempt": status.attempts}
            durable.write_json(folder / "error.json", content)

    # Its own troubles

    @contextmanager
    def _guarded(self, job_id: str) -> Iterator[None]:
        """One job's trouble is not another's; a disk that can't be written is waited for."""
        try:
            yield
        except (OSError, UserError) as error:
            if durable.is_storage(error):
                self._starve(error)
            else:
                self._say(f"{job_id}: {error}")
        except Exception:  # noqa: BLE001 - a folder nobody foresaw must not stop the queue
            self._say(f"{job_id}: {traceback.format_exc()}")

    def _starve(self, error: Exception) -> None:
        """Start nothing for a moment."""
        self._starved_until = time.monotonic() + STARVED_SECONDS
        self._changed = True
        self._say(str(error))

    def _say(self, text: str) -> None:
        """Into the log, each once."""
        if text not in self._said:
            self._said.add(text)
            with suppress(OSError):
                sys.stderr.write(f"{state.now()} {text}\n")
                sys.stderr.flush()


def stop_on_signals() -> None:
    """SIGTERM and SIGINT end the runner in order; its workers get their own."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run(home: Home, *, idle_seconds: float = IDLE_SECONDS, patience: float = leader.TAKEOVER_SECONDS) -> bool:
    """Lead the home until nothing is left to do; False when another runner does already."""
    led = False
    while (leadership := _lead(home, patience)) is not None:
        led = True
        runner = Runner(home, leadership, idle_seconds=idle_seconds)
        try:
            while runner.tick():
                runner.wait()
        finally:
            runner.close()
        if leader.newest(home) != leadership.epoch or not runner.overlooked:
            break
    return led


def _lead(home: Home, patience: float) -> leader.Leadership | None:
    while True:
        try:
            return leader.take(home, patience)
        except (OSError, UserError) as error:
            if not durable.is_storage(error):
                raise
            time.sleep(STARVED_SECONDS)


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if state.is_id(path.name)]
    except OSError:
        return []


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
