"""The runner's hand in the registry: now and then, never in the way of a job."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from datadream import durable
from datadream.jobs.home import Home

if TYPE_CHECKING:
    from store.registry import Registry

SECONDS = 0.7  # between two looks: metrics of a live job are in the registry within a second
START_SECONDS = 1.0  # the first jobs start before the database is even imported
BUDGET_SECONDS = 0.2
RETRY_SECONDS = 10.0


class Registrar:
    """Brings what folders say into the registry. A registry that can't be written is told once and tried again."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._registry: Registry | None = None
        self._next = time.monotonic() + START_SECONDS
        self._all = True
        self._stamp = (0, 0)

    def follow(self, live: Collection[str]) -> None:
        """Take in what running jobs have told, and whatever else has changed."""
        if time.monotonic() < self._next:
            return
        stamp = durable.changed_at(self._home.queue), durable.changed_at(self._home.queue_settings)
        if stamp != self._stamp or any(map(durable.is_racy, stamp)):  # somebody asked for something, of any job
            self._stamp, self._all = stamp, True
        self._sync(live, BUDGET_SECONDS)

    def finished(self, job_id: str) -> None:
        """A job is over: look at everything soon."""
        del job_id
        self._all = True

    def close(self) -> None:
        """A last look."""
        self._all = True
        self._sync((), 2.0)
        if self._registry is not None:
            self._registry.close()
            self._registry = None

    def _sync(self, live: Collection[str], seconds: float) -> None:
        from datadream.jobs import index

        try:
            if self._registry is None:
                self._registry = index.open_registry(self._home, seconds)
            elif self._all or not live:
                index.sync(self._home, self._registry, seconds)
                self._all = False
            else:
                index.follow(self._home, self._registry, live)
            self._next = time.monotonic() + SECONDS
        except Exception as error:  # noqa: BLE001 - an index that lags stops nothing; a runner that is dead does
            sys.stderr.write(f"the registry waits: {error}\n")
            self._registry = None
            self._next = time.monotonic() + RETRY_SECONDS
