"""Finished things: a manifest over files that were hashed, synced and renamed into place together."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import __version__, durable
from datadream.canonical import digest, sha256_file
from datadream.errors import UserError
from datadream.jobs import trash, whole
from datadream.jobs.home import Home, Kind

HASHED_BYTES = 256 << 20
Manifest = whole.Manifest


def publish(
    home: Home, kind: Kind, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], *, instead: bool = False
) -> Manifest:
    """Hash what is staged, write its manifest, rename it into place.

    `content` is one digest over names and hashes of the files: equal for equal results. `origin` (times, machine,
    code version) is beside it, not in it. A whole artifact that was there first stays, and what is staged goes; one
    that isn't whole, by its manifest and every hash, goes to the trash, and that is said on stderr. With `instead` a
    whole one goes there too: what is staged takes its place, in one step where the file system can.
    """
    staged, final = home.staging(kind, artifact_id), home.artifact(kind, artifact_id)

    def aside(ruin: Path) -> None:
        why = whole.fault(ruin, kind, artifact_id)
        entry = trash.discard(home, ruin)
        sys.stderr.write(f"{ruin} was no whole {kind} ({why}): it is in the trash now, as {entry.path}\n")

    files = {
        path.relative_to(staged).as_posix(): {"sha256": sha256_file(path), "size": path.stat().st_size}
        for path in sorted(staged.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and ".partial-" not in path.name
    }
    for stray in staged.rglob(".*.partial-*"):
        durable.remove_file(stray)
    manifest: Manifest = {
        "id": artifact_id,
        "kind": kind,
        "spec": spec,
        "files": files,
        "content": digest({name: entry["sha256"] for name, entry in files.items()}),
        "origin": {"version": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds"), **origin},
    }
    durable.write_json(staged / "manifest.json", manifest)
    if instead and final.exists():
        durable.sync_tree(staged)
        if durable.exchange(staged, final):
            trash.discard(home, staged, final)
            return read_manifest(home, kind, artifact_id)
        trash.discard(home, final)
    durable.publish_dir(staged, final, lambda folder: not whole.fault(folder, kind, artifact_id), aside)
    return read_manifest(home, kind, artifact_id)


def read_manifest(home: Home, kind: Kind, artifact_id: str) -> Manifest:
    """A finished artifact's manifest. Raises UserError when there is none or it can't be read."""
    folder = home.artifact(kind, artifact_id)
    manifest = whole.read_manifest(folder)
    if manifest is None:
        at = folder / "manifest.json"
        raise UserError(f"no usable {kind} {artifact_id}", at=at, hint="remove that folder and run again")
    return manifest


def open_artifact(home: Home, kind: Kind, artifact_id: str) -> Path:
    """A finished artifact's folder, every file as its manifest says: by hash, beyond HASHED_BYTES in all by size.

    Raises UserError naming the first that isn't.
    """
    folder = home.artifact(kind, artifact_id)
    hashed = 0
    for name, entry in read_manifest(home, kind, artifact_id)["files"].items():
        path, what = folder / name, ""
        if not path.is_file() or path.stat().st_size != entry["size"]:
            what = "is gone or has another size"
        elif hashed + entry["size"] <= HASHED_BYTES:
            hashed += entry["size"]
            what = "" if sha256_file(path) == entry["sha256"] else "has other bytes than when it was made"
        if what:
            raise UserError(
                f"the {kind} {artifact_id} is damaged: {name} {what}",
                at=folder,
                hint="remove that folder, then run again to make it anew",
            )
    return folder
