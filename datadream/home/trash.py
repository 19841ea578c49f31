"""What was removed lies in the home's trash for a while: one rename puts it there, and one brings it back.

An entry's name says when it went and where it lay: `20261125T101112.123456~artifacts~adapter~<id>`. What lies on
another file system than the home, behind a link, goes to a `.trash` over there: a rename can't leave its disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from datadream import durable
from datadream.errors import UserError
from datadream.home.jobfiles import CHECKPOINT
from datadream.home.layout import Home

KEPT = timedelta(days=7)
STAMP = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True)
class Entry:
    """Something removed: the folder it is now, where it lay (relative to the home), and since when it is here."""

    path: Path
    origin: str
    since: datetime

    @property
    def id(self) -> str:
        """The id in its name, as of a job or an artifact; the last part of where it lay when there is none."""
        parts = self.origin.split("/")
        return (parts[-2] if parts[-1] == CHECKPOINT else parts[-1]).removeprefix(".staging-")

    @property
    def size(self) -> int:
        """In bytes."""
        if not self.path.is_dir():
            return self.path.lstat().st_size
        return sum(file.lstat().st_size for file in self.path.rglob("*") if not file.is_dir())


def discard(home: Home, path: Path, origin: Path | None = None) -> Entry:
    """Take the folder or file `path` out of the home's sight, whole and in one step. `origin` is where it belongs.

    Raises FileNotFoundError when it isn't there, UserError when that disk refuses.
    """
    relative = (origin or path).relative_to(home.path)
    now = datetime.now(UTC)
    name = f"{now.strftime(STAMP)}~{'~'.join(relative.parts)}"
    for folder in _folders(home):
        if folder.parent != home.path and folder.parent not in path.parents:
            continue
        durable.make_dir(folder)
        if durable.move(path, folder / name):
            return Entry(folder / name, relative.as_posix(), now)
    raise UserError("can't move this to the trash", at=path, hint="it is on another disk than its folder: move it")


def entries(home: Home) -> list[Entry]:
    """Everything in the trash, oldest first."""
    found = []
    for folder in _folders(home):
        for name in _names(folder):
            stamp, _, origin = name.partition("~")
            if origin and not durable.is_leftover(name):
                found.append(Entry(folder / name, origin.replace("~", "/"), _moment(stamp)))
    return sorted(found, key=lambda entry: (entry.since, entry.origin))


def restore(home: Home, word: str) -> Entry:
    """Bring back what was removed last under this id, or the start of one, or this path.

    Raises UserError when there is no such entry, several ids fit, or something is in its place since.
    """
    found = [entry for entry in entries(home) if word and (entry.origin == word or entry.id.startswith(word))]
    if not found:
        raise UserError(f"no trash entry {word!r}", at=home.path, hint="see `datadream gc --trash`")
    if len({entry.id for entry in found}) > 1:
        listed = ", ".join(sorted({entry.id for entry in found})[:5])
        raise UserError(f"ambiguous id {word!r} in the trash; candidates: {listed}")
    for entry in reversed(found):
        target = home.path / entry.origin
        if not os.path.lexists(target):
            put_back(home, entry)
            return entry
    raise UserError(f"{found[-1].origin} exists again", at=target, hint="nothing was changed")


def put_back(home: Home, entry: Entry) -> bool:
    """The entry where it lay; False when something is there since."""
    target = home.path / entry.origin
    durable.make_dir(target.parent)
    try:
        durable.move(entry.path, target)
    except FileExistsError:
        return False
    return True


def empty(home: Home, before: datetime | None = None) -> list[Entry]:
    """Remove for good what went into the trash before `before` (default: everything); what that was."""
    gone = [entry for entry in entries(home) if before is None or entry.since < before]
    for entry in gone:
        durable.remove_dir(entry.path)
    for folder in _folders(home):  # of an emptying that was cut short
        for name in _names(folder):
            if durable.is_leftover(name):
                durable.sweep(folder / name)
    return gone


def expired() -> datetime:
    """What went before this moment has been kept long enough."""
    return datetime.now(UTC) - KEPT


def _folders(home: Home) -> list[Path]:
    """The home's own, then those of what may lie on another disk, ever nearer to it."""
    places = [home.path / "jobs", home.path / "artifacts", *sorted((home.path / "artifacts").glob("[!.]*"))]
    return [home.path / "trash", *(place / ".trash" for place in places)]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)  # a name given by hand: kept until somebody empties the trash
