"""What the runner knows of the open jobs: what has to be looked at, who waits for whom, and who goes next.

Each step costs the same whether ten jobs wait or ten thousand: nothing here goes through all of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from datadream.home.state import Status
from datadream.home.variables import Asked

LIVE = frozenset({"running", "cancelling", "lost"})
Group = tuple[int, str, Asked]  # priority, experiment and the settings it was asked for with
Rank = tuple[int, int, int, int, str]


@dataclass
class Seen:
    """A job's status as last derived, and of which state of its folder; `waits_for` are whose outputs it takes."""

    status: Status
    mtime: int
    waits_for: Collection[str] = ()
    noted: tuple[str, str, int] | None = None


class Board:
    """Keeps what it is told with `put`, until `drop`."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.to_submit: dict[str, dict[str, None]] = {}  # by cluster, in the order they came
        self._seen: dict[str, Seen] = {}
        self._due: dict[str, None] = {}
        self._urgent: dict[str, None] = {}
        self._timers: list[tuple[float, str]] = []
        self._children: dict[str, set[str]] = {}
        self._waiting: set[str] = set()
        self._ready: dict[str, tuple[Group, int]] = {}
        self._ready_with: Counter[Asked] = Counter()
        self._groups: dict[Group, list[tuple[int, str]]] = {}
        self._groups_of: dict[str, set[Group]] = {}
        self._ranks: dict[Asked, list[tuple[Rank, Group]]] = {}
        self._rank_of: dict[Group, Rank] = {}
        self._running: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._turn = 0
        self._sweep: Iterator[str] = iter(())

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._seen

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def get(self, job_id: str) -> Seen | None:
        """What is known of a job."""
        return self._seen.get(job_id)

    # What has to be looked at

    def mark(self, *job_ids: str) -> None:
        """They may have changed."""
        self._due.update(dict.fromkeys(job_ids))

    def hurry(self, *job_ids: str) -> None:
        """They have changed: they are looked at before all that may have."""
        self._urgent.update(dict.fromkeys(job_ids))

    def mark_at(self, moment: float, job_id: str) -> None:
        """It is to be looked at by then."""
        heapq.heappush(self._timers, (moment, job_id))

    def due(self, now: float) -> Iterator[str]:
        """Those that have to be looked at, each once; the caller may stop at any time."""
        while self._timers and self._timers[0][0] <= now:
            self._due[heapq.heappop(self._timers)[1]] = None
        while self._urgent or self._due:
            job_id = next(iter(self._urgent or self._due))
            self._urgent.pop(job_id, None)
            self._due.pop(job_id, None)
            yield job_id

    @property
    def behind(self) -> bool:
        """Whether some have to be looked at."""
        return bool(self._urgent or self._due)

    def sweep(self, count: int) -> None:
        """Mark the next few of all: changes that no folder's time tells are found as well, in a while."""
        for _ in range(count):
            job_id = next(self._sweep, None)
            if job_id is None:
                self._sweep = iter(list(self._seen))
                return
            if job_id in self._seen:
                self._due[job_id] = None

    # What is known

    def put(self, seen: Seen, ready: bool) -> None:
        """What is known of a job now; `ready` when nothing holds it back. Those that wait for it are marked."""
        status, old = seen.status, self._seen.get(seen.status.id)
        self._seen[status.id] = seen
        if outcome(status) != (outcome(old.status) if old else ""):
            self.mark(*self._children.get(status.id, ()))
        self._note_parents(status.id, old.waits_for if old else (), seen.waits_for)
        self._note_state(old.status if old else None, status)
        self._note_ready(status, ready)

    def drop(self, job_id: str) -> None:
        """Forget it; those that wait for it are marked."""
        old = self._seen.pop(job_id, None)
        self._due.pop(job_id, None)
        self._urgent.pop(job_id, None)
        self.mark(*self._children.get(job_id, ()))
        if old is not None:
            self._note_parents(job_id, old.waits_for, ())
            self._note_state(old.status, None)
            self._unready(job_id)
            self.to_submit.get(old.status.launcher, {}).pop(job_id, None)

    def is_active(self, paused: bool) -> bool:
        """Whether a job runs, or could if there were room for it."""
        return bool(self.live) or (not paused and bool(self._waiting))

    def _note_parents(self, job_id: str, old: Collection[str], new: Collection[str]) -> None:
        if old == new:
            return
        for parent in old:
            self._children[parent].discard(job_id)
            if not self._children[parent]:
                del self._children[parent]
        for parent in new:
            self._children.setdefault(parent, set()).add(job_id)

    def _note_state(self, old: Status | None, new: Status | None) -> None:
        if old is not None:
            self.live.discard(old.id)
            self._waiting.discard(old.id)
            if old.state in ("running", "cancelling"):
                self._running[old.experiment] -= 1
        if new is not None:
            if new.state in LIVE:
                self.live.add(new.id)
            if new.state == "queued" and not new.paused:
                self._waiting.add(new.id)
            if new.state in ("running", "cancelling"):
                self._running[new.experiment] += 1
        for experiment in {status.experiment for status in (old, new) if status is not None}:
            self._rank_again(experiment)

    # Who goes next: urgent first; then the experiment that has the least running; then the one served longest ago; age

    @property
    def ready(self) -> int:
        """How many jobs could start here."""
        return len(self._ready)

    @property
    def asks(self) -> Collection[Asked]:
        """The settings that jobs which could start here were asked for with."""
        return self._ready_with.keys()

    def ready_with(self, asked: Asked) -> int:
        """How many jobs could start here that were asked for with these settings."""
        return self._ready_with[asked]

    def mark_ready(self, asked: Asked) -> None:
        """All jobs that could start here and were asked for with these settings may have changed."""
        self.mark(*(job_id for job_id, (group, _) in self._ready.items() if group[2] == asked))

    def next(self, asks: Iterable[Asked] | None = None) -> str | None:
        """The job to start next on this machine, of those asked for with `asks`; of all without."""
        firsts = [found for asked in (list(self.asks) if asks is None else asks) if (found := self._first(asked))]
        return self._groups[min(firsts, key=lambda found: found[0])[1]][0][1] if firsts else None

    def _first(self, asked: Asked) -> tuple[Rank, Group] | None:
        ranks = self._ranks.get(asked, [])
        while ranks:
            rank, group = ranks[0]
            current = self._rank(group)
            if current is None or self._rank_of.get(group) != rank:
                heapq.heappop(ranks)
                if current is None and self._rank_of.get(group) == rank:
                    del self._rank_of[group]
            elif current != rank:
                self._rank_of[group] = current
                heapq.heapreplace(ranks, (current, group))
            else:
                return ranks[0]
        self._ranks.pop(asked, None)
        return None

    def serve(self, experiment: str) -> None:
        """One of its jobs was started."""
        self._turn += 1
        self._served[experiment] = self._turn

    def _note_ready(self, status: Status, ready: bool) -> None:
        here = ready and status.launcher == "local"
        group = status.priority, status.experiment, status.asked
        if ready and not here:
            self.to_submit.setdefault(status.launcher, {})[status.id] = None
        else:
            self.to_submit.get(status.launcher, {}).pop(status.id, None)
        if here and self._ready.get(status.id) == (group, status.order):
            return
        self._unready(status.id)
        if here:
            self._ready[status.id] = group, status.order
            self._ready_with[status.asked] += 1
            heapq.heappush(self._groups.setdefault(group, []), (status.order, status.id))
            self._groups_of.setdefault(status.experiment, set()).add(group)
            self._rank_again(status.experiment)

    def _unready(self, job_id: str) -> None:
        if (old := self._ready.pop(job_id, None)) is not None:
            asked = old[0][2]
            self._ready_with[asked] -= 1
            if not self._ready_with[asked]:
                del self._ready_with[asked]

    def _rank_again(self, experiment: str) -> None:
        """Where a group may go sooner than before; that it must go later is found when its turn comes."""
        for group in list(self._groups_of.get(experiment, ())):
            rank = self._rank(group)
            if rank is None:
                self._groups_of[experiment].discard(group)
            elif group not in self._rank_of or rank < self._rank_of[group]:
                self._rank_of[group] = rank
                heapq.heappush(self._ranks.setdefault(group[2], []), (rank, group))

    def _rank(self, group: Group) -> Rank | None:
        """Of the first ready job of a group; None when it has none."""
        waiting = self._groups.get(group, [])
        while waiting and self._ready.get(waiting[0][1]) != (group, waiting[0][0]):
            heapq.heappop(waiting)
        if not waiting:
            self._groups.pop(group, None)
            return None
        priority, experiment, _ = group
        return -priority, self._running[experiment], self._served.get(experiment, 0), waiting[0][0], experiment


def outcome(status: Status) -> str:
    """What of a job matters to those that wait for it."""
    return status.state if status.final else status.reason if status.hopeless else ""
