"""Listing folders the same way on every machine and in every language."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from datadream.errors import UserError

IGNORED = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX", "lost+found"})


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key: runs of ASCII digits count as numbers (`img2` before `img10`), the rest by code point."""
    pieces = re.split(r"([0-9]+)", name)  # text at even places, digits at odd ones: like meets like
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def scan(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and of everything else in `folder`, each in natural order.

    Links are followed. Hidden names and system litter (IGNORED) are left out. Raises UserError when the folder
    can't be read or a name isn't UTF-8.
    """
    folders: list[str] = []
    others: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in IGNORED:
                    continue
                _check_name(entry.name, folder)
                (folders if entry.is_dir() else others).append(entry.name)
    except OSError as error:
        raise UserError(f"can't read the folder ({error.strerror})", at=folder, hint="check its permissions") from error
    return sorted(folders, key=natural_key), sorted(others, key=natural_key)


def some(items: Sequence[str], limit: int = 5) -> str:
    """The first few items, and how many more there are: `a, b and 3 more`."""
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def _check_name(name: str, folder: Path) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the name {name!r} is not UTF-8", at=folder, hint="rename it") from error
