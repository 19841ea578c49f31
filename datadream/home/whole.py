"""An artifact's manifest; and is the artifact all there? That decides, never that a folder of its name exists."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.canonical import digest, sha256_file
from datadream.home.spec import id_of
from datadream.records import Unreadable

SIZES_MAX = 256  # so many files are looked at one by one; of more, their folders are listed
KNOWN_MAX = 20_000
Manifest = dict[str, Any]
UNBOUND = ("digest", "spec")  # what a manifest's digest leaves out: itself, and the spec, which its id is the hash of
SHAPE: records.Shape = {"id": str, "kind": str, "spec": dict, "files": dict, "content": str, "origin": dict}
ENTRY: records.Shape = {"size": int, "sha256": str}
_known: OrderedDict[str, tuple[object, bool]] = OrderedDict()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in an artifact's folder, None when there is none. Raises Unreadable when it is damaged."""
    path = folder / "manifest.json"
    manifest = records.read(path, SHAPE, records.LISTS_BYTES)
    for entry in manifest["files"].values() if manifest is not None else ():
        try:
            records.check(entry if isinstance(entry, dict) else {}, ENTRY)
        except ValueError as error:
            raise Unreadable(path, f"lists a file whose entry {error}") from error
    return manifest


def content_of(files: dict[str, Any]) -> str:
    """One digest over names and hashes."""
    return digest({name: entry["sha256"] for name, entry in files.items()})


def manifest_digest(manifest: Manifest) -> str:
    """One digest over what a manifest says, wherever its inputs lay."""
    return digest({name: value for name, value in manifest.items() if name not in UNBOUND})


def what_is_wrong(manifest: Any, kind: str, artifact_id: str) -> str:
    """Why the manifest can't be that artifact's as it was published; "" when it can.

    Its id is the hash of its spec (a set's that of set.json, which `sets.load_set` looks at), its content the hash of
    its files' hashes, its digest, which the first version didn't write, that of the rest.
    """
    if not isinstance(manifest, dict):
        return "is not a JSON object"
    if manifest.get("id") != artifact_id or manifest.get("kind") != kind:
        return "belongs to another artifact"
    try:
        if kind != "set" and id_of(manifest["spec"]) != artifact_id:
            return "holds a spec whose hash is not its id"
        if manifest["content"] != content_of(manifest["files"]):
            return "has a digest that does not match its files"
        if not isinstance(manifest["origin"], dict) or not isinstance(manifest["spec"], dict):
            return "has no origin"
        if "digest" in manifest and manifest["digest"] != manifest_digest(manifest):
            return "was changed after it was written"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "has a missing or invalid field"
    return ""


def is_whole(folder: Path, kind: str, artifact_id: str) -> bool:
    """Whether the manifest is this artifact's, fits itself, and every file it lists is there (of few, with its size).

    A manifest that can't be read for want of rights or of its disk speaks for the artifact: that passes, and whoever
    uses it is told. The answer is kept until the folder or its manifest changes.
    """
    stamp = _stamp(folder)
    if stamp is None:
        return False
    found = _known.get(str(folder))
    if found is None or found[0] != stamp:
        try:
            found = stamp, not fault(folder, kind, artifact_id, deep=False)
        except OSError as error:
            if error.errno not in durable.NO_READ:
                raise
            return True
        _known[str(folder)] = found
        if len(_known) > KNOWN_MAX:
            _known.popitem(last=False)
    return found[1]


def fault(folder: Path, kind: str, artifact_id: str, deep: bool = True) -> str:
    """What is wrong with the artifact in `folder`, "" when it is whole; with `deep` every file is hashed.

    Raises OSError when that can't be read now.
    """
    try:
        manifest = read_manifest(folder)
    except Unreadable as error:
        if error.passes and error.__cause__ is not None:
            raise error.__cause__ from None
        return f"its manifest can't be read: it {error.reason}"
    if manifest is None:
        return "it has no manifest"
    if wrong := what_is_wrong(manifest, kind, artifact_id):
        return f"its manifest {wrong}"
    files = {name: (entry["sha256"], entry["size"]) for name, entry in manifest["files"].items()}
    for name in _absent(folder, files):
        return f"{name} is gone"
    for name, (sha256, size) in files.items() if deep or len(files) <= SIZES_MAX else ():
        path = folder / name
        try:
            same = path.stat().st_size == size and (not deep or sha256_file(path) == sha256)
        except FileNotFoundError:
            return f"{name} is gone"
        if not same:
            return f"{name} was changed after it was made"
    return ""


def _absent(folder: Path, names: Iterable[str]) -> Iterable[str]:
    """Those of `names` that are no files below `folder`; each folder is listed once."""
    listed: dict[str, set[str]] = {}
    for name in names:
        parent, _, file = name.rpartition("/")
        if parent not in listed:
            try:
                with os.scandir(folder / parent) as entries:
                    listed[parent] = {entry.name for entry in entries if entry.is_file()}
            except (FileNotFoundError, NotADirectoryError):
                listed[parent] = set()
        if file not in listed[parent]:
            yield name


def _stamp(folder: Path) -> object | None:
    """Tells whether the folder or its manifest has changed; None when either isn't there."""
    try:
        top, manifest = folder.stat(), (folder / "manifest.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return top.st_ino, top.st_mtime_ns, manifest.st_ino, manifest.st_mtime_ns, manifest.st_size
