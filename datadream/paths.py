"""Paths as people write them: a leading `~` is a home directory wherever a path is taken."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from datadream.errors import UserError

FULL_PATH = "write the full path"


def expand(text: str | os.PathLike[str], hint: str = FULL_PATH) -> Path:
    """`text` as a path, with a leading `~` or `~user` replaced by that user's home directory.

    A file or folder that is really called so is taken as it is, as a shell does when there is no such user.
    Raises UserError for an empty path, and for a home directory that the system doesn't know; `hint` says what to do.
    """
    written = os.fspath(text)
    if not written.strip():
        raise UserError("the path is empty", hint=hint)
    if not written.startswith("~"):
        return Path(written)
    user, _, rest = written[1:].partition("/")
    own = _home_of(user) if user else user_home()
    if own is None:
        if user and Path(written).exists():
            return Path(written)
        who = f"no user {user!r}" if user else no_home()
        raise UserError(f"can't expand ~: {who}", at=written, hint=hint)
    return own / rest


def user_home() -> Path | None:
    """This user's home directory: HOME, unless it is empty or relative, else what the system has; None for neither."""
    given = os.environ.get("HOME", "")
    if Path(given).is_absolute():
        return Path(given)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def no_home() -> str:
    """Why `user_home` is None, in words."""
    return f"HOME isn't set and uid {os.getuid()} has no passwd entry"


def _home_of(user: str) -> Path | None:
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        return None
