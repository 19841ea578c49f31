"""What can go: nothing that a kept run descends from, that is named or labelled, or that an open job works on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import follow, state
from datadream.jobs.home import Home
from datadream.jobs.labels import read_labels
from datadream.jobs.lease import is_held

KINDS = ("set", "adapter", "synthetic", "shard", "classifier", "rehearsal")


@dataclass(frozen=True)
class Removable:
    """A folder that can go. `path` is relative to the home, `size` in bytes."""

    path: str
    kind: str
    id: str
    size: int
    why: str


def plan(home: Home, jobs: bool = False) -> list[Removable]:
    """What can go: staging nobody works on, checkpoints of jobs that are over, artifacts nothing keeps; with `jobs`
    the folders of jobs that are over too.
    """
    kept = _kept(home)
    found: list[Removable] = []
    for kind in KINDS:
        for path in _folders(home.path / "artifacts" / kind):
            if path.name.startswith(".staging-"):
                job_id = path.name.removeprefix(".staging-")
                if not _is_open(home, job_id):
                    found.append(_removable(home, path, "staging", job_id, "left by a job that is over"))
            elif state.is_id(path.name) and path.name not in kept:
                why = "its images are in the whole set" if kind == "shard" else "no run, name, tag or note keeps it"
                found.append(_removable(home, path, kind, path.name, why))
    for path in _folders(home.path / "jobs"):
        if not state.is_id(path.name) or _is_open(home, path.name):
            continue
        try:
            over = state.derive(home, path.name).state
        except UserError:
            continue
        if jobs and over in state.FINAL and not _is_labelled(home, path.name):
            found.append(_removable(home, path, "job", path.name, f"it is {over}"))
        elif over == "done" and (path / "checkpoint").is_dir():
            found.append(_removable(home, path / "checkpoint", "checkpoint", path.name, "its job is done"))
    return found


def apply(home: Home, chosen: Iterable[Removable]) -> list[Removable]:
    """Remove what was planned, unless something has come to need it since; what really went."""
    gone = []
    for item in chosen:
        still = {found.path for found in plan(home, jobs=item.kind == "job")}
        if item.path in still:
            durable.remove_dir(home.path / item.path)
            gone.append(item)
    return gone


def _kept(home: Home) -> set[str]:
    """Ids of artifacts that stay: of runs, names, labels, open jobs, and whatever those were made from."""
    roots: set[str] = set()
    for path in (home.path / "runs").glob("*.json"):
        record = state.read_dict(path)
        if record is None:
            raise UserError("can't tell what a damaged record keeps", at=path, hint="remove that file first")
        roots |= {str(record.get("set")), *map(str, (record.get("jobs") or {}).values())}
    for path in (home.path / "names" / "set").glob("*.json"):
        roots.add(str((state.read_dict(path) or {}).get("id")))
    roots |= {path.stem for path in (home.path / "labels").glob("[!.]*.json")}
    for job_id in follow.open_jobs(home):
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
        manifest = state.read_dict(home.path / "artifacts" / kind / artifact_id / "manifest.json") or {}
        spec: Any = manifest.get("spec")
        if isinstance(spec, dict):
            found |= {str(parent) for parent in (spec.get("inputs") or {}).values()}
    return found


def _inputs_of_job(home: Home, job_id: str, shards: bool = True) -> set[str]:
    try:
        spec: Any = json.loads((home.job(job_id) / "spec.json").read_bytes())
        found = {str(parent) for parent in (spec.get("inputs") or {}).values()}
    except (OSError, ValueError, AttributeError):
        return set()
    return found | (set(state.read_request(home, job_id).shards) if shards else set())


def _is_open(home: Home, job_id: str) -> bool:
    return (home.queue / job_id).exists() or is_held(home.job(job_id) / "lease")


def _is_labelled(home: Home, subject: str) -> bool:
    labels = read_labels(home, subject)
    return bool(labels.tags or labels.note)


def _removable(home: Home, path: Path, kind: str, id_: str, why: str) -> Removable:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Removable(path.relative_to(home.path).as_posix(), kind, id_, size, why)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
