"""Listing folders the same way on every machine and in every language."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datadream.errors import UserError

IGNORED = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX", "lost+found"})


class Listing(NamedTuple):
    """The names in a folder, each kind in natural order; `hidden` are folders and files that are left out of both."""

    folders: list[str]
    others: list[str]
    hidden_folders: list[str]
    hidden_others: list[str]


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key: runs of ASCII digits count as numbers (`img2` before `img10`), the rest by code point."""
    pieces = re.split(r"([0-9]+)", name)  # text at even places, digits at odd ones: like meets like
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def scan(folder: Path) -> Listing:
    """The names of the folders and of everything else in `folder`.

    Links are followed. Names with a leading dot and system litter (IGNORED) count as hidden. Raises UserError when
    the folder can't be read or a name that isn't hidden isn't UTF-8.
    """
    found = Listing([], [], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") or entry.name in IGNORED
                if not hidden:
                    _check_name(entry.name, folder)
                if entry.is_dir():
                    (found.hidden_folders if hidden else found.folders).append(entry.name)
                else:
                    (found.hidden_others if hidden else found.others).append(entry.name)
    except OSError as error:
        raise UserError(f"can't read the folder ({error.strerror})", at=folder, hint="check its permissions") from error
    for names in found:
        names.sort(key=natural_key)
    return found


def some(items: Sequence[str], limit: int = 5) -> str:
    """The first few items, and how many more there are: `a, b and 3 more`."""
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def _check_name(name: str, folder: Path) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the name {name!r} is not UTF-8", at=folder, hint="rename it") from error
