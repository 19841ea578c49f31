"""The runner's log: each thing once, and never a wait for whoever should read it."""

from __future__ import annotations

import os
import select
from contextlib import suppress

from datadream.home import state

LINE_BYTES = 4000  # a pipe takes as much at once or not at all
TEXTS_MAX = 10_000


class Log:
    """Says things on standard error. A terminal that is stopped, or a pipe nobody empties, gets nothing."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, text: str) -> None:
        """Write it with the time, unless that was done before."""
        if text in self._said:
            return
        if len(self._said) >= TEXTS_MAX:
            self._said.clear()
        self._said.add(text)
        line = f"{state.now()} {text}\n".encode("utf-8", "replace")[:LINE_BYTES]
        with suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(2, select.POLLOUT)
            if poll.poll(0):
                os.write(2, line)
