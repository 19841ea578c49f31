"""The one scheduler of a home: hands out slots, notices ends and deaths, tries again or gives up.

It holds nothing that matters: whatever it knows is derived from folders, so it may die at any moment and another
goes on. A start is claimed in the job's folder (at least once, never two for one attempt); a result is published by
one rename (exactly once).

Nothing here waits for anybody: locks are tried, not waited for, and the registry and the clusters have threads of their
own. Only what has changed is looked at: the queue's folder tells who came or was asked for something, workers tell what
has ended, and a job that is over tells those that wait for it.
"""

from __future__ import annotations

import itertools
import select
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from datadream import durable
from datadream.errors import UserError
from datadream.home import control, identity, lease, outlook, queue, state
from datadream.home.causes import CLEAR
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.provenance import Code
from datadream.home.state import Status
from datadream.jobs import leader, policy, spawn
from datadream.jobs.board import Board, Seen
from datadream.jobs.clusters.remote import Remotes
from datadream.jobs.openings import Openings
from datadream.jobs.pool import Hand
from datadream.jobs.recall import recall
from datadream.jobs.runner_log import Log
from datadream.jobs.staff import Staff
from store.registrar import Registrar

TICK_SECONDS = 0.2
IDLE_SECONDS = 5.0
STARVED_SECONDS = 1.0
LOOK_SECONDS = 0.15  # of a tick, for what has changed; the rest of it has its turn in the next
OVERDUE_SECONDS = 20.0  # more changes than can be looked at keep nothing from starting for longer
RECALL_SECONDS = 0.05  # of a tick, until every folder has been looked at
ROOM_SECONDS = 2.0  # until a disk of a job's own is looked at again
DISK_SECONDS = 60.0  # for a disk that takes no new epoch
RACY_SECONDS = durable.RACY_NS / 1e9  # a second change in so short a time may not show
SWEEP_SECONDS = 0.3  # one job each is looked at though nothing tells that it has changed
JUDGE_SECONDS = 1.0  # between two looks whether a running job is silent
CODE_SECONDS = 10.0  # between two looks whether other code lies on the disk


class Runner:
    """Made by whoever leads; `tick` until it says there is nothing left to do."""

    def __init__(self, home: Home, leadership: leader.Leadership, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._home, self._leadership, self._idle_seconds = home, leadership, idle_seconds
        self._settings = queue.QueueSettings()
        self._board = Board()
        self._unreadable: dict[str, int] = {}
        self._openings = Openings(home, self._board)
        self._queue_mtime = -1
        self._scan_at = self._sweep_at = self._starved_until = 0.0
        self._behind_since: float | None = None
        self._busy_at = time.monotonic()
        self._not_before: dict[str, tuple[int, float]] = {}
        self._storage: dict[str, int] = {}
        self._signalled: dict[tuple[str, int], float] = {}
        self._judged: dict[str, float] = {}
        self._silence = policy.Silence()
        self._remote = Remotes(home)
        self._say = Log()
        self._registrar = Registrar(home, self._say)
        self._staff = Staff(home, self._say)
        self._recalled: Iterator[object] = recall(home, self._guarded)
        self._code, self._code_at, self._outdated = Code(), time.monotonic(), False

    def tick(self) -> bool:
        """Look at what has changed and act; False when it should leave (idle, can't hire, or another leads)."""
        now = time.monotonic()
        try:
            if not self._leadership.holds():
                self._say("another runner has taken over")
                return False
            self._settings, wrong = queue.look(self._home)
            self._openings.look(self._settings)
            if wrong:
                self._say(wrong)
            self._collect()
            self._look(now)
            if now >= self._starved_until and not self._is_behind(now):
                self._dispatch(now)
            self._registrar.follow(self._board.live)
            if self._recalling() or self._board.is_active(self._settings.paused):
                self._busy_at = now
        except OSError as error:  # no descriptors, or the home is being moved: the next look tells
            self._starve(error)
        if not self._staff.report(self._remote.silent()) and not self._board.live:
            return False
        if self._is_outdated():
            self._say("the code on disk changed since this runner started: a new runner takes over")
            return False
        return now - self._busy_at < self._idle_seconds

    @property
    def outdated(self) -> bool:
        """Whether it runs other code than lies on the disk by now, as of its last look."""
        return self._outdated

    def _is_outdated(self) -> bool:
        """Look for other code now and then; only once nothing more changes, so that no half of it is started."""
        if time.monotonic() - self._code_at > CODE_SECONDS:
            self._code_at = time.monotonic()
            self._outdated = self._code.changed() and self._code.settled()
        return self._outdated

    def wait(self) -> None:
        """Sleep until a worker has something to say, or a little while."""
        poll = select.poll()  # not select: it knows no descriptor beyond 1023
        for fd in self._staff.ears:
            poll.register(fd, select.POLLIN)
        poll.poll(1000 * (0.01 if self._board.behind else TICK_SECONDS))

    def close(self) -> None:
        """Let workers finish what they have, and the next runner lead."""
        self._staff.close()
        self._remote.close()
        self._leadership.leave()
        self._registrar.close()  # may take a moment, and hands nothing out

    def crashed(self, error: Exception) -> None:
        """Tell those who wait that it ends for a mistake of ours."""
        self._staff.crashed(error)

    @property
    def left(self) -> bool:
        """Whether it can't hire anybody, so that it makes no sense to stay."""
        return self._staff.left

    @property
    def overlooked(self) -> bool:
        """Whether the queue has changed since the last look."""
        return durable.changed_at(self._home.queue) != self._queue_mtime

    # What has happened

    def _collect(self) -> None:
        """Hear what workers say and clusters have done."""
        over = self._staff.collect(self._settings, self._openings.all)
        self._board.hurry(*(job for job in over if job in self._board))
        for job_id, error in self._remote.news():
            self._board.hurry(job_id)
            if (seen := self._board.get(job_id)) is not None:
                seen.noted = None  # what is noted of it was not noted here
            if error is not None:
                with self._guarded(job_id):
                    self._refuse(job_id, error)

    def _look(self, now: float) -> None:
        """Bring what may have changed up to date, for a moment, and do what its state asks for."""
        self._scan(now)
        if now >= self._sweep_at:
            self._board.sweep(1 + int(min(TICK_SECONDS, now - self._sweep_at) / SWEEP_SECONDS))
            self._sweep_at = now + SWEEP_SECONDS
        for job_id in list(self._board.live):
            with self._guarded(job_id):
                self._tend(job_id, now)
        for job_id in self._board.due(now):
            with self._guarded(job_id):
                self._update(job_id, now)
            if time.monotonic() - now > LOOK_SECONDS:
                break

    def _is_behind(self, now: float) -> bool:
        """Whether who goes first can't be said yet."""
        if not self._board.behind:
            self._behind_since = None
            return False
        self._behind_since = self._behind_since or now
        return now - self._behind_since < OVERDUE_SECONDS

    def _scan(self, now: float) -> None:
        """Who is new in the queue, who has left it, and whose folder has changed; only when the queue itself has.

        A while later once more: a file system's clock may be too coarse to show two changes.
        """
        mtime = durable.changed_at(self._home.queue)
        if mtime == self._queue_mtime and now < self._scan_at:
            return
        self._scan_at = now + RACY_SECONDS if mtime != self._queue_mtime else float("inf")
        self._queue_mtime = mtime
        there = set(filter(state.is_id, durable.names(self._home.queue)))
        for gone in [job_id for job_id in self._board if job_id not in there]:
            self._board.drop(gone)
        self._unreadable = {job_id: seen for job_id, seen in self._unreadable.items() if job_id in there}
        jobs = str(self._home.path / "jobs")
        for job_id in there:
            seen = self._board.get(job_id)
            known = seen.mtime if seen is not None else self._unreadable.get(job_id, -1)
            if durable.changed_at(f"{jobs}/{job_id}") != known:
                self._board.mark(job_id)

    def _tend(self, job_id: str, now: float) -> None:
        """See to a live job; it is derived anew only when its folder or its lease tell of a change."""
        seen, folder = self._board.get(job_id), self._home.job(job_id)
        assert seen is not None
        held = lease.is_held(JobFiles(folder).lease)
        if not held or seen.status.state == "lost" or seen.mtime != durable.changed_at(folder):
            self._board.hurry(job_id)
        elif seen.status.state == "cancelling" or seen.status.paused:
            self._note(seen, self._stop(seen.status))
        elif now - self._judged.get(job_id, 0.0) > JUDGE_SECONDS:
            self._judged[job_id] = now
            self._note(seen, state.because(seen.status, self._silence.judge(self._home, seen.status)))

    def _update(self, job_id: str, now: float) -> None:
        """Derive a job's status, and settle it."""
        if self._remote.is_busy(job_id) or not (self._home.queue / job_id).exists():
            return
        mtime = durable.changed_at(self._home.job(job_id))
        try:
            spec, status = state.look(self._home, job_id, held=CLEAR)
            old = self._board.get(job_id)
            waits_for = old.waits_for if old else ()
            if status.state == "blocked" and not waits_for:
                waits_for = (*spec.inputs.values(), *state.read_request(self._home, job_id).shards)
        except UserError as error:
            self._say(str(error))
            self._board.drop(job_id)
            self._unreadable[job_id] = mtime
            if durable.is_racy(mtime):  # it may be written just now
                self._board.mark_at(now + TICK_SECONDS, job_id)
            return
        self._unreadable.pop(job_id, None)
        seen = Seen(status, mtime, waits_for, old.noted if old else None)
        seen.status = self._settle(seen)
        racy = durable.is_racy(mtime) and (old is None or old.mtime != mtime)
        if racy or durable.changed_at(self._home.job(job_id)) != mtime:  # as by the first line of its history
            self._board.mark_at(now + RACY_SECONDS, job_id)
        if seen.status.final and not self._remote.is_cancelling(seen.status):
            self._board.put(seen, False)
            self._finish(job_id)
        else:
            self._board.put(seen, self._is_ready(seen.status, now))
        self._registrar.changed(job_id)

    def _settle(self, seen: Seen) -> Status:
        """Write the change of state down, and do what it asks for; the status that results."""
        status = seen.status
        if status.launcher != "local" and status.attempts:
            status = self._remote.settle(status)
        if status.state == "lost":
            self._board.put(seen, False)  # it stays in view, also when what follows can't be done yet
            self._heed(status, policy.after_loss(self._home, status, self._settings))
            seen.noted = None
            return state.derive(self._home, status.id, held=CLEAR)
        if status.state == "running" and not status.paused:
            self._signalled.pop((status.id, status.attempts), None)  # wanted again, it has all of the grace time again
            status = state.because(status, self._silence.judge(self._home, status))
        status = self._openings.explain(status)
        if status.state == "cancelling" or (status.state == "running" and status.paused):
            status = self._stop(status)  # first: a full disk may refuse the note
        self._note(seen, status)
        return status

    def _note(self, seen: Seen, status: Status) -> None:
        """Add the transition to the job's history, when it is one."""
        now = (status.state, status.reason, status.attempts)
        if seen.noted is None:
            last = state.last_change(self._home.job(status.id))
            seen.noted = (str(last.get("state", "")), str(last.get("reason", "")), last.get("attempt", -1))
        if seen.noted != now:
            retries = state.read_control(self._home, status.id).retries
            state.write_history(
                self._home, status.id, status.state, status.reason, status.attempts, status.cause, retries=retries
            )
            seen.noted = now
            self._registrar.changed(status.id)

    def _heed(self, status: Status, verdicts: Sequence[policy.Verdict]) -> None:
        """Hold or wait as they say, and write them down. Raises LockHeld, before anything is written, while somebody
        else is at the job's control file; the job is as it was then, and is looked at again.
        """
        for verdict in verdicts:
            if verdict.hold:
                control.pause(self._home, status.id, verdict.hold, seconds=0)
        for verdict in verdicts:
            state.write_history(
                self._home, status.id, verdict.state, verdict.reason, status.attempts, verdict.cause, **verdict.more
            )
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
        who = lease.worker_of(self._home.path, folder, state.read_attempt(folder, status.attempts))
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
        seen, mark = self._home.queue, self._home.queue / job_id
        known = durable.changed_at(seen) == self._queue_mtime
        durable.remove_file(mark)
        if known:  # our own change needs no look at all of the queue; one that came with it is found a while later
            self._queue_mtime = durable.changed_at(seen)
            self._scan_at = min(self._scan_at, time.monotonic() + RACY_SECONDS)
        self._board.drop(job_id)
        for forgotten in (self._not_before, self._storage, self._judged):
            forgotten.pop(job_id, None)
        if not state.derive(self._home, job_id, held=CLEAR).final:
            durable.mark(mark)

    def _recalling(self) -> bool:
        """Go on with `recall` for a moment; False when it has come to its end."""
        end = time.monotonic() + RECALL_SECONDS
        while time.monotonic() < end:
            if next(self._recalled, self) is self:
                return False
        return True

    # What is to be done

    def _dispatch(self, now: float) -> None:
        """Give ready jobs to free slots."""
        if self._settings.paused or shutil.disk_usage(self._home.path).free < outlook.ROOM_BYTES:
            return
        for launcher, waiting in self._board.to_submit.items():
            for job_id in list(itertools.islice(waiting, self._remote.room(launcher))):
                with self._guarded(job_id):
                    self._submit(job_id)
        at_work = {seen.status.slot for job_id in self._board.live if (seen := self._board.get(job_id)) is not None}
        for hand, wanted in self._staff.free(self._openings.slots(), self._openings.choose, at_work):
            with self._guarded(wanted.job):
                self._start(wanted.job, hand, now)

    def _is_ready(self, status: Status, now: float) -> bool:
        if status.state != "queued" or status.paused or status.native:
            return False
        attempt, moment = self._not_before.get(status.id, (0, 0.0))
        if attempt == status.attempts and now < moment:
            self._board.mark_at(moment, status.id)
            return False
        return True

    def _start(self, job_id: str, hand: Hand, now: float) -> None:
        """Claim the next attempt and hand it over."""
        if not self._leadership.holds():
            return
        seen = self._board.get(job_id)
        assert seen is not None
        status = seen.status
        spec = state.read_spec(self._home, job_id)
        if outlook.no_room(self._home, spec.kind, spec.model):  # on a disk of its own: others may have room
            self._board.put(seen, False)
            self._not_before[job_id] = (status.attempts, now + ROOM_SECONDS)
            self._board.mark_at(now + ROOM_SECONDS, job_id)
            self._busy_at = now  # it is waited for
            return
        note = {"slot": hand.slot, "worker": hand.who.to_json(), "launcher": "local", "epoch": self._leadership.epoch}
        number = status.attempts + 1
        self._board.hurry(job_id)
        if not state.claim(self._home, status.id, number, note):
            self._board.put(seen, False)
            return
        self._board.serve(status.experiment)
        if state.failed_by_storage(self._home, status.id):
            self._storage[status.id] = self._storage.get(status.id, 0) + 1
            delay = policy.backoff(self._settings, self._storage[status.id])
            self._not_before[status.id] = (number, time.monotonic() + delay)
        hand.give(status.id, number)
        self._update(job_id, now)

    def _submit(self, job_id: str) -> None:
        """Hand it to its cluster, whose thread tells when that is done."""
        seen = self._board.get(job_id)
        assert seen is not None
        self._board.put(seen, False)
        self._remote.start(seen.status, self._leadership)

    def _refuse(self, job_id: str, error: Exception) -> None:
        """Say in the job's own folder why its cluster didn't take it; it is submitted again later."""
        if durable.is_storage(error):
            self._starve(error)
            return
        folder = self._home.job(job_id)
        status = state.derive(self._home, job_id, held=CLEAR)
        status = replace(status, attempts=state.attempts(folder), reason=" ".join(str(error).split()))
        verdicts = policy.after_refusal(self._home, status, self._settings)
        if verdicts[-1].state == "failed" and isinstance(error, UserError):  # first: who sees it failed asks what kind
            content = {"kind": "user", "message": status.reason, "attempt": status.attempts}
            durable.write_json(JobFiles(folder).error, content)
        self._heed(status, verdicts)

    # Its own troubles

    @contextmanager
    def _guarded(self, job_id: str) -> Iterator[None]:
        """One job's trouble is not another's; a disk that can't be written is waited for."""
        try:
            yield
        except (OSError, UserError) as error:
            self._board.mark_at(time.monotonic() + STARVED_SECONDS, job_id)
            if durable.is_storage(error) or getattr(error, "errno", 0) in durable.NO_RESOURCES:
                self._starve(error)
            else:
                self._say(f"{job_id}: {error}")
        except Exception:  # noqa: BLE001 - a folder nobody foresaw must not stop the queue
            self._board.mark_at(time.monotonic() + STARVED_SECONDS, job_id)
            self._say(f"{job_id}: {traceback.format_exc()}")

    def _starve(self, error: Exception) -> None:
        """Start nothing for a moment."""
        self._starved_until = time.monotonic() + STARVED_SECONDS
        self._staff.starve(error)
        self._say(str(error))


def stop_on_signals() -> None:
    """SIGTERM and SIGINT end the runner in order; its workers get their own."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run(home: Home, *, idle_seconds: float = IDLE_SECONDS, patience: float = leader.TAKEOVER_SECONDS) -> bool:
    """Lead the home until nothing is left to do, or nothing can be; False when another runner does already.

    A mistake of ours is raised, and before told to those who wait.
    """
    led = False
    while (leadership := _lead(home, patience)) is not None:
        led = True
        runner = Runner(home, leadership, idle_seconds=idle_seconds)
        try:
            while runner.tick():
                runner.wait()
        except Exception as error:
            runner.crashed(error)
            raise
        finally:
            runner.close()
        if runner.outdated:
            spawn.ensure_runner(home)
            break
        if runner.left or leader.newest(home) != leadership.epoch or not runner.overlooked:
            break
    return led


def _lead(home: Home, patience: float) -> leader.Leadership | None:
    """As `leader.take`; a disk that can't be written is waited for, but not for ever."""
    end = time.monotonic() + DISK_SECONDS
    while True:
        try:
            return leader.take(home, patience)
        except (OSError, UserError) as error:
            if not durable.is_storage(error) or time.monotonic() > end:
                raise
            time.sleep(STARVED_SECONDS)
