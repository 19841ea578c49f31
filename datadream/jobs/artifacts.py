"""Finished things: a manifest over files that were hashed, synced and renamed into place together."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import __version__, durable
from datadream.canonical import digest, sha256_file, sha256_known
from datadream.errors import UserError
from datadream.jobs.home import Home, Kind
from datadream.jobs.spec import id_of

Manifest = dict[str, Any]
UNBOUND = ("digest", "spec")  # what a manifest's digest leaves out: itself, and the spec, which its id is the hash of
AGAIN = "remove that folder, then run the same command again to make it"
AGAIN_SET = "remove that folder, then make the set again with `datadream set make`"


def again(kind: str) -> str:
    """How to have a damaged artifact anew: a set is made from its images, all else by the run that needs it."""
    return AGAIN_SET if kind == "set" else AGAIN


def publish(home: Home, kind: Kind, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any]) -> Manifest:
    """Hash what is staged, write its manifest, rename it into place.

    `content` is one digest over names and hashes of the files: equal for equal results. `origin` (times, machine,
    code version) is beside it, not in it. `digest` is over all the manifest says.
    """
    staged, final = home.staging(kind, artifact_id), home.artifact(kind, artifact_id)
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
    durable.publish_dir(staged, final)
    return read_manifest(home, kind, artifact_id)


def content_of(files: dict[str, Any]) -> str:
    """One digest over names and hashes."""
    return digest({name: entry["sha256"] for name, entry in files.items()})


def manifest_digest(manifest: Manifest) -> str:
    """One digest over what a manifest says, wherever its inputs lay."""
    return digest({name: value for name, value in manifest.items() if name not in UNBOUND})


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
    path = home.artifact(kind, artifact_id) / "manifest.json"
    try:
        manifest = json.loads(durable.read_bytes(path))
        wrong = what_is_wrong(manifest, kind, artifact_id)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"no usable {kind} {artifact_id}", at=path, hint=again(kind)) from error
    if wrong:
        raise UserError(f"the manifest of the {kind} {artifact_id} {wrong}", at=path, hint=again(kind))
    assert isinstance(manifest, dict)
    return manifest


def what_is_wrong(manifest: Any, kind: str, artifact_id: str) -> str:
    """Why the manifest can't be that artifact's as it was published; "" when it can.

    Its id is the hash of its spec (a set's that of set.json, which `sets.load_set` looks at), its content the hash of
    its files' hashes, its digest, which the first version didn't write, that of the rest.
    """
    if not isinstance(manifest, dict):
        return "is no JSON object"
    if manifest.get("id") != artifact_id or manifest.get("kind") != kind:
        return "is another artifact's"
    try:
        if kind != "set" and id_of(manifest["spec"]) != artifact_id:
            return "holds another spec than its id is the hash of"
        if manifest["content"] != content_of(manifest["files"]):
            return "has a digest that does not fit its files"
        if not isinstance(manifest["origin"], dict) or not isinstance(manifest["spec"], dict):
            return "does not say where it comes from"
        if "digest" in manifest and manifest["digest"] != manifest_digest(manifest):
            return "was changed after it was written"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "lacks a part, or holds something else in its place"
    return ""


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
        what = "is gone or has another size"
    elif sha256_known(path) != entry["sha256"]:
        what = "has other bytes than when it was made"
    if what:
        raise UserError(f"the {kind} {artifact_id} is damaged: {name} {what}", at=folder, hint=again(kind))
