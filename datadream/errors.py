"""The one error users see: what, where, and what to do, in one sentence."""

from __future__ import annotations

import os
from pathlib import Path


class UserError(Exception):
    """Something the user can mend. Raised where it is known, printed once at the edge, exit code 2.

    `at` is the file, folder or key it is about; `hint` says what to do.
    """

    def __init__(self, message: str, *, at: str | Path | None = None, hint: str | None = None) -> None:
        self.message, self.at, self.hint = message, at, hint
        place = f" ({os.fspath(at)})" if at is not None else ""
        advice = f": {hint}" if hint else ""
        super().__init__(f"{message}{place}{advice}")
