"""Opening a source of labelled images by the name of a built-in one or the path of a folder."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from datadream.data.digits import DigitsSource, read_digit
from datadream.data.folder import FolderSource, check_root, read_file
from datadream.data.parts import PARTS, Entry, Part, Parts, Source
from datadream.errors import UserError
from datadream.paths import expand

PIXEL = b"P5\n1 1\n255\n\0"

__all__ = ["BUILTIN", "PARTS", "Entry", "Part", "Parts", "Source", "open_source", "reader"]

BUILTIN = ("digits",)


def open_source(spec: str) -> Source:
    """The built-in source of that name, else the folder at that path (`./digits` for a folder called so).

    Raises UserError for a missing folder, and for one that isn't laid out as a source (see FolderSource).
    """
    if spec == "digits":
        return DigitsSource()
    try:
        root = (expand(spec) if spec.strip() else Path(spec)).resolve()
        str(root).encode()  # a set is kept as JSON, which is UTF-8
        missing = not spec.strip() or not root.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"not a folder path: {error}", at=repr(spec)) from error
    if missing:
        close = difflib.get_close_matches(spec.strip().lower(), BUILTIN, n=1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"give a folder of images, or a built-in source: {', '.join(BUILTIN)}"
        )
        raise UserError(f"no source {spec!r}", hint=hint)
    return FolderSource(root)


def reader(spec: Mapping[str, str]) -> Callable[[str], bytes]:
    """A function from key to bytes for the source that `spec` (a `Source.spec`) describes, without listing it.

    Raises UserError when the folder is gone.
    """
    if spec["kind"] == "digits":
        return read_digit
    root = Path(spec["path"])
    check_root(root)
    return lambda key: read_file(root, key)


class Listed(Source):
    """`source` with its images unread, for a look at what there is; every one stands for a single black pixel."""

    def __init__(self, source: Source) -> None:
        self.name, self.spec, self.classes = source.name, source.spec, source.classes
        self._source = source

    def parts(self, split_seed: int = 0) -> Parts:
        """The source's own."""
        return self._source.parts(split_seed)

    def read(self, key: str) -> bytes:
        """A pixel."""
        return PIXEL
