"""Canonical JSON and content hashes: the same value gives the same bytes on every machine; and JSON read as strictly.

Keys sorted, no spaces, UTF-8, no NaN. A mapping with tuples or Paths is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
import json
import math
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


MOST = 2**63 - 1  # no number of ours is larger, and SQLite holds none


def canonical_json(value: Any) -> bytes:
    """`value` (dict, list, str, int, float, bool, None) as canonical UTF-8 JSON.

    Integral floats keep their `.0`, so 1 and 1.0 stay different. Raises TypeError or ValueError for
    anything JSON has no exact word for.
    """
    _refuse_inexact(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def parse_json(data: bytes) -> Any:
    """What `data` says, when it is JSON as this program writes it.

    Raises ValueError, in words that go on from "the file ...", for all else: no UTF-8, no JSON, NaN or Infinity, a
    number beyond 64 bits, a key twice, half a surrogate pair, nesting without end.
    """
    if not data.strip():
        raise ValueError("is empty")
    if not data.strip(b"\0"):
        raise ValueError("holds only NUL bytes")
    try:
        text = data.decode("utf-8")
        value = _STRICT.decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise ValueError("holds an unpaired surrogate") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    return value


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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"has the key {twice[:40]!r} twice")
    return found


def _whole(text: str) -> int:
    value = int(text) if len(text) <= 20 else MOST + 1
    if abs(value) > MOST:
        raise ValueError("holds a number beyond 64 bits")
    return value


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("holds a number beyond 64 bits")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"holds {word}, which is not a number")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_int=_whole, parse_float=_real, parse_constant=_refuse)
