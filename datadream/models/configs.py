"""A model folder's own JSON, read with a bound and taken for nothing but values. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError

BYTES_MAX = 4 << 20  # the largest config.json among public models has some 100 KB
LFS = b"version https://git-lfs.github.com/spec/"
AGAIN = "get the file again from its source"


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; raises UserError, naming the file, for anything else."""
    try:
        with durable.open_regular(path) as file:
            raw = file.read(BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path.name} is missing", at=path.parent, hint="get the whole folder again") from error
    except OSError as error:
        raise UserError(f"can't read it: {error.strerror}", at=path, hint="check its permissions") from error
    refuse_pointer(raw, path)
    if len(raw) > BYTES_MAX:
        raise UserError(f"larger than {BYTES_MAX >> 20} MiB, too large for a configuration", at=path)
    try:
        found = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("not valid JSON; the file may be truncated", at=path, hint=AGAIN) from error
    if not isinstance(found, dict):
        raise UserError("not a JSON object", at=path, hint=AGAIN)
    return found


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """UserError in place of what the system says of a folder or file that can't be read."""
    try:
        yield
    except OSError as error:
        hint = "check its permissions"
        raise UserError(f"can't read it: {error.strerror}", at=error.filename or folder, hint=hint) from error


def refuse_pointer(head: bytes, path: Path) -> None:
    """Raise UserError when `head`, the first bytes of `path`, are a Git LFS pointer instead of the file."""
    if head.startswith(LFS):
        raise UserError("a Git LFS pointer instead of the file", at=path, hint="run `git lfs pull` there")


def as_count(value: Any) -> int | None:
    """`value` when it is a whole number from 1 up that fits a tensor's shape, else None."""
    return value if type(value) is int and 0 < value < 2**31 else None


def side_of(size: Any) -> int | None:
    """The side of square images or latents, from a number or a pair of equal ones."""
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    side = as_count(size)
    return side if side is not None and side <= 4096 else None


def as_words(value: Any) -> str:
    """A value from a configuration for a message: short, and on one line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
