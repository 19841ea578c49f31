"""What can go: nothing that a kept run descends from, that is named, labelled or marked, that an open job works on, or
that a failed or cancelled one would go on from.

What goes is renamed into the trash (`trash`) in one step, then looked at once more: what has come to be needed in that
very moment is put back. A record that can't be read might keep anything, so with one about nothing goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import control, state, trash
from datadream.home.artifacts import read_manifest
from datadream.home.experiments import read_experiment
from datadream.home.jobfiles import JobFiles
from datadream.home.labels import read_labels
from datadream.home.layout import Home
from datadream.home.lease import is_held, lease
from datadream.home.marks import read_marks
from datadream.home.runs import read_record
from datadream.home.sets import read_name
from datadream.locks import LockHeld
from datadream.stages.table import Kind

T = TypeVar("T")
Keeps = Callable[[Home, Path], set[str]]  # ids of what the record at a path keeps; Unreadable when it can't be told
GRACE_SECONDS = 3600.0
KINDS: tuple[Kind, ...] = get_args(Kind)
# Whatever comes to keep an artifact changes one of these folders.
ROOTS = ("runs", "names/set", "labels", "marks", "experiments", "queue")


@dataclass(frozen=True)
class Removable:
    """A folder that can go. `path` is relative to the home, `size` in bytes, `age` in seconds since its last change."""

    path: str
    kind: str
    id: str
    size: int
    why: str
    age: float = 0.0


def plan(home: Home, jobs: bool = False, grace: float = 0.0) -> list[Removable]:
    """What can go: staging nobody goes on from, checkpoints of jobs that are done, artifacts nothing keeps, leftovers
    of what was cut short; with `jobs` the folders of jobs that are over too, and what only they would go on from.

    What has changed within `grace` seconds stays, with all that it needs. Raises UserError naming a file that can't
    be read, and so may keep anything.
    """
    states = _states(home)
    found: list[Removable] = []

    def add(path: Path, kind: str, id_: str, why: str) -> bool:
        with suppress(FileNotFoundError):  # it went while we looked
            item = _weighed(home, path, kind, id_, why)
            if item.age >= grace:
                found.append(item)
                return True
        return False

    going = {
        job_id
        for job_id, found_state in sorted(states.items())
        if jobs and _can_go(home, job_id, found_state) and add(home.job(job_id), "job", job_id, _why(found_state))
    }
    kept = _kept(home, states.keys() - going, states)
    for kind in KINDS:
        for path in _folders(home.path / "artifacts" / kind):
            if path.name.startswith(".staging-"):
                job_id = path.name.removeprefix(".staging-")
                if job_id in going or _leaves(home, path, job_id):
                    add(path, "staging", job_id, "left by a finished job")
            elif state.is_id(path.name) and path.name not in kept:
                why = "no job needs its images" if kind == "shard" else "no run, name, tag or note keeps it"
                add(path, kind, path.name, why)
    for job_id, found_state in sorted(states.items()):
        checkpoint = home.files(job_id).checkpoint
        if job_id not in going and found_state == "done" and checkpoint.is_dir():
            add(checkpoint, "checkpoint", job_id, "its job is done")
    return found + [item for item in _leftovers(home) if item.age >= grace]


def apply(home: Home, chosen: Iterable[Removable], grace: float = 0.0) -> list[Removable]:
    """Move what was planned into the trash, unless something has come to need it since, or it has changed; what went.

    Jobs' folders go first: while one is there, what it would go on from is needed. Leftovers, which nobody can use,
    go for good.
    """
    gone, kept = [], _Kept(home)
    for item in sorted(chosen, key=lambda item: item.kind != "job"):
        path = home.path / item.path
        with suppress(FileNotFoundError, LockHeld):  # another gc was first, or a worker came
            if grace and _weighed(home, path, item.kind, item.id, "").age < grace:
                continue
            if _remove(home, item, path, kept):
                gone.append(item)
    return gone


def _remove(home: Home, item: Removable, path: Path, kept: _Kept) -> bool:
    if item.kind == "leftover":
        durable.sweep(path)
        return True
    if item.kind == "job":
        return control.discard(home, item.id, lambda: _can_go(home, item.id, _state(home, item.id)))
    if item.kind not in ("staging", "checkpoint"):
        return _discard(home, path, lambda: item.id not in kept.now())
    if not home.job(item.id).is_dir():
        return _discard(home, path, lambda: _leaves(home, path, item.id))
    if not _leaves(home, path, item.id):
        return False
    with lease(home.files(item.id).lease, seconds=0):  # no worker starts on it meanwhile
        trash.discard(home, path)
    return True


def _discard(home: Home, path: Path, free: Callable[[], bool]) -> bool:
    """Into the trash, when it is free, and back when in that very moment it has come to be needed, or may have."""
    if not free():
        return False
    entry = trash.discard(home, path)
    try:
        if free():
            return True
    except UserError:
        trash.put_back(home, entry)
        raise
    return not trash.put_back(home, entry)


class _Kept:
    """Ids of artifacts that stay, found anew only when something that keeps may have come since."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._stamp: tuple[int, ...] = ()
        self._ids: Set[str] = frozenset()

    def now(self) -> Set[str]:
        stamp = tuple(durable.changed_at(self._home.path / place) for place in ROOTS)
        if any(map(durable.is_racy, stamp)) or stamp != self._stamp:
            states = _states(self._home)
            self._stamp, self._ids = stamp, _kept(self._home, states.keys(), states)
        return self._ids


def _can_go(home: Home, job_id: str, found: str) -> bool:
    """Whether the folder of a job in the state `found` isn't needed any more."""
    return found in (*state.FINAL, "begun") and not home.label(job_id).exists()


def _leaves(home: Home, path: Path, job_id: str) -> bool:
    """Whether nobody needs the staging or checkpoint at `path`: its job is gone, or done and what it made is whole."""
    found = _state(home, job_id)
    if not path.name.startswith(".staging-"):
        return found == "done"
    kind: Any = path.parent.name
    return found == "gone" or (found == "done" and home.has(kind, job_id))


def _states(home: Home) -> dict[str, str]:
    """Every job that has a folder, and its state as `_state` has it."""
    return {path.name: _state(home, path.name) for path in _folders(home.path / "jobs") if state.is_id(path.name)}


def _state(home: Home, job_id: str) -> str:
    """A job's state; `open` while somebody may work on it, `gone` without a folder, `begun` without a spec, when
    whoever asked for it died over that, `unreadable` when nothing can be told.
    """
    folder = home.job(job_id)
    if (home.queue / job_id).exists():
        return "open"
    if not folder.is_dir():
        return "gone"
    try:
        if is_held(JobFiles(folder).lease):
            return "open"
        if not JobFiles(folder).spec.exists():
            return "begun"
        return state.derive(home, job_id).state
    except (UserError, OSError):
        return "unreadable"


def _why(found: str) -> str:
    return "it was never fully submitted" if found == "begun" else f"it is {found}"


def _kept(home: Home, jobs: Iterable[str], states: dict[str, str]) -> set[str]:
    """Ids of artifacts that stay: of runs, names, labels, marks, those of `jobs` that aren't done, and whatever those
    were made from. Raises UserError for a record that can't be read.
    """
    roots: set[str] = set()
    for place, keeps in KEEPS.items():
        for path in _sure(records.entries, home.path / place):
            roots |= _sure(keeps, home, path)
    for job_id in jobs:
        if states[job_id] not in ("done", "begun"):
            roots |= {job_id, *_inputs_of_job(home, job_id)}
    kept: set[str] = set()
    while roots:
        artifact_id = roots.pop()
        if artifact_id not in kept:
            kept.add(artifact_id)
            roots |= _parents(home, artifact_id)
    return kept


def _parents(home: Home, artifact_id: str) -> set[str]:
    """What an artifact that stays was made from, by its manifest and its job. Raises UserError when neither tells."""
    found: set[str] = set()
    damaged: UserError | None = None
    for kind in KINDS:
        folder = home.path / "artifacts" / kind / artifact_id
        if kind != "set" and folder.is_dir():  # a set is made from nothing of ours
            try:
                found |= _sure(_made_from, home, kind, artifact_id)
            except UserError as error:
                damaged = error
    with suppress(UserError):
        found |= _inputs_of_job(home, artifact_id, shards=False)
        if home.files(artifact_id).spec.exists():
            damaged = None
    if damaged is not None:
        raise damaged
    return found


def _inputs_of_job(home: Home, job_id: str, shards: bool = True) -> set[str]:
    """What a job reads; nothing without a folder. Raises UserError for a spec or a request that can't be read."""
    folder = home.job(job_id)
    spec = _sure(records.read, JobFiles(folder).spec, {"inputs": dict})
    found = {str(parent) for parent in spec["inputs"].values()} if spec is not None else set()
    return found | set(_sure(state.load_model, JobFiles(folder).request, state.Request).shards) if shards else found


def _made_from(home: Home, kind: Kind, artifact_id: str) -> set[str]:
    spec = read_manifest(home, kind, artifact_id)["spec"]
    try:
        records.check(spec, {"inputs": dict})
    except ValueError as error:
        raise records.Unreadable(home.artifact(kind, artifact_id) / "manifest.json", f"{error} in its spec") from error
    return {str(parent) for parent in spec["inputs"].values()}


def _of_run(_: Home, path: Path) -> set[str]:
    record = read_record(path)
    return {record["set"], *record["jobs"].values()}


def _of_name(_: Home, path: Path) -> set[str]:
    name = read_name(path)
    return {name["id"]} if name is not None else set()


def _itself(read: Callable[[Home, str], Any]) -> Keeps:
    def keeps(home: Home, path: Path) -> set[str]:
        read(home, path.stem)
        return {path.stem}

    return keeps


# What the records of a folder keep, each by the one reader of its kind.
KEEPS: dict[str, Keeps] = {
    "runs": _of_run,
    "names/set": _of_name,
    "labels": _itself(read_labels),
    "marks": _itself(read_marks),
    "experiments": _itself(read_experiment),
}


def _sure(read: Callable[..., T], *arguments: Any) -> T:
    """What `read` gives. Raises UserError, why nothing goes, for what can't be read."""
    try:
        return read(*arguments)
    except UserError as error:
        raise UserError(
            "nothing is removed: this file can't be read, and may keep artifacts",
            at=error.at,
            hint="restore it, or move it out of the home; `datadream registry check` lists all damaged files",
        ) from error


def _leftovers(home: Home) -> list[Removable]:
    """Files and folders of writes and removals that were cut short. A young one may still be at it: none within the
    usual grace time.
    """
    places = ["", *ROOTS, "runner", "hosts", "trash", "jobs", "artifacts", *(f"artifacts/{kind}" for kind in KINDS)]
    folders = [home.path / place for place in places] + _folders(home.path / "jobs")
    found = []
    for folder in folders:
        with suppress(OSError):
            for path in folder.iterdir():
                if durable.is_leftover(path.name):
                    found.append(_weighed(home, path, "leftover", path.name, "an interrupted write or removal"))
    return [item for item in found if item.age >= GRACE_SECONDS]


def _weighed(home: Home, path: Path, kind: str, id_: str, why: str) -> Removable:
    """With its size, and its age since anything in it changed; a change in the future, by a clock set since, is one
    just made. Raises FileNotFoundError when it is gone.
    """
    first = path.lstat()
    size, newest = (0 if path.is_dir() else first.st_size), first.st_mtime
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):
            found = file.lstat()
            size += 0 if file.is_dir() else found.st_size
            newest = max(newest, found.st_mtime)
    return Removable(path.relative_to(home.path).as_posix(), kind, id_, size, why, max(0.0, time.time() - newest))


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
