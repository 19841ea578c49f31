"""What the user chose on the screens: theme, keys, columns, notifications. Kept in the home's tui.json."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.home.lease import lock

FILE = "tui.json"


class Prefs:
    """A small dict that is kept. Reading never fails: a missing file means the defaults.

    `trouble` says of a damaged one where it was put aside, before a choice would be written over it. A choice goes
    into what the file holds then: another app, or an editor, may have written it meanwhile.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.path / FILE
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._changed: set[str] = set()
        found = _read(self._path)
        self._values = found or {}
        self.trouble = ""
        if found is None:
            aside = self._path.with_name(f"{FILE}.damaged")
            self.trouble = f"{FILE} is damaged and ignored; kept as {aside.name}"
            with suppress(OSError, UserError):
                durable.replace_file(self._path, aside)

    def get(self, name: str, default: Any = None) -> Any:
        """What was chosen, else `default`; also when what is kept is of another type."""
        value = self._values.get(name, default)
        return value if default is None or isinstance(value, type(default)) else default

    def set(self, name: str, value: Any) -> None:
        """Choose; written by a thread of its own, and lost in silence when the home can't be written."""
        self._values[name] = value
        self._changed.add(name)
        self._writer = threading.Thread(target=self._write, name="prefs", daemon=False)
        self._writer.start()

    def close(self) -> None:
        """Wait for what is being written; a later one writes all that an earlier one would."""
        if self._writer is not None:
            self._writer.join()

    def _write(self) -> None:
        with self._lock:
            try:
                chosen = {name: self._values[name] for name in tuple(self._changed)}
                with lock(self._path.with_name(".tui.lease")):  # another app may be choosing too
                    durable.write_json(self._path, {**(_read(self._path) or {}), **chosen})
            except (OSError, UserError):
                return


def _read(path: Path) -> dict[str, Any] | None:
    """What the file holds, nothing where there is none or no right to it; None when it is damaged."""
    try:
        return records.read(path) or {}
    except records.Unreadable as error:
        return {} if error.passes else None
