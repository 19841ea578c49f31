"""What can go: nothing that a kept run descends from, that is named or labelled, that an open job works on, or that a
failed or cancelled one would go on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.errors import UserError
from datadream.jobs import state
from datadream.jobs.home import Home
from datadream.jobs.labels import read_labels
from datadream.jobs.lease import is_held

KINDS = ("set", "adapter", "synthetic", "shard", "classifier", "rehearsal")
ROOTS = ("runs", "names/set", "labels", "queue")  # whatever comes to keep an artifact changes one of these folders


@dataclass(frozen=True)
class Removable:
    """A folder that can go. `path` is relative to the home, `size` in bytes."""

    path: str
    kind: str
    id: str
    size: int
    why: str


def plan(home: Home, jobs: bool = False) -> list[Removable]:
    """What can go: staging nobody goes on from, checkpoints of jobs that are done, artifacts nothing keeps; with `jobs`
    the folders of jobs that are over too, and what only they would go on from.
    """
    states = _states(home)
    going = {job_id for job_id in states if jobs and _can_go(home, "job", job_id, states[job_id])}
    kept = _kept(home, states.keys() - going, states)
    found: list[Removable] = []
    for kind in KINDS:
        for path in _folders(home.path / "artifacts" / kind):
            if path.name.startswith(".staging-"):
                job_id = path.name.removeprefix(".staging-")
                if job_id in going or _can_go(home, "staging", job_id, _state(home, job_id)):
                    found.append(_removable(home, path, "staging", job_id, "left by a job that is over"))
            elif state.is_id(path.name) and path.name not in kept:
                why = "no job needs its images any more" if kind == "shard" else "no run, name, tag or note keeps it"
                found.append(_removable(home, path, kind, path.name, why))
    for job_id, found_state in sorted(states.items()):
        folder = home.job(job_id)
        if job_id in going:
            found.append(_removable(home, folder, "job", job_id, f"it is {found_state}"))
        elif (folder / "checkpoint").is_dir() and _can_go(home, "checkpoint", job_id, found_state):
            found.append(_removable(home, folder / "checkpoint", "checkpoint", job_id, "its job is done"))
    return found


def apply(home: Home, chosen: Iterable[Removable]) -> list[Removable]:
    """Remove what was planned, unless something has come to need it since; what really went.

    Jobs' folders go first: while one is there, what it would go on from is needed.
    """
    gone, kept = [], _Kept(home)
    for item in sorted(chosen, key=lambda item: item.kind != "job"):
        if item.kind in ("job", "staging", "checkpoint"):
            free = _can_go(home, item.kind, item.id, _state(home, item.id))
        else:
            free = item.id not in kept.now()
        if free:
            durable.remove_dir(home.path / item.path)
            gone.append(item)
    return gone


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


def _can_go(home: Home, kind: str, job_id: str, found: str) -> bool:
    """Whether a job in the state `found` leaves its folder, checkpoint or staging to be removed."""
    if kind == "job":
        return found in state.FINAL and not _is_labelled(home, job_id)
    return found == "done" or (kind == "staging" and found == "gone")


def _states(home: Home) -> dict[str, str]:
    """Every job that has a folder, and its state as `_state` has it."""
    return {path.name: _state(home, path.name) for path in _folders(home.path / "jobs") if state.is_id(path.name)}


def _state(home: Home, job_id: str) -> str:
    """A job's state; `open` while somebody may work on it, `gone` without a folder, `unreadable` without a spec."""
    if (home.queue / job_id).exists() or is_held(home.job(job_id) / "lease"):
        return "open"
    if not home.job(job_id).is_dir():
        return "gone"
    try:
        return state.derive(home, job_id).state
    except UserError:
        return "unreadable"


def _kept(home: Home, jobs: Iterable[str], states: dict[str, str]) -> set[str]:
    """Ids of artifacts that stay: of runs, names, labels, those of `jobs` that aren't done, and whatever those were
    made from.
    """
    roots: set[str] = set()
    for path in records.entries(home.path / "runs"):
        record = _record(path, {"set": str, "jobs": dict})
        roots |= {str(record.get("set")), *map(str, record.get("jobs", {}).values())}
    for path in records.entries(home.path / "names" / "set"):
        roots.add(str(_record(path, {"id": str}).get("id")))
    roots |= {path.stem for path in (home.path / "labels").glob("[!.]*.json")}
    for job_id in jobs:
        if states[job_id] != "done":
            roots |= {job_id, *_inputs_of_job(home, job_id)}
    kept: set[str] = set()
    while roots:
        artifact_id = roots.pop()
        if artifact_id not in kept:
            kept.add(artifact_id)
            roots |= _parents(home, artifact_id) | _inputs_of_job(home, artifact_id, shards=False)
    return kept


def _parents(home: Home, artifact_id: str) -> set[str]:
    found: set[str] = set()
    for kind in KINDS:
        manifest = _record(home.path / "artifacts" / kind / artifact_id / "manifest.json", {"spec": dict})
        inputs = manifest.get("spec", {}).get("inputs")
        found |= {str(parent) for parent in inputs.values()} if isinstance(inputs, dict) else set()
    return found


def _record(path: Path, shape: records.Shape) -> dict[str, Any]:
    """The record, empty when there is none. Raises UserError for one that can't be read: it may keep anything."""
    try:
        return records.read(path, shape, most=None) or {}
    except records.Unreadable as error:
        hint = "mend or remove that file first, see `datadream registry check`"
        raise UserError("can't tell what a damaged record keeps", at=path, hint=hint) from error


def _inputs_of_job(home: Home, job_id: str, shards: bool = True) -> set[str]:
    inputs = (state.read_dict(home.job(job_id) / "spec.json") or {}).get("inputs")
    if not isinstance(inputs, dict):
        return set()
    found = {str(parent) for parent in inputs.values()}
    return found | (set(state.read_request(home, job_id).shards) if shards else set())


def _is_labelled(home: Home, subject: str) -> bool:
    try:
        labels = read_labels(home, subject)
    except records.Unreadable:
        return True
    return bool(labels.tags or labels.note)


def _removable(home: Home, path: Path, kind: str, id_: str, why: str) -> Removable:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Removable(path.relative_to(home.path).as_posix(), kind, id_, size, why)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
