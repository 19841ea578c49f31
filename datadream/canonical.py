"""Canonical JSON and content hashes: the same value gives the same bytes on every machine.

Keys sorted, no spaces, UTF-8, no NaN. A mapping with tuples or Paths is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ID_LENGTH = 16  # hex digits of sha256 in an artifact id: 64 bits


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
