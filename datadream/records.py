"""Reading records: small JSON objects in files of a home, and in whatever state somebody or something left them.

Everything that can be wrong with such a file is one error, `Unreadable`. Who reads many keeps going without the ones
that raise it, and says how many those were; `datadream registry check` names each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.canonical import parse_json
from datadream.errors import UserError

MOST_BYTES = 2 << 20  # of a record: 80,000 marks; parsed, empty lists of lists take 24 times as much
LISTS_BYTES = durable.MOST_BYTES  # of a manifest or a set, which list files
NAMES: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
Shape = Mapping[str, type]


class Unreadable(UserError):
    """A record that is there and can't be read: `reason` goes on from "the file ...", `path` is that file."""

    def __init__(self, path: Path, reason: str, hint: str = "", what: str = "this record") -> None:
        self.path, self.reason = path, reason
        hint = hint or "see `datadream registry check`"
        super().__init__(f"{what} can't be read: the file {reason}", at=path, hint=hint)

    @property
    def passes(self) -> bool:
        """Whether it is only for want of rights, or of its disk, that it can't be read now."""
        return isinstance(self.__cause__, OSError) and self.__cause__.errno in durable.NO_READ


def read(
    path: Path, shape: Shape | None = None, most: int = MOST_BYTES, *, what: str = "this record", hint: str = ""
) -> dict[str, Any] | None:
    """The JSON object at `path`, with the fields of `shape` each of its type; None when there is no such file.

    Raises Unreadable for anything else, a link to nothing, a pipe, or a file of more than `most` bytes among it;
    `what` and `hint` are what it says then.
    """
    try:
        data = read_bytes(path, most)
    except Unreadable as error:
        raise Unreadable(path, error.reason, hint, what) from error.__cause__
    if data is None:
        return None
    try:
        found = parse_json(data)
        if not isinstance(found, dict):
            raise ValueError("is not a JSON object")
        check(found, shape or {})
        return found
    except ValueError as error:
        reason = str(error)
    data = found = None  # who keeps the error for later keeps this frame with it, and must not keep what was read
    raise Unreadable(path, reason, hint, what)


def write(path: Path, value: Mapping[str, Any], what: str) -> None:
    """`value` as a record that `read` will take. Raises UserError for one that is too large, and writes nothing."""
    text = durable.json_text(value)
    if len(text.encode()) > MOST_BYTES:
        raise UserError(f"{what} would be larger than {MOST_BYTES >> 20} MiB", hint="divide it", at=path)
    durable.write_text(path, text)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes | None:
    """All of a file of at most `most` bytes, which are never read of a larger one; None when there is no such file.

    Raises Unreadable for a larger file, and for anything that is no file or can't be opened; OSError for want of
    descriptors or memory, which says nothing of the file.
    """
    try:
        return durable.read_bytes(path, most)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise Unreadable(path, "is a dangling link") from error
        return None
    except NotADirectoryError:
        return None
    except durable.TooLarge as error:
        raise Unreadable(path, f"is larger than {most >> 20} MiB") from error
    except OSError as error:
        if error.errno in durable.NO_RESOURCES:
            raise
        raise Unreadable(path, f"can't be opened: {error.strerror or error}") from error


def check(found: Mapping[str, Any], shape: Shape) -> None:
    """Raise ValueError, in words that go on from "the file ...", unless `found` has these fields, each of its type.

    A `float` may be a whole number; a truth value is never a number.
    """
    for name, kind in shape.items():
        if name not in found:
            raise ValueError(f"lacks {name!r}")
        value = found[name]
        wanted = (int, float) if kind is float else kind
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"has a {name!r} that is not {NAMES[kind]}")


def entries(folder: Path) -> list[Path]:
    """The records in `folder`, by name; none when there is no such folder.

    Raises UserError when it can't be listed: that some are there may not pass for none.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(".json") and path.name[0] != ".")
    except FileNotFoundError as error:
        if not folder.is_symlink():
            return []
        raise UserError("can't list the records: dangling link", at=folder) from error
    except OSError as error:
        hint = "check that it is a readable folder"
        raise UserError(f"can't list the records: {error.strerror}", at=folder, hint=hint) from error


def left_out(unreadable: Sequence[Unreadable]) -> str:
    """One line that says how many records were left out and what names them; "" when none was."""
    count = len({error.path for error in unreadable})
    if not count:
        return ""
    what = f"{count} records can't be read and are" if count > 1 else "1 record can't be read and is"
    return f"{what} skipped; see `datadream registry check`"
