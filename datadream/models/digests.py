"""Which files a model is read from, and one digest over them: a model's identity is the very bytes it is made of.

A model lies in a folder (diffusers, open_clip) or is one weights file for an open_clip architecture (`NAME:FILE`).
No torch here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from datadream.canonical import Stamp, sha256_known, stamp
from datadream.errors import UserError
from datadream.paths import expand

# All that diffusers, transformers and open_clip read, when neither pickles nor code are allowed.
SUFFIXES = {".json", ".safetensors", ".txt", ".model"}
ENTRIES_MAX = 20_000  # below a model's folder; the largest known pipelines have a few hundred
HUB, FOLDER = "hf-hub:", "local-dir:"  # open_clip's prefixes
Stamps = tuple[tuple[Path, Stamp], ...]


def weights_file(location: str) -> tuple[str, Path] | None:
    """The architecture and the file of `NAME:FILE`; None where what follows the colon is a tag, or there is none."""
    name, colon, rest = location.partition(":")
    if not name or not colon or location.startswith((HUB, FOLDER, "/", ".", "~")):
        return None
    path = expand(rest)
    return (name, path) if "/" in rest or path.suffix == ".safetensors" or path.is_file() else None


def digest(location: str) -> str:
    """sha256 over what `location`, a folder or `NAME:FILE`, is read from. Raises UserError when that can't be read."""
    given = weights_file(location)
    try:
        if given is None:
            return folder_digest(Path(location))
        name, path = given
        return hashlib.sha256(f"open_clip {name}\0{sha256_known(path)}\n".encode()).hexdigest()
    except OSError as error:
        hint = "check that it exists and is readable"
        raise UserError(f"can't read the model ({error.strerror})", at=error.filename or location, hint=hint) from error


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of the model files below `folder` (cards and pictures left out)."""
    total = hashlib.sha256()
    for name, path in model_files(folder):
        total.update(f"{name}\0{sha256_known(path)}\n".encode())
    return total.hexdigest()


def model_files(folder: Path) -> list[tuple[str, Path]]:
    """Every file a loader may read below `folder`, by its name in it (POSIX), sorted; links are followed.

    A link to a folder it lies in is not entered again. Raises UserError for a folder that holds far more than a model.
    """
    found = [(path.relative_to(folder).as_posix(), path) for path in _walk(folder) if path.suffix in SUFFIXES]
    return sorted((name, path) for name, path in found if path.is_file())


def stamps(location: str) -> Stamps:
    """The files of `location`, a folder or `NAME:FILE`, with what tells that they are unchanged. Raises OSError."""
    given = weights_file(location)
    paths = [given[1]] if given else [path for _, path in model_files(Path(location))]
    return tuple((path, stamp(path)) for path in paths)


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below `folder`, through links; no folder is entered from within itself."""
    count = 0
    way = [(folder, {_place(folder)})]
    while way:
        here, above = way.pop()
        try:
            with os.scandir(here) as entries:
                paths = [here / entry.name for entry in entries]
        except PermissionError:  # a loader can't enter it either
            continue
        count += len(paths)
        if count > ENTRIES_MAX:
            hint = "give the folder of the model only"
            raise UserError(f"this folder holds more than {ENTRIES_MAX:,} files", at=folder, hint=hint)
        for path in paths:
            if not path.is_dir():
                yield path
            elif (place := _place(path)) not in above:
                way.append((path, {*above, place}))


def _place(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
