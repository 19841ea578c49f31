"""Lines of a file of any size, a batch at a time: new ones, the last ones, all of them from the end.

Nothing here holds more than a batch. Of a line longer than LINE_BYTES only the start is kept, with a mark.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from datadream import durable
from datadream.durable import BLOCK_BYTES, LINE_BYTES

MESSAGE_LENGTH = 300
SHOWN_BYTES = 1 << 16  # of a line that is longer than LINE_BYTES


class Lines:
    """Reads the complete lines that were added since the last look."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.offset = offset

    def skip(self) -> None:
        """Forget what is there already."""
        self.offset = self._path.stat().st_size if self._path.exists() else 0

    def batch(self) -> list[bytes]:
        """The next new lines, oldest first, LINE_BYTES of them at most; empty when there is none."""
        try:
            file = durable.open_regular(self._path)
        except FileNotFoundError:
            return []
        with file:
            file.seek(self.offset)
            data = file.read(LINE_BYTES)
            end = data.rfind(b"\n") + 1
            if not end and len(data) == LINE_BYTES:
                length = len(data) + _to_newline(file)
                if length == len(data):
                    return []  # it has no end yet
                self.offset += length
                return [data[:SHOWN_BYTES] + b" [+%d bytes]" % (length - 1 - SHOWN_BYTES)]
        self.offset += end
        return data[:end].splitlines()

    def __iter__(self) -> Iterator[bytes]:
        """New lines, oldest first, as far as the file goes now."""
        end = durable.size_of(self._path)
        while self.offset < end and (lines := self.batch()):
            yield from lines

    def texts(self) -> Iterator[str]:
        """The same as text; what is no UTF-8 is replaced."""
        for line in self:
            yield line.decode("utf-8", "replace")


class Tail(Lines):
    """The same for JSON records; a torn or foreign line is skipped."""

    def records(self) -> Iterator[dict[str, Any]]:
        """New events, oldest first."""
        for line in self:
            record = durable.parse_record(line)
            if record is not None:
                yield record

    def records_and_bad(self) -> tuple[list[dict[str, Any]], int]:
        """The next batch of new events, and how many lines in it were none."""
        lines = [line for line in self.batch() if line.strip()]
        records = [record for record in map(durable.parse_record, lines) if record is not None]
        return records, len(lines) - len(records)


def start_of_last(path: Path, count: int) -> tuple[int, int]:
    """Where the last `count` complete lines of a file begin, and how many there are: fewer in a shorter one."""
    try:
        file = durable.open_regular(path)
    except OSError:
        return 0, 0
    with file:
        found = -1  # the newline at the end of the last complete line begins no line
        for start, block in _blocks(file):
            place = len(block)
            while (place := block.rfind(b"\n", 0, place)) >= 0:
                found += 1
                if found == count:
                    return start + place + 1, count
    return 0, found + 1


def from_end(path: Path) -> Iterator[bytes]:
    """The complete lines of a file, the last one first; those longer than LINE_BYTES are left out."""
    try:
        file = durable.open_regular(path)
    except OSError:
        return
    with file:
        rest: list[bytes] = []  # of the line whose start isn't read yet, the last part first
        held, begun = 0, False
        for _, block in _blocks(file):
            for number, piece in enumerate(reversed(block.split(b"\n"))):
                if number:  # a newline was here: the line behind it is whole
                    if begun and held <= LINE_BYTES:
                        yield b"".join(reversed(rest))
                    rest, held, begun = [], 0, True
                held += len(piece)
                if held <= LINE_BYTES:
                    rest.append(piece)
        if begun and held <= LINE_BYTES:
            yield b"".join(reversed(rest))


def last_text(path: Path, start: int = 0) -> str:
    """The last line of text that was written since the byte `start`, cut to what a message can hold."""
    try:
        with durable.open_regular(path) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - BLOCK_BYTES))
            said = file.read(BLOCK_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    found = next((" ".join(line.split()) for line in reversed(said) if line.strip()), "")
    return found[:MESSAGE_LENGTH]


def _blocks(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where each block begins and what it holds, the last one first."""
    start = file.seek(0, os.SEEK_END)
    while start > 0:
        end, start = start, max(0, start - BLOCK_BYTES)
        file.seek(start)
        yield start, file.read(end - start)


def _to_newline(file: IO[bytes]) -> int:
    """How many bytes there are to the next newline, with it; 0 when there is none."""
    length = 0
    while block := file.read(BLOCK_BYTES):
        place = block.find(b"\n")
        if place >= 0:
            return length + place + 1
        length += len(block)
    return 0
