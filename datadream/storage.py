"""What a disk refuses, sorted and put into words: no room, no right, failing, or a call it doesn't know.

`durable` writes; it and everybody else asks here what an error means.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datadream.errors import UserError

STORAGE = {errno.EIO, errno.ESTALE}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_READ = {errno.EACCES, errno.EPERM, *STORAGE}
NO_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
# What file systems without locks, hard links or fsync answer to these calls; which one is their own taste.
MISSING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EPERM, errno.ENOTTY}

_ESCAPED = re.compile(r"\\(\d{3})")  # how the mount table writes a space, as \040


def is_storage(error: BaseException | None) -> bool:
    """Whether the disk is behind `error`: full, over quota, or failing. That passes; a mistake doesn't."""
    return any(isinstance(link, OSError) and link.errno in NO_SPACE | STORAGE for link in causes(error))


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk, a quota or a limit of file sizes is behind `error`."""
    return any(isinstance(link, OSError) and link.errno in NO_SPACE for link in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it: loaders wrap what happened in errors of their own. Each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def user_error(error: OSError, path: Path) -> Exception:
    """`error` as one sentence for the user when it is about room or rights, else as another error of its kind.

    Never `error` itself: raised from itself it would be its own cause, and who follows causes would never end.
    """
    if error.errno in NO_SPACE:
        return no_space(path)
    if error.errno in NO_WRITE:
        return UserError("can't write", at=path, hint="choose a writable folder with --home or DATADREAM_HOME")
    return OSError(error.errno, error.strerror, str(path))


def no_space(path: Path | str) -> UserError:
    """What to say when the disk or the quota is full."""
    return UserError("no space left", at=path, hint="free some disk space, then run the same command again to resume")


@dataclass(frozen=True)
class Mount:
    """A line of the mount table: where it is mounted, as what, and with which options (proc_pid_mountinfo(5))."""

    id: str = ""
    device: str = ""
    root: str = ""
    kind: str = ""
    options: tuple[str, ...] = ()


MOUNTS = Path("/proc/self/mountinfo")


def mount_of(path: Path, mounts: Path = MOUNTS) -> Mount:
    """What `path` lies on; of several over one another the last. An empty one where there is no mount table."""
    best = Mount()
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return best
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 6 or not kinds:
            continue
        root = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        if (path == root or root in path.parents) and len(root.parts) >= len(Path(best.root).parts):
            options = {*fields[5].split(","), *(kinds[2].split(",") if len(kinds) > 2 else ())}
            best = Mount(fields[0], fields[2], str(root), kinds[0], tuple(sorted(options)))
    return best
