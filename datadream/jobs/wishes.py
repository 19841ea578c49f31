"""How a wish reaches a worker, whoever has it and wherever the worker is: in the job's control.json, which it watches.

A signal only hurries it; another user's never comes, nor one from another host.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from datadream.home import state
from datadream.home.layout import Home
from datadream.stages.emit import stopping

LOOK_SECONDS = 1.0

loading = threading.Event()
"""Set while a job reads code, models and images, before its first step: then it may be interrupted anywhere."""


@contextmanager
def watched(home: Home, job_id: str) -> Iterator[None]:
    """While it lasts, a wish to cancel or pause the job sets `stopping`, within twice LOOK_SECONDS of being written.

    The first look that finds one leaves the runner its turn to say so and to signal; the second acts. A job that is
    `loading` looks at nothing, so there the main thread gets SIGTERM too. The file is read, not only looked at: on a
    network file system opening it is what brings its news.
    """
    main, over, hold = threading.main_thread().ident, threading.Event(), threading.Lock()

    def watch() -> None:
        before = False
        while not over.is_set():
            wished = False
            with suppress(OSError):  # a moment without descriptors, or a server that is away: it looks again
                control = state.read_control(home, job_id)
                wished = control.cancel or control.paused
            with hold:
                if wished and before and not over.is_set():
                    stopping.set()
                    if loading.is_set() and main is not None:
                        signal.pthread_kill(main, signal.SIGTERM)
                    return
            before = wished
            over.wait(LOOK_SECONDS)

    threading.Thread(target=watch, name="wishes", daemon=True).start()
    try:
        yield
    finally:
        with hold:
            over.set()
