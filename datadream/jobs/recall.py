"""What a death between two files left behind: jobs off the queue that aren't over, marks in it without a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from datadream import durable
from datadream.home import state
from datadream.home.causes import CLEAR
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home

STALE_SECONDS = 60.0  # a mark waits as long for its job's folder
Guard = Callable[[str], AbstractContextManager[None]]


def recall(home: Home, guarded: Guard) -> Iterator[None]:
    """Put jobs back on the queue and take marks off it, a folder a step; each under `guarded(job)`."""
    for name in filter(state.is_id, durable.names(home.queue)):
        path = home.queue / name
        with guarded(name):
            old = time.time() - path.stat().st_mtime > STALE_SECONDS
            if old and not home.files(name).spec.exists():
                durable.remove_file(path)
        yield
    for name in filter(state.is_id, durable.names(home.path / "jobs")):
        mark, folder = home.queue / name, home.job(name)
        with guarded(name):
            known = mark.exists() or JobFiles(folder).result.exists() or not JobFiles(folder).spec.exists()
            if not known and not state.derive(home, name, held=CLEAR).final:
                durable.mark(durable.make_dir(mark.parent) / mark.name)
        yield
