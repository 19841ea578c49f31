"""What a stage tells the world while it works: small JSON records; and how the world tells it to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Emit = Callable[[Event], None]
"""Called with {"kind": "progress", "done", "total", "unit"}, {"kind": "metric", "step", "loss", ...} and the like."""

stopping = threading.Event()
"""Set by whoever wants this process to stop; a stage then keeps what it has and raises `Stopped`."""


class Stopped(BaseException):
    """A stage was asked to stop and kept what it needs to go on. Like KeyboardInterrupt it isn't caught in passing."""


def heed_stop() -> None:
    """Raise Stopped when this process was asked to stop: for work that keeps nothing of its own."""
    if stopping.is_set():
        raise Stopped


def silent(_: Event) -> None:
    """An `Emit` that drops everything."""
