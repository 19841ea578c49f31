"""Finished things: a manifest over files that were hashed, synced and renamed into place together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import __version__, durable
from datadream.canonical import sha256_file, sha256_known
from datadream.errors import UserError
from datadream.home import trash, whole
from datadream.home.layout import Home
from datadream.home.whole import content_of, manifest_digest, what_is_wrong
from datadream.records import Unreadable
from datadream.stages.table import Kind

Manifest = whole.Manifest
AGAIN = "remove that folder, then run the same command again"
AGAIN_SET = "remove that folder, then make the set again with `datadream set make`"


def again(kind: str) -> str:
    """How to have a damaged artifact anew: a set is made from its images, all else by the run that needs it."""
    return AGAIN_SET if kind == "set" else AGAIN


def publish(
    home: Home, kind: Kind, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], *, instead: bool = False
) -> Manifest:
    """Hash what is staged, write its manifest, rename it into place.

    `content` is one digest over names and hashes of the files: equal for equal results. `origin` (times, machine,
    code version) is beside it, not in it. `digest` is over all the manifest says. A whole artifact that was there first
    stays, and what is staged goes; one that isn't whole, by its manifest and every hash, goes to the trash, and that is
    said on stderr. With `instead` a whole one goes there too: what is staged takes its place, in one step where the
    file system can.
    """
    staged, final = home.staging(kind, artifact_id), home.artifact(kind, artifact_id)

    def aside(ruin: Path) -> None:
        why = whole.fault(ruin, kind, artifact_id)
        entry = trash.discard(home, ruin)
        sys.stderr.write(f"{ruin} was an incomplete {kind} ({why}): moved to the trash as {entry.path}\n")

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
        "content": content_of(files),
        "origin": {"version": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds"), **origin},
    }
    manifest["digest"] = manifest_digest(manifest)
    durable.write_json(staged / "manifest.json", manifest)
    if instead and final.exists():
        durable.sync_tree(staged)
        if durable.exchange(staged, final):
            trash.discard(home, staged, final)
            return read_manifest(home, kind, artifact_id)
        trash.discard(home, final)
    durable.publish_dir(staged, final, lambda folder: not whole.fault(folder, kind, artifact_id), aside)
    return read_manifest(home, kind, artifact_id)


def amend_origin(home: Home, kind: Kind, artifact_id: str, more: dict[str, Any]) -> None:
    """Add to what a finished artifact's manifest says of its making; its spec, files and content stay as they are."""
    manifest = read_manifest(home, kind, artifact_id)
    origin = {**manifest["origin"], **more}
    if origin != manifest["origin"]:
        amended: Manifest = {**manifest, "origin": origin}
        if "digest" in manifest:  # the first version wrote none
            amended["digest"] = manifest_digest(amended)
        durable.write_json(home.artifact(kind, artifact_id) / "manifest.json", amended)


def read_manifest(home: Home, kind: Kind, artifact_id: str) -> Manifest:
    """A finished artifact's manifest. Raises UserError when there is none, or it isn't as it was written."""
    folder = home.artifact(kind, artifact_id)
    path = folder / "manifest.json"
    try:
        manifest = whole.read_manifest(folder)
    except Unreadable as error:
        what = f"the manifest of the {kind} {artifact_id}"
        raise Unreadable(error.path, error.reason, again(kind), what) from error.__cause__
    if manifest is None:
        raise UserError(f"no usable {kind} {artifact_id}", at=path, hint=again(kind))
    if wrong := what_is_wrong(manifest, kind, artifact_id):
        raise UserError(f"the manifest of the {kind} {artifact_id} {wrong}", at=path, hint=again(kind))
    return manifest


def open_artifact(home: Home, kind: Kind, artifact_id: str, between: Callable[[], None] = lambda: None) -> Path:
    """A finished artifact's folder, every file with the sha256 that its manifest says.

    A file is read again only when it changed since this process last did. `between` is called before each, and may
    raise to stop. Raises UserError naming the first file that isn't as it was made.
    """
    for name, entry in read_manifest(home, kind, artifact_id)["files"].items():
        between()
        check_file(home, kind, artifact_id, name, entry)
    return home.artifact(kind, artifact_id)


def check_file(home: Home, kind: Kind, artifact_id: str, name: str, entry: dict[str, Any]) -> None:
    """Raise UserError unless that file of an artifact is as its manifest's `entry` says."""
    folder = home.artifact(kind, artifact_id)
    path, what = folder / name, ""
    if not path.is_file() or path.stat().st_size != entry["size"]:
        what = "is missing or has another size"
    elif sha256_known(path) != entry["sha256"]:
        what = "was changed after it was made"
    if what:
        raise UserError(f"the {kind} {artifact_id} is damaged: {name} {what}", at=folder, hint=again(kind))
