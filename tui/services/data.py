"""The home and its registry, for questions asked in the pool."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from datadream import durable
from datadream.errors import UserError
from datadream.home.layout import Home

if TYPE_CHECKING:
    from store.registry import Registry

CLOSE_SECONDS = 1.0
_loading = threading.Lock()


def load() -> None:
    """Import the registry's packages, before a thread asks anything.

    One thread at a time: of two that import parts of SQLAlchemy at once one may see it half made (Python breaks the
    deadlock of circular imports that way), and that question would fail.
    """
    with _loading:
        import store.index
        import store.queries  # noqa: F401


class Data:
    """One registry handle for all threads of the app. Never use it on the UI thread."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.warnings: list[str] = []  # what a deed leaves to be said with its success
        self._lock = threading.Lock()
        self._registry: Registry | None = None

    def registry(self) -> Registry:
        """The registry as it stands; one in memory, where the disk takes nothing.

        Raises UserError with one sentence when it can't be opened.
        """
        from sqlalchemy.exc import SQLAlchemyError

        from store import index

        with self._lock:
            if self._registry is None:
                try:
                    self._registry = index.connect(self.home)
                except (OSError, UserError, SQLAlchemyError) as error:
                    if durable.is_storage(error):
                        self._registry = index.open_in_memory(self.home)
                        return self._registry
                    if isinstance(error, UserError):
                        raise
                    raise UserError(f"can't open the registry: {error}", at=self.home.registry) from error
            return self._registry

    def sync(self, seconds: float | None = None) -> None:
        """Bring the registry up to date with the folders, after something was written there."""
        from store import index

        try:
            index.sync(self.home, self.registry(), seconds)
        except (OSError, UserError) as error:
            if not durable.is_storage(error):
                raise
            fresh = index.open_in_memory(self.home)
            with self._lock:
                self._registry = fresh

    def close(self) -> None:
        """Let go of the file."""
        if not self._lock.acquire(timeout=CLOSE_SECONDS):
            return  # somebody is opening it, perhaps on a disk that doesn't answer
        try:
            if self._registry is not None:
                self._registry.close()
                self._registry = None
        finally:
            self._lock.release()
