"""A registry that lies nowhere: for looking, where the disk takes nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from store.registry import REVISION, Registry, begin_as_asked, fill


class MemoryRegistry(Registry):
    """What the registry at `path` holds, if it can be read; what is written since is in this process only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, path)
        self._turn = threading.RLock()
        self._memory = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        begin_as_asked(self._memory, "MEMORY")
        connection: Any = self._memory.raw_connection()
        try:
            if not _copied(path, connection.driver_connection):
                fill(self._memory)
        finally:
            connection.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One thread at a time: all share one connection."""
        with self._turn:
            yield

    def close(self) -> None:
        """Forget it."""
        self._memory.dispose()

    def _current(self) -> Engine:
        return self._memory

    def _guarded(self) -> AbstractContextManager[None]:
        return self.alone()


def _copied(path: Path, target: sqlite3.Connection) -> bool:
    """Whether `target` holds the registry at `path` now; without its log, where not even that can be opened."""
    if path.exists():
        for how in ("mode=ro", "immutable=1"):
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as source:
                if source.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]:
                    source.backup(target)
                    return True
    return False
