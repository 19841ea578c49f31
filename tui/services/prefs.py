"""What the user chose on the screens: theme, keys, columns, notifications. Kept in the home's tui.json."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.jobs.home import Home

FILE = "tui.json"


class Prefs:
    """A small dict that is kept. Reading never fails: a missing or torn file means the defaults."""

    def __init__(self, home: Home) -> None:
        self._path = home.path / FILE
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._values = _read(self._path)

    def get(self, name: str, default: Any = None) -> Any:
        """What was chosen, else `default`; also when what is kept is of another type."""
        value = self._values.get(name, default)
        return value if default is None or isinstance(value, type(default)) else default

    def set(self, name: str, value: Any) -> None:
        """Choose; written by a thread of its own, and lost in silence when the home can't be written."""
        self._values[name] = value
        self._writer = threading.Thread(target=self._write, name="prefs", daemon=False)
        self._writer.start()

    def close(self) -> None:
        """Wait for what is being written; a later one writes all that an earlier one would."""
        if self._writer is not None:
            self._writer.join()

    def _write(self) -> None:
        with self._lock:
            try:
                durable.write_json(self._path, dict(self._values))
            except (OSError, UserError):
                return


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
