"""Durable writes: every file this program leaves behind is written, synced and renamed here.

DO: write beside the target, flush, fsync, close, rename, fsync the folder.
DON'T: open a final path for writing, or rename anywhere else. Fault tests hook in here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datadream.canonical import canonical_json
from datadream.errors import UserError

if TYPE_CHECKING:
    import torch

STORAGE = {errno.EIO, errno.ESTALE}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_READ = {errno.EACCES, errno.EPERM, *STORAGE}
NO_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}

NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}  # of this process or machine, for a while

RECORD_BYTES = 1 << 20  # what a request, a control file, a label or a lease's note may take
MOST_BYTES = 256 << 20  # what any file may take that is read whole: lists of a set's or an artifact's images
LINE_BYTES = 1 << 20  # of one JSON record or line of text; the rest of a longer one is never held
BLOCK_BYTES = 1 << 16
SHARED = stat.S_ISGID | stat.S_IWGRP
RACY_NS = 2_000_000_000  # some file systems count seconds, or two


class TooLarge(ValueError):
    """A file is larger than anything that is written there; it was not read."""


def is_storage(error: BaseException | None) -> bool:
    """Whether the disk is behind `error`: full, over quota, or failing. That passes; a mistake doesn't."""
    return any(isinstance(link, OSError) and link.errno in NO_SPACE | STORAGE for link in causes(error))


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
        return UserError("can't write", at=path, hint="choose a folder you may write to with --home or DATADREAM_HOME")
    return OSError(error.errno, error.strerror, str(path))


def no_space(path: Path | str) -> UserError:
    """What to say when the disk or the quota is full."""
    return UserError("no space left", at=path, hint="free some disk space, then run the same command again to resume")


def file_mode(path: Path) -> int:
    """Of a new file: private, or its group's too in a folder that is shared (setgid)."""
    return 0o660 if _is_shared(path.parent) else 0o600


def open_file(path: Path, flags: int) -> int:
    """A descriptor of `path`, made if need be: private, or its group's below a folder that is shared.

    Raises OSError for what is no file: opening a pipe that nobody reads would never return.
    """
    shared = _is_shared(path.parent)
    fd = _regular(os.open(path, flags | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600), path)
    if shared:
        with suppress(PermissionError):  # another member of the group made it, and did this then
            os.fchmod(fd, 0o660)
    return fd


def _is_shared(folder: Path) -> bool:
    """Setgid and writable by the group; setgid alone is what a folder below a project's has from its parent."""
    try:
        return folder.stat().st_mode & SHARED == SHARED
    except OSError:
        return False


def make_dir(path: Path, private: bool = False) -> Path:
    """`path` as a folder, with its parents; new ones are private (0700), or their group's below one that is shared.

    With `private` they are private in any case.
    """
    try:
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                shared = not private and _is_shared(folder.parent)
                folder.mkdir(mode=0o700, exist_ok=True)
                if shared:
                    folder.chmod(0o2770)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
    except OSError as error:
        known = user_error(error, path)
        if isinstance(known, UserError):
            raise known from error
        raise UserError(f"can't make the folder: {error.strerror}", at=path, hint="choose another place") from error
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """`path` holds exactly `data`, or what it held before. Parent must exist."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}-{threading.get_ident()}")
    try:
        with os.fdopen(open_file(partial, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(data)
            _sync(file)
        partial.replace(path)
        _sync_dir(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise user_error(error, path) from error


def create(path: Path, data: bytes) -> bool:
    """Make `path` hold `data` unless it exists: of any number of processes exactly one gets True. Parent must exist."""
    fd = create_locked(path, data)
    if fd is None:
        return False
    os.close(fd)
    return True


def create_locked(path: Path, data: bytes) -> int | None:
    """As `create`, and whoever makes it holds a kernel lock on it from before it can be seen; returns that descriptor.

    The lock goes when the descriptor, or any other one this process has of the file, is closed, or with the process.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    fd = -1
    try:
        fd = open_file(partial, os.O_RDWR | os.O_TRUNC)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(fd, data)
        os.fsync(fd)
        os.link(partial, path)
        partial.unlink()
        _sync_dir(path.parent)
        return fd
    except FileExistsError:
        partial.unlink(missing_ok=True)
        os.close(fd)
        return None
    except OSError as error:
        partial.unlink(missing_ok=True)
        if fd >= 0:
            os.close(fd)
        raise user_error(error, path) from error


def mark(path: Path) -> None:
    """An empty file at `path`, new to whoever watches its folder. Parent must exist."""
    try:
        os.close(open_file(path, os.O_WRONLY))
    except OSError as error:
        raise user_error(error, path) from error
    touch_dir(path.parent)


def touch_dir(path: Path) -> None:
    """Make the folder look changed to whoever watches it."""
    try:
        os.utime(path)
        _sync_dir(path)
    except OSError as error:
        raise user_error(error, path) from error


def changed_at(path: Path | str) -> int:
    """The time of the last change of `path` in nanoseconds; 0 where nothing can be read."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - asked of thousands of texts, which needn't become paths
    except OSError:
        return 0


def names(folder: Path | str) -> list[str]:
    """What is in a folder; nothing where it can't be read. Raises OSError for want of descriptors or memory."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        if error.errno in NO_RESOURCES:
            raise
        return []


def size_of(path: Path | str) -> int:
    """The bytes in a file; 0 where nothing can be read."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as above
    except OSError:
        return 0


def is_racy(mtime: int) -> bool:
    """Whether the time, in nanoseconds, is so near that one more change might not show by it."""
    return abs(time.time_ns() - mtime) < RACY_NS


def remove_file(path: Path) -> None:
    """No file at `path`; fine when there was none."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise user_error(error, path) from error


def reserve(path: Path, size: int = 8192) -> None:
    """Hold `size` bytes at `path`, to be given back with `remove_file` when the last word finds no room."""
    if not path.exists():
        write_bytes(path, os.urandom(size))


def replace_file(source: Path, target: Path) -> None:
    """The finished file `source` under the name `target`, for good."""
    try:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(target)
        _sync_dir(target.parent)
    except OSError as error:
        raise user_error(error, target) from error


def rotate(path: Path) -> None:
    """What `path` holds moves to `previous(path)`; fine when there is nothing."""
    try:
        if path.exists():
            path.replace(previous(path))
    except OSError as error:
        raise user_error(error, path) from error


def previous(path: Path) -> Path:
    """Where `rotate` keeps the last but one."""
    return path.with_name(f"{path.name}.previous")


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 `text`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`value` as readable JSON with sorted keys and a final newline."""
    write_text(path, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class Appender:
    """An append-only JSON-lines file: one record, one write; a torn tail never harms a later record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = open_file(path, os.O_RDWR | os.O_APPEND)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")
        except OSError as error:
            raise user_error(error, path) from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Write `record` as one line; on a short write the file is cut back and the error raised."""
        line = canonical_json(dict(record)) + b"\n"
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                os.ftruncate(self._fd, size)
                raise OSError(errno.ENOSPC, "short write", str(self.path))
        except OSError as error:
            raise user_error(error, self.path) from error

    def close(self) -> None:
        """Close the file; further appends fail."""
        os.close(self._fd)


def publish_dir(staged: Path, final: Path) -> bool:
    """Rename the finished folder `staged` to `final`; False when `final` was there first (then `staged` goes)."""
    try:
        for path in sorted(staged.rglob("*")):
            if path.is_dir():
                _sync_dir(path)
            else:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        _sync_dir(staged)
        if final.exists():
            shutil.rmtree(staged)
            return False
        staged.rename(final)
        _sync_dir(final.parent)
    except OSError as error:
        raise user_error(error, final) from error
    return True


def link_tree(source: Path, target: Path) -> None:
    """Every file of `source` in `target` too, by hard link where the file system can; what is there stays."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            make_dir(copy)
        elif not copy.exists():
            make_dir(copy.parent)
            try:
                os.link(path, copy)
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise user_error(error, copy) from error
                write_bytes(copy, path.read_bytes())


def remove_dir(path: Path) -> None:
    """Remove a folder of ours and all in it; fine when it isn't there."""
    if path.exists():
        shutil.rmtree(path)


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Safetensors with one byte form for equal content: names sorted, metadata sorted, header padded to 8.

    The library's own writer orders metadata keys by a per-process hash (safetensors issue 584).
    """
    import safetensors.torch

    ordered = {name: tensors[name].detach().contiguous().cpu() for name in sorted(tensors)}
    raw = safetensors.torch.save(ordered, metadata=dict(metadata) if metadata else None)
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    meta = header.pop("__metadata__", None)
    entries: dict[str, Any] = {"__metadata__": dict(sorted(meta.items()))} if meta else {}
    entries |= dict(sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])))
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + raw[8 + length :]


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """`safetensors_bytes` written atomically to `path`."""
    write_bytes(path, safetensors_bytes(tensors, metadata))


def open_regular(path: Path) -> IO[bytes]:
    """`path` to read, when it is a file: a pipe planted under its name would hold its reader for ever."""
    return os.fdopen(_regular(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path), "rb")


def read_bytes(path: Path, limit: int = MOST_BYTES) -> bytes:
    """What the file at `path` holds. Raises OSError also for what is no file, TooLarge for more than `limit` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(data) > limit:
        raise TooLarge(f"{path.name} is larger than {limit >> 20} MiB")
    return data


def read_jsonl(path: Path, newest: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The good records of a JSON-lines file and the number of bad lines (torn by a crash or a full disk).

    With `newest` only those of its last so many bytes; a line that is cut by that is neither. A line of more than
    LINE_BYTES is bad.
    """
    records: list[dict[str, Any]] = []
    bad = 0
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return records, bad
    with file:
        size = os.fstat(file.fileno()).st_size
        if newest is not None and size > newest:
            file.seek(size - newest - 1)
            _skip_line(file)
        while line := file.readline(LINE_BYTES + 1):
            if len(line) > LINE_BYTES:
                bad += 1
                _skip_line(file)
                continue
            record = parse_record(line)
            if record is not None:
                records.append(record)
            elif line != b"\n":
                bad += 1
    return records, bad


def parse_record(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line; None when it is torn, nested beyond reason, or something else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _skip_line(file: IO[bytes]) -> None:
    """To the next line, without holding this one."""
    while (part := file.readline(BLOCK_BYTES)) and not part.endswith(b"\n"):
        pass


def _regular(fd: int, path: Path) -> int:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def _write_all(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "short write")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
