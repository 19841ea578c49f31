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
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datadream.canonical import canonical_json, parse_json
from datadream.errors import UserError
from datadream.storage import MISSING as MISSING
from datadream.storage import NO_READ as NO_READ
from datadream.storage import NO_SPACE as NO_SPACE
from datadream.storage import NO_WRITE as NO_WRITE
from datadream.storage import STORAGE as STORAGE
from datadream.storage import causes as causes
from datadream.storage import is_full as is_full
from datadream.storage import is_storage as is_storage
from datadream.storage import no_space as no_space
from datadream.storage import user_error as user_error

if TYPE_CHECKING:
    import torch

NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}  # of this process or machine, for a while

RECORD_BYTES = 1 << 20  # what a request, a control file, a label or a lease's note may take
MOST_BYTES = 256 << 20  # what any file may take that is read whole: lists of a set's or an artifact's images
LINE_BYTES = 1 << 20  # of one JSON record or line of text; the rest of a longer one is never held
BLOCK_BYTES = 1 << 16
PARTIAL, REMOVING = ".partial-", ".removing-"
SHARED = stat.S_ISGID | stat.S_IWGRP
RACY_NS = 2_000_000_000  # some file systems count seconds, or two


class TooLarge(ValueError):
    """A file is larger than anything that is written there; it was not read."""


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
        raise UserError(f"can't create the folder: {error.strerror}", at=path, hint="choose another path") from error
    return path


def make_child(path: Path) -> bool:
    """`path` as a folder in a parent that is there; False when there is no parent."""
    try:
        path.mkdir(mode=0o700)
        if _is_shared(path.parent):
            path.chmod(0o2770)
    except FileExistsError:
        return path.is_dir()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise user_error(error, path) from error
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """`path` holds exactly `data`, or what it held before. Parent must exist."""
    partial = scratch(path)
    try:
        with os.fdopen(open_file(partial, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(data)
            _sync(file)
        partial.replace(path)
        _sync_dir(path.parent)
    except OSError as error:
        _drop(partial)
        raise user_error(error, path) from error


def create(path: Path, data: bytes) -> bool:
    """Make `path` hold `data` unless it exists: of any number of processes exactly one gets True. Parent must exist."""
    fd = _create(path, data, locked=False)
    if fd is None:
        return False
    os.close(fd)
    return True


def create_locked(path: Path, data: bytes) -> int | None:
    """As `create`, and whoever makes it holds a kernel lock on it from before it can be seen; returns that descriptor.

    The lock goes when the descriptor, or any other one this process has of the file, is closed, or with the process.
    """
    return _create(path, data, locked=True)


def create_open(path: Path, data: bytes) -> int | None:
    """As `create`, with no lock: the maker's descriptor, to write on in place, or None."""
    return _create(path, data, locked=False)


def _create(path: Path, data: bytes, locked: bool) -> int | None:
    partial = scratch(path)
    fd = -1
    try:
        fd = open_file(partial, os.O_RDWR | os.O_TRUNC)
        if locked:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(fd, data)
        fsync(fd)
        made = _link_new(partial, path, fd)
        _drop(partial)
        if made is None:  # no hard links here: this other descriptor is the only one that made the file
            os.close(fd)
            fd = -1
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file_mode(path))
            try:
                if locked:
                    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write_all(fd, data)
                fsync(fd)
            except OSError:
                _drop(path)
                raise
        elif not made:
            os.close(fd)
            return None
        _sync_dir(path.parent)
        return fd
    except FileExistsError:
        return None
    except OSError as error:
        _drop(partial)
        if fd >= 0:
            os.close(fd)
        raise user_error(error, path) from error


def _link_new(partial: Path, path: Path, fd: int) -> bool | None:
    """Whether `path` is `partial` now; False when it was there first, None where there are no hard links."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return os.fstat(fd).st_nlink > 1  # a server's answer that was lost is asked for again, and finds our own link
    except OSError as error:
        if error.errno in NO_SPACE | STORAGE:
            raise
        return None
    return True


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
            fsync(file.fileno())
        source.replace(target)
        _sync_dir(target.parent)
    except OSError as error:
        raise user_error(error, target) from error


def move(source: Path, target: Path) -> bool:
    """`source`, a file or a whole folder, under the free name `target`, in one step and for good.

    False, and nothing has changed, when `target` lies on another file system. Raises FileNotFoundError when there is
    no `source`, and FileExistsError when `target` is there.
    """
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "already exists", str(target))
        source.rename(target)
        _sync_dir(source.parent)
        if target.parent != source.parent:
            _sync_dir(target.parent)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise user_error(error, source) from error
    return True


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step (renameat2(2)); False, and nothing has changed, where the system can't."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if call is None or call(here, os.fsencode(first), here, os.fsencode(second), swap):
        return False
    _sync_dir(first.parent)
    if second.parent != first.parent:
        _sync_dir(second.parent)
    return True


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
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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


class Scratch:
    """A file without a name, in `folder`'s file system: bytes appended and read by place, gone with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.size = 0
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as this object
        except OSError as error:
            raise user_error(error, folder) from error

    def append(self, data: bytes) -> None:
        """Put `data` at the end."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._file.fileno(), rest, self.size)
                self.size, rest = self.size + written, rest[written:]
        except OSError as error:
            raise user_error(error, self._folder) from error

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        data = b""
        try:
            while len(data) < size:
                more = os.pread(self._file.fileno(), size - len(data), start + len(data))
                if not more:
                    raise OSError(errno.EIO, "the file has been cut", str(self._folder))
                data += more
        except OSError as error:
            raise user_error(error, self._folder) from error
        return data


def publish_dir(
    staged: Path,
    final: Path,
    is_whole: Callable[[Path], bool] = Path.is_dir,
    put_aside: Callable[[Path], object] | None = None,
) -> bool:
    """Rename the finished folder `staged` to `final`; False when a whole `final` was there first (then `staged` goes).

    What is under that name and isn't whole is handed to `put_aside`, which must take it away: finished work never
    goes for the sake of a ruin.
    """
    put_aside = put_aside or remove_dir
    try:
        sync_tree(staged)
        while os.path.lexists(final):
            if is_whole(final):
                remove_dir(staged)
                return False
            put_aside(final)
        staged.rename(final)  # refused if somebody else published since: nothing full is ever renamed over
        _sync_dir(final.parent)
    except OSError as error:
        raise user_error(error, final) from error
    return True


def sync_tree(path: Path) -> None:
    """All that is in the folder `path` reaches the disk."""
    for entry in sorted(path.rglob("*")):
        if entry.is_dir():
            _sync_dir(entry)
        else:
            with entry.open("rb") as file:
                fsync(file.fileno())
    _sync_dir(path)


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
    """Nothing under the name `path`, from one moment to the next; fine when there was nothing.

    It is renamed before it is taken apart: whoever dies over that leaves it whole, or under a name that nobody reads
    and that `datadream gc` sweeps (`is_leftover`).
    """
    aside = path.with_name(f"{REMOVING}{path.name}-{_token()}")
    try:
        path.rename(aside)
        _sync_dir(path.parent)
        sweep(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise user_error(error, path) from error


def is_leftover(name: str) -> bool:
    """Whether a file or folder so called was left by a removal or a write that was cut short: nobody reads it."""
    return name.startswith(REMOVING) or (name.startswith(".") and PARTIAL in name)


def sweep(leftover: Path) -> None:
    """Take apart what nobody reads (`is_leftover`); fine when another does so too."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, onerror=_unless_gone)
    else:
        leftover.unlink(missing_ok=True)


def _unless_gone(_: object, __: str, found: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(found[1], FileNotFoundError):
        raise found[1]


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
        found = parse_json(line)
    except ValueError:
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


def fsync(fd: int) -> None:
    """Have what was written reach the disk; where the file system knows no such thing, it has what that can give."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in MISSING:
            raise


def _token() -> str:
    """A word that no other process of any machine uses: two of the same pid may share a home."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def scratch(path: Path) -> Path:
    """A name beside `path` that nobody else uses; what stays under it counts as a leftover."""
    return path.with_name(f".{path.name}{PARTIAL}{_token()}")


def _drop(path: Path) -> None:
    """No file at `path`, if that can be done: said of another error already."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "short write")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    fsync(file.fileno())


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(fd)
    finally:
        os.close(fd)
