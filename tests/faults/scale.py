"""How long fault tests run, and where their figures go.

`make test` runs the short forms; `make reliability` sets DATADREAM_SOAK for the full ones and DATADREAM_FIGURES to the
file that docs/reliability.md is written from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SOAK = bool(os.environ.get("DATADREAM_SOAK"))


def scale(short: T, full: T) -> T:
    """`full` in a soak, else `short`."""
    return full if SOAK else short


def record(name: str, **figures: object) -> None:
    """Keep a test's figures: counts, seeds, outcome."""
    target = os.environ.get("DATADREAM_FIGURES")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, **figures}, ensure_ascii=False) + "\n")
