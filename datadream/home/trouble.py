"""What keeps a runner from starting jobs, in `runner/trouble.json`: written by the runner alone, read by who waits.

The file is there while the trouble is, and stays when the runner has left because of it, until another one has mended
that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datadream import durable
from datadream.errors import UserError
from datadream.home.layout import Home


@dataclass(frozen=True)
class Trouble:
    """`what` stops every start, "" when some can be made; `left` when the runner has gone for it; the rest by name."""

    what: str = ""
    left: bool = False
    slots: dict[str, str] = field(default_factory=dict)
    launchers: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.what or self.slots or self.launchers)


def read(home: Home) -> Trouble:
    """What the last runner left there; nothing when it has none."""
    try:
        found = durable.parse_record(durable.read_bytes(_path(home), durable.RECORD_BYTES)) or {}
    except (OSError, ValueError):
        return Trouble()
    slots, launchers = (_texts(found.get(name)) for name in ("slots", "launchers"))
    return Trouble(str(found.get("what", "")), found.get("left") is True, slots, launchers)


def stamp(home: Home) -> tuple[int, int]:
    """Another one whenever it was told anew, also in the same words."""
    try:
        found = _path(home).stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


class Desk:
    """The runner's hand in that file. It holds a descriptor back, so that the want of one can be told."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._told: Trouble | None = None
        self._spare = _spare()

    def tell(self, trouble: Trouble) -> None:
        """Write it down, or take it away, when it differs from what was told before. A disk that is full hides it."""
        if trouble == self._told or (self._told is None and not trouble and not _path(self._home).exists()):
            return
        self.close()
        with suppress(OSError, UserError):
            if trouble:
                durable.write_json(_path(self._home), asdict(trouble))
            else:
                durable.remove_file(_path(self._home))
            self._told = trouble
        self._spare = _spare()

    def close(self) -> None:
        """Give the spare descriptor back."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1


def _spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _texts(found: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def _path(home: Home) -> Path:
    return home.runner / "trouble.json"
