"""What a stage tells the world while it works: small JSON records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Emit = Callable[[Event], None]
"""Called with {"kind": "progress", "done", "total", "unit"}, {"kind": "metric", "step", "loss", ...} and the like."""


def silent(_: Event) -> None:
    """An `Emit` that drops everything."""
