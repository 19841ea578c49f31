"""Keeping the registry what the folders say: little by little while things change, or all of it anew.

A folder that hasn't changed since it was read isn't read again. A change in the same moment as the reading could be
missed by its time stamp, so what changed just now is looked at once more (git's "racy" rule).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlmodel import Session

from datadream import durable, locks
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.home import evidence, flaws, leasefiles, mounts, outlook, state
from datadream.home.causes import CLEAR, Why
from datadream.home.jobfiles import HISTORY, JobFiles
from datadream.home.layout import Home, Kind
from datadream.home.lease import lease, lock
from datadream.records import Unreadable
from store import queries, rows, writes
from store import registry as store
from store.registry import Guard, Registry, remove
from store.tables import KINDS, Problem

RECHECKED = 200  # newest runs whose evidence is looked at whenever the registry is opened
CHUNK_SECONDS = 0.2  # of work in one transaction, so that other writers get their turn
PAUSE_SECONDS = 0.01  # between two of them
LIST_SECONDS = 5.0  # whoever only wants to look waits for others' writing for as long
EVENTS_BYTES = 4 << 20  # of one job's events in one task
PASSING = "can't be read now: "  # how a problem begins that may be gone at the next look
Task = Callable[[Session], None]


@dataclass
class _Look:
    """One look at a home: how far things have been read, which jobs ran then, and why nothing starts."""

    marks: dict[str, int]
    live: Collection[str]
    held: Why
    again: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)  # jobs with more events than one task takes in


def open_registry(
    home: Home,
    seconds: float | None = None,
    notices: locks.Notice = locks.silent,
    patience: float = LIST_SECONDS,
) -> Registry:
    """The home's registry, brought up to date; at most about `seconds` are spent on that, None for as long as it takes.

    While somebody has it locked for longer than `patience` seconds, it is as it was last brought up to date, and
    `notices` hears who that is; when there was none, it is one of our own, made from the folders and gone when it is
    closed. Raises UserError when the registry is from a newer version.
    """
    try:
        registry = connect(home, notices, patience)
    except locks.LockHeld as error:
        notices(f"{error}; reading the folders instead")
        return _aside(home, seconds)
    try:
        sync(home, registry, seconds)
        recheck(home, registry)
    except locks.LockHeld as error:
        if not _can_be_read(registry):
            registry.close()
            notices(f"{error}; reading the folders instead")
            return _aside(home, seconds)
        notices(f"{error}; the view may be out of date")
    return registry


def _can_be_read(registry: Registry) -> bool:
    try:
        with registry.reading() as session:
            writes.read_marks(session)
    except locks.LockHeld:
        return False
    return True


def _aside(home: Home, seconds: float | None) -> Registry:
    """A registry of this process alone."""
    folder = tempfile.TemporaryDirectory(prefix="datadream-", ignore_cleanup_errors=True)
    path = Path(folder.name) / "registry.db"
    registry = Registry.open(path, path.with_suffix(".lock"))
    registry.on_close = folder.cleanup
    sync(home, registry, seconds)
    return registry


def connect(home: Home, notices: locks.Notice = locks.silent, patience: float | None = None) -> Registry:
    """The home's registry as it stands. Raises UserError when it is from a newer version, or the disk refuses."""
    guard = _guard(home.registry_lock)
    return Registry.open(home.registry, home.registry_lock, notices=notices, patience=patience, guard=guard)


def open_in_memory(home: Home) -> Registry:
    """All that the home's registry would hold now, in this process alone: for looking, on a disk that takes nothing."""
    from store.memory import MemoryRegistry

    registry = MemoryRegistry(home.registry)
    sync(home, registry)
    return registry


def _guard(path: Path) -> Guard | None:
    """A lock for where the kernel's, which SQLite and the registry's writers rely on, keep nobody out."""
    trusted = mounts.has_kernel_locks(path) and mounts.features(path).flock
    if trusted:
        return None
    # Long enough to see that a holder is dead.
    return lambda seconds, told: lock(path, told, seconds + leasefiles.LEASE_SECONDS)


def sync(home: Home, registry: Registry, seconds: float | None = None) -> int:
    """Read what has changed; the number of things read. What `seconds` didn't suffice for is left to the next call.

    Raises LockHeld when somebody has the registry for too long; what was read until then is in.
    """
    end = None if seconds is None else time.monotonic() + seconds
    with registry.reading() as session:
        marks, live = writes.read_marks(session), writes.live_jobs(session)
    if seconds is None:
        for path, what in queries.problems(registry):
            if what.startswith(PASSING):  # no time of a folder tells when its rights or its disk are back
                marks.pop(path, None)
                marks.pop(path.rpartition("/")[0], None)
    tasks = _tasks(home, _Look(marks, live, outlook.held_up(home)))
    count, more = 0, True
    while more and (end is None or time.monotonic() < end or not count):
        task = next(tasks, None)
        if task is None:
            break
        with registry.writing() as session:
            writes.defer_references(session)
            began = time.monotonic()
            while task is not None:
                task(session)
                count += 1
                if time.monotonic() - began > CHUNK_SECONDS or (end is not None and time.monotonic() > end):
                    break
                task = next(tasks, None)
            more = task is not None
            writes.mend_references(session)
        if more:
            time.sleep(PAUSE_SECONDS)
    return count


def recheck(home: Home, registry: Registry, limit: int = RECHECKED) -> int:
    """Read again those of the newest `limit` runs whose record, answers or set were written to since; how many.

    A folder's time doesn't tell that a file in it was written to in place.
    """
    changed = []
    for run_id, classifier_id, set_id, before in queries.evidence(registry, limit):
        now = evidence.mark(home, run_id, classifier_id, set_id)
        if now != before or not now:
            changed.append((run_id, classifier_id, now))
    damaged = [Path(path).name for path, _ in queries.problems(registry) if path.startswith("runs/")][:limit]
    with registry.writing() if changed or damaged else nullcontext() as session:
        if session is None:
            return 0
        writes.defer_references(session)
        look = _Look({}, frozenset(), CLEAR)
        for run_id, classifier_id, now in changed:
            _artifact(home, look, "classifier", classifier_id, session)
            _run(home, f"{run_id}.json", session)
            writes.mark(session, f"evidence/{run_id}", now)
        for name in damaged:
            jobs = (state.read_dict(home.path / "runs" / name) or {}).get("jobs")
            classifier_id = str(jobs.get("classify")) if isinstance(jobs, dict) else ""
            if state.is_id(classifier_id):
                _artifact(home, look, "classifier", classifier_id, session)
            _run(home, name, session)
        writes.mend_references(session)
    return len(changed) + len(damaged)


def follow(home: Home, registry: Registry, job_ids: Collection[str], held: Why) -> None:
    """Bring in what these jobs have told: state, progress, new metrics, and what they made. One transaction.

    Costs as much as there are jobs to look at, however many others there are. `held` is why nothing starts at all.
    """
    look = _Look({}, frozenset(), held)
    with registry.writing() as session:
        writes.defer_references(session)
        writes.hold(session, *held)
        for job_id in sorted(job_ids):
            _job(home, look, job_id, session)
            made = writes.kind_of(session, job_id)
            if made not in KINDS:
                continue
            kind = cast(Kind, made)
            if home.has(kind, job_id):
                place = f"artifacts/{kind}/{job_id}"
                mtime = durable.changed_at(home.path / place)
                if writes.read_mark(session, place) != mtime:
                    _artifact(home, look, kind, job_id, session)
                    _mark(place, mtime, session)
                    writes.mend_references_of(session, job_id)


def rebuild(home: Home, notices: locks.Notice = locks.silent) -> Registry:
    """Make the registry anew from the folders alone, in the place of the old one, which stays until that is done.

    Those who ask for that at once do it one after the other. Raises LockHeld when somebody keeps the registry locked.
    """
    fresh = home.path / ".registry.db.rebuilt"
    with lease(home.path / ".registry.rebuild", notices, seconds=math.inf):
        try:
            remove(fresh)
            writers = home.path / ".registry.rebuild-lock"
            made = Registry.open(fresh, writers, guard=_guard(writers))
            sync(home, made)
            with made.reading() as session:
                writes.sql(session, "PRAGMA wal_checkpoint(TRUNCATE)")
            made.close()
            guard = _guard(home.registry_lock)
            with Registry(home.registry, home.registry_lock, notices, guard=guard).alone():
                store.install(fresh, home.registry, guard is not None)
        finally:
            remove(fresh)
    return connect(home, notices)


def _tasks(home: Home, look: _Look) -> Iterator[Task]:
    """Everything that may have changed, a task each; folders come before what refers to them only by chance."""
    marks = look.marks
    for kind in KINDS:
        yield from _folder(
            home,
            marks,
            f"artifacts/{kind}",
            partial(_artifact, home, look, kind),
            partial(_no_artifact, look, kind),
            state.is_id,
        )
    yield from _jobs(home, look)
    yield from _folder(home, marks, "runs", partial(_run, home), _no_run, _is_json)  # its jobs say how it goes on
    for place, read, gone in (
        ("names/set", rows.name_rows, _no_name),
        ("labels", rows.label_rows, _no_labels),
        ("experiments", rows.experiment_rows, _no_experiment),
        ("marks", rows.mark_rows, _no_marks),
    ):
        yield from _folder(home, marks, place, partial(_file, home, place, read, gone), gone, _is_json)
    if writes.held_mark(*look.held) not in marks:
        yield lambda session: writes.hold(session, *look.held)


def _folder(
    home: Home,
    marks: dict[str, int],
    place: str,
    read: Callable[[str, Session], None],
    gone: Callable[[str, Session], None],
    wanted: Callable[[str], bool],
) -> Iterator[Task]:
    """Tasks for the entries of `place` that are new, changed or gone; none when the folder itself is as it was."""
    folder = home.path / place
    mtime = durable.changed_at(folder)
    if mtime and marks.get(place) == mtime:
        return
    try:
        entries = {path.name: path for path in folder.iterdir() if wanted(path.name)} if mtime else {}
    except OSError as error:
        if error.errno in durable.NO_RESOURCES:
            raise
        yield partial(_unlisted, place, error)
        return
    for name, path in sorted(entries.items()):
        changed = durable.changed_at(path)
        if marks.get(f"{place}/{name}") != changed:
            yield partial(_read_and_mark, read, f"{place}/{name}", name, changed)
    known = [path for path in marks if path.startswith(f"{place}/") and path.count("/") == place.count("/") + 1]
    for path_ in known:
        if path_.removeprefix(f"{place}/") not in entries:
            yield partial(_gone_and_mark, gone, path_)
    if mtime:
        yield partial(_listed, place, mtime)


def _listed(place: str, mtime: int, session: Session) -> None:
    writes.solve(session, place, below=False)
    _mark(place, mtime, session)


def _unlisted(place: str, error: OSError, session: Session) -> None:
    """A folder that can't be looked into is a problem like any other; what was known of it stays."""
    what = passing(error) or f"can't be listed: {error.strerror}"
    writes.put(session, [Problem(path=place, what=what)])


def _read_and_mark(read: Callable[[str, Session], None], place: str, name: str, mtime: int, session: Session) -> None:
    read(name, session)
    _mark(place, mtime, session)


def _gone_and_mark(gone: Callable[[str, Session], None], place: str, session: Session) -> None:
    gone(place.rsplit("/", 1)[1], session)
    writes.unmark(session, place)


def _mark(place: str, mtime: int, session: Session) -> None:
    """Remember that it was read as of `mtime`; when that is this very moment, only that it is known."""
    writes.mark(session, place, 0 if durable.is_racy(mtime) else mtime)


def passing(error: Exception) -> str:
    """What to say of a problem that may be gone at the next look, for want of rights or of a disk; "" of any other."""
    said = ""
    for link in durable.causes(error):
        if isinstance(link, OSError) and link.errno in durable.NO_READ:
            said = f"{PASSING}{link.strerror}"
    return said


def _take(session: Session, place: str, change: Callable[[], None]) -> bool:
    """`change` the rows of `place`, all or nothing, and whether that could be done.

    What can't be read or kept is listed as a problem of `place`: one odd folder must not stop the runner. Only a
    database that can't be used is an error.
    """
    writes.solve(session, place)
    try:
        with session.begin_nested():
            change()
    except (IntegrityError, DataError) as error:
        what = f"does not fit the registry: {error.orig}"
    except DBAPIError:
        raise
    except KeyError as error:
        what = f"lacks {error}"
    except Exception as error:  # noqa: BLE001 - folders may hold anything: a number too large, a file that is a folder
        what = passing(error) or _in_words(error)
    else:
        return True
    writes.put(session, [Problem(path=place, what=what.encode(errors="replace").decode())])
    return False


def _in_words(error: Exception) -> str:
    """What is wrong, without where: that is the problem's path."""
    if isinstance(error, Unreadable):
        return error.reason
    return (error.message if isinstance(error, UserError) else str(error)) or type(error).__name__


def _artifact(home: Home, look: _Look, kind: str, artifact_id: str, session: Session) -> None:
    _no_artifact(look, kind, artifact_id, session)
    place = f"artifacts/{kind}/{artifact_id}"
    if (home.path / place).is_dir():
        _take(session, place, lambda: writes.put(session, rows.artifact_rows(home, kind, artifact_id)))
    writes.score_runs(session, artifact_id)
    for run_id in writes.runs_of_selections(session, artifact_id):  # what a selection left is known by now
        _run(home, f"{run_id}.json", session)


def _no_artifact(look: _Look, kind: str, artifact_id: str, session: Session) -> None:
    """Its rows go. Its job, and those that wait for it, are looked at again: their states say whether it is there."""
    writes.remove_artifact(session, kind, artifact_id)
    writes.score_runs(session, artifact_id)
    for job_id in (artifact_id, *writes.waiting_for(session, artifact_id, kind)):
        _read_again(look, job_id, session)


def _read_again(look: _Look, job_id: str, session: Session) -> None:
    if look.marks.get(f"jobs/{job_id}"):
        look.marks[f"jobs/{job_id}"] = 0
        look.again.append(job_id)
        writes.mark(session, f"jobs/{job_id}", 0)


def _run(home: Home, name: str, session: Session) -> None:
    _no_run(name, session)
    run_id = name.removesuffix(".json")
    _take(session, f"runs/{name}", lambda: writes.put(session, rows.run_rows(home, run_id)))
    writes.score_run(session, run_id)


def _no_run(name: str, session: Session) -> None:
    writes.remove_run(session, name.removesuffix(".json"))
    writes.unmark(session, f"evidence/{name.removesuffix('.json')}")


def _jobs(home: Home, look: _Look) -> Iterator[Task]:
    """Tasks for jobs that run, have changed since they were read, or are new; and for those that are gone."""
    place, marks = "jobs", look.marks
    folder = home.path / place
    mtime = durable.changed_at(folder)
    open_ = set(durable.names(home.queue))
    if marks.get(place) == mtime:
        names = [path.split("/")[1] for path, value in marks.items() if path.startswith("jobs/") and value <= 0]
        names += [name for name in open_ if f"jobs/{name}" in marks]
    else:
        try:
            names = [path.name for path in folder.iterdir() if state.is_id(path.name)] if mtime else []
        except OSError as error:
            if error.errno in durable.NO_RESOURCES:
                raise
            yield partial(_unlisted, place, error)
            return
        there = set(names)
        for path in marks:
            if path.startswith("jobs/") and path.split("/")[1] not in there:
                yield partial(_gone_and_mark, _no_job, path)
    look.again.clear()  # those are among the names
    for name in sorted(set(names)):
        known = marks.get(f"jobs/{name}")
        if not known or name in look.live or known != _stamp(home, name, name in open_):
            yield from _read_job(home, look, name)
    while look.again:
        yield from _read_job(home, look, look.again.pop())
    if mtime and marks.get(place) != mtime:
        yield partial(_listed, place, mtime)


def _read_job(home: Home, look: _Look, job_id: str) -> Iterator[Task]:
    """As many tasks as its events need."""
    yield partial(_job, home, look, job_id)
    while job_id in look.unread:
        yield partial(_job, home, look, job_id)


def _stamp(home: Home, job_id: str, is_open: bool) -> int:
    """Another one whenever a job has changed, but for what it tells while it runs; 0 without one.

    Of a job that is over it is the time of its folder. An open one's history grows without its folder showing that; its
    stamp is negative, so that one that has left the queue since is looked at once more.
    """
    folder = f"{home.path}/jobs/{job_id}"
    changed = durable.changed_at(folder)
    if not is_open:
        return changed
    return -((changed + 3 * durable.changed_at(f"{folder}/{HISTORY}")) % (1 << 62)) - 1


def _job(home: Home, look: _Look, job_id: str, session: Session) -> None:
    """Its rows anew, and more points of its curves: at most EVENTS_BYTES of its events, the rest another time."""
    folder = home.job(job_id)
    # Looked at before it is read: what changes meanwhile is then read once more.
    is_open = (home.queue / job_id).exists()
    stamp, times = _stamp(home, job_id, is_open), [durable.changed_at(folder)]
    times += [durable.changed_at(JobFiles(folder).history)] * is_open
    old = writes.known_job(session, job_id)
    look.unread.discard(job_id)
    found: list[Any] = []

    def change() -> None:
        found.extend(rows.job_rows(home, job_id, look.held))
        offset, bad = (old.offset, old.bad_lines) if old else (0, 0)
        if durable.size_of(JobFiles(folder).events) < offset:
            writes.remove_job(session, job_id)
            offset = bad = 0
        found[0].bad_lines = bad
        writes.put_job(session, found, offset, new=not (old and offset == old.offset))
        end = offset + EVENTS_BYTES
        while offset < end:
            points, bad, reached = rows.metric_points(home, job_id, offset)
            if reached == offset:
                return
            offset = reached
            writes.add_points(session, job_id, points, bad, offset)
        look.unread.add(job_id)

    taken = _take(session, f"jobs/{job_id}", change)
    if taken:
        writes.put(session, [_flaw(home, error) for error in flaws.of_job(home, job_id)])
    else:
        writes.remove_job(session, job_id)
    again = job_id in look.unread or any(map(durable.is_racy, times))
    writes.mark(session, f"jobs/{job_id}", 0 if again else stamp)
    if old is not None and (not taken or (found[0].state, found[0].reason) != (old.state, old.reason)):
        for child in writes.waiting_for(session, job_id, found[0].kind if found else ""):
            _read_again(look, child, session)


def _flaw(home: Home, error: Unreadable) -> Problem:
    what = passing(error) or error.reason
    return Problem(path=error.path.relative_to(home.path).as_posix(), what=what.encode(errors="replace").decode())


def _no_job(job_id: str, session: Session) -> None:
    writes.remove_job(session, job_id)


def _file(
    home: Home,
    place: str,
    read: Callable[[Home, Path], list[Any]],
    gone: Callable[[str, Session], None],
    name: str,
    session: Session,
) -> None:
    gone(name, session)
    _take(session, f"{place}/{name}", lambda: writes.put(session, read(home, home.path / place / name)))


def _no_name(name: str, session: Session) -> None:
    for known in writes.set_names(session):
        if f"{short_id(known)}.json" == name:
            writes.remove_name(session, known)


def _no_labels(name: str, session: Session) -> None:
    writes.remove_labels(session, name.removesuffix(".json"))


def _no_experiment(name: str, session: Session) -> None:
    writes.remove_experiment(session, name.removesuffix(".json"))


def _no_marks(name: str, session: Session) -> None:
    """Marks have no rows."""


def _is_json(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
