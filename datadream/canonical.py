"""Canonical JSON and content hashes: the same value gives the same bytes on every machine.

Keys sorted, no spaces, UTF-8, no NaN. A mapping with tuples or Paths is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

ID_LENGTH = 16  # hex digits of sha256 in an artifact id: 64 bits
KNOWN_FILES = 1 << 20  # whose hashes a process remembers: some 300 bytes each
FRESH_NS = 2_000_000_000  # some file systems count seconds, or two: a newer file may change and look the same


class Stamp(NamedTuple):
    """What tells without reading a file that it is the one that was read. Times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def canonical_json(value: Any) -> bytes:
    """`value` (dict, list, str, int, float, bool, None) as canonical UTF-8 JSON.

    Integral floats keep their `.0`, so 1 and 1.0 stay different. Raises TypeError or ValueError for
    anything JSON has no exact word for.
    """
    _refuse_inexact(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def short_id(value: Any) -> str:
    """The id of the thing that `value` describes."""
    return digest(value)[:ID_LENGTH]


def sha256_file(path: Path) -> str:
    """sha256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> Stamp:
    """The stamp of the file that `path` leads to. Raises OSError where there is none."""
    found = path.stat()
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def sha256_known(path: Path) -> str:
    """`sha256_file`, read only once in this process while the file keeps its stamp.

    A file that changed a moment ago is read every time: one more change might not show in its stamp.
    """
    found, now = stamp(path), time.time_ns()
    place, rest = found[:2], found[2:]
    known = _known.get(place)
    if known is not None and known[0] == rest:
        return known[1].hex()
    digest_ = sha256_file(path)
    if all(abs(now - moment) >= FRESH_NS for moment in (found.modified, found.changed)):
        if len(_known) >= KNOWN_FILES:
            _known.clear()
        _known[place] = rest, bytes.fromhex(digest_)
    return digest_


_known: dict[tuple[int, ...], tuple[tuple[int, ...], bytes]] = {}  # by device and inode: a file has one content


def _refuse_inexact(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON has string keys only, not {key!r}")
            _refuse_inexact(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_inexact(item)
    elif not isinstance(value, str | int | float | bool | None):
        raise TypeError(f"canonical JSON can't hold {type(value).__name__}")
