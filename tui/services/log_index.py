"""A log of any size: how many lines end in each block, counted from the end, and only the lines asked for are read.

A line is found by the sums of the counts and by reading one block again, so the index of a 1 GB log takes 64 KiB,
whether all lines are counted or only those wanted. Lines are numbered from the first that is known; while older blocks
are still being counted, `front` says by how much those numbers have grown. Used by one thread at a time.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from tui.services.log_text import Wanted, Words, clean

BLOCK = 1 << 16
LONG = 1 << 16  # bytes of one line that are looked at
ALL = Wanted()
PRINT = 64  # bytes before the known end that must still be there


class LogFile:
    """An open file that grows: its size, its bytes, its lines. What can't be read any more reads as nothing."""

    def __init__(self, path: Path, words: Words | None = None) -> None:
        self.path, self.words = path, words
        self.size = 0  # as far as it is known; `look` moves it on
        self.torn = 0  # where the line without an end begins
        self.reads = 0
        self._fd = -1
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self._print = b""

    def open(self) -> bool:
        """Take the file as it is now; False when there is none."""
        self.close()
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        found = os.fstat(self._fd)
        self._seen = (found.st_dev, found.st_ino, found.st_mtime_ns)
        self.size = found.st_size
        self.torn = self.start_of(self.size)
        self._remember()
        return True

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.size, self.torn = -1, 0, 0

    def look(self) -> str:
        """What became of it: "" nothing, "grown" (then `size` has moved on), "replaced", "cut", or "gone".

        A file that was cut and has grown past its old size since is noticed by the bytes before the old end.
        """
        try:
            found = self.path.stat()
        except OSError:
            return "gone"
        if self._fd < 0 or (found.st_dev, found.st_ino) != self._seen[:2]:
            return "replaced"
        if found.st_size < self.size:
            return "cut"
        if found.st_size == self.size and found.st_mtime_ns == self._seen[2]:
            return ""
        if self.read(max(0, self.size - PRINT), self.size) != self._print:
            return "cut"
        self._seen = (found.st_dev, found.st_ino, found.st_mtime_ns)
        if found.st_size == self.size:
            return ""
        old, self.size = self.size, found.st_size
        place = self.last_newline(old, self.size)
        self.torn = place + 1 if place >= 0 else self.torn
        self._remember()
        return "grown"

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`; fewer when they aren't there."""
        if self._fd < 0 or end <= start:
            return b""
        self.reads += 1
        try:
            return os.pread(self._fd, end - start, start)
        except OSError:
            return b""

    def last_newline(self, start: int, end: int) -> int:
        """Where the last newline between them is; -1 without one."""
        size = min(BLOCK, 4096)  # most lines are short
        while end > start:
            begin, size = max(start, end - size), min(2 * size, BLOCK)
            place = self.read(begin, end).rfind(b"\n")
            if place >= 0:
                return begin + place
            end = begin
        return -1

    def start_of(self, end: int) -> int:
        """Where the line begins that ends at `end`."""
        return self.last_newline(0, end) + 1

    def line(self, start: int, end: int) -> str:
        """The cleaned text between two places; of a very long line its end when it was drawn over, else its start."""
        data = self.read(max(start, end - LONG), end)
        if end - start > LONG:
            drawn = data.rstrip(b"\r").rfind(b"\r")
            data = data[drawn:] if drawn >= 0 else self.read(start, start + LONG)
        return clean(data.replace(b"\n", b" "), self.words)[0]

    def _remember(self) -> None:
        self._print = self.read(max(0, self.size - PRINT), self.size)


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The cleaned end of a log; nothing when it can't be read."""
    file = LogFile(path)
    if not file.open():
        return ()
    try:
        found = Found(file)
        while found.total < count and not found.complete:
            found.step()
        return tuple(file.line(*place) for place in found.rows(max(0, found.total - count), count))
    finally:
        file.close()


@dataclass
class Found:
    """The wanted lines of a file: a count for each block, exact from block `first` to the end.

    `front` counts the lines that were found in older blocks since the beginning, `seen` the bytes that are counted.
    """

    file: LogFile
    wanted: Wanted = ALL
    first: int = 0
    front: int = 0
    seen: int = 0
    torn: bool = False
    _counts: array[int] = field(default_factory=lambda: array("L"))
    _sums: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        blocks = -(-self.file.size // BLOCK)
        self._counts = array("L", bytes(self._counts.itemsize * blocks))
        self.first, self.seen = blocks, self.file.size
        self._look_at_torn()

    @property
    def complete(self) -> bool:
        """Whether every block is counted."""
        return self.first == 0

    @property
    def part(self) -> float:
        """How much of the file is counted, 0 to 1."""
        return 1.0 - self.first / len(self._counts) if self._counts else 1.0

    @property
    def total(self) -> int:
        """Lines known, the one without an end among them."""
        return self._known()[-1] + self.torn

    @property
    def size(self) -> int:
        """Bytes the index takes."""
        return self._counts.itemsize * len(self._counts) + 8 * len(self._sums)

    def step(self) -> None:
        """Count one older block."""
        if self.first:
            self.first -= 1
            start = self.first * BLOCK
            found = self._count(start, min(start + BLOCK, self.seen))
            self._counts[self.first] = found
            self.front += found
            self._sums.clear()

    def grow(self) -> None:
        """Count what was added since the last look, one block at most; again while `seen` is less than the size."""
        if self.seen < self.file.size:
            block = self.seen // BLOCK
            end = min((block + 1) * BLOCK, self.file.size)
            if block == len(self._counts):
                self._counts.append(0)
            if block >= self.first:  # an older one is counted whole when its turn comes
                self._counts[block] += self._count(self.seen, end)
            self.seen = end
            self._sums.clear()
        if self.seen == self.file.size:
            self._look_at_torn()

    def rows(self, first: int, count: int) -> list[tuple[int, int]]:
        """Where the lines `first` to `first + count` begin and end in the file."""
        sums, found = self._known(), list[tuple[int, int]]()
        row, last = max(0, first), min(first + count, self.total)
        while row < min(last, sums[-1]):
            place = bisect_right(sums, row) - 1
            ends = self._ends_of(self.first + place, row == sums[place])
            part = ends[row - sums[place] : last - sums[place]]
            if not part:
                break  # the file changed under us; the next look will say how
            found += part
            row += len(part)
        if self.torn and row == sums[-1] and row < last:
            found.append((self.file.torn, self.file.size))
        return found

    def row_at(self, end: int) -> int:
        """The number of the first wanted line that ends at `end` or later; `total` when there is none."""
        sums, block = self._known(), min(max(self.first, end // BLOCK), len(self._counts))
        before = sums[block - self.first]
        if block == len(self._counts) or end < self.first * BLOCK:
            return before if end <= self.seen else self.total
        return before + sum(1 for _, place in self._ends_of(block, False) if place < end)

    def _known(self) -> list[int]:
        if not self._sums:
            self._sums = [0, *accumulate(self._counts[self.first :])]
        return self._sums

    def _look_at_torn(self) -> None:
        start, size = self.file.torn, self.file.size
        self.torn = start < size and (self.wanted.all or bool(self.wanted.numbers([self.file.line(start, size)])))

    def _count(self, start: int, end: int) -> int:
        if self.wanted.all:
            return self.file.read(start, end).count(b"\n")
        return len(self._wanted_in(start, self.file.read(start, end)))

    def _ends_of(self, block: int, whole: bool) -> list[tuple[int, int]]:
        """Beginning and end of each wanted line whose newline is in the block.

        Where the first of them begins may be far back; it is only looked for when it is needed, or with `whole`.
        """
        start = block * BLOCK
        data = self.file.read(start, min(start + BLOCK, self.seen))
        stop, last = data.find(b"\n"), data.rfind(b"\n")
        numbers = range(data.count(b"\n")) if self.wanted.all else self._wanted_in(start, data)
        if not numbers:
            return []
        ends = [start + stop, *accumulate((len(part) + 1 for part in data[stop + 1 : last].split(b"\n")), initial=0)]
        ends = [ends[0], *(start + stop + end for end in ends[2:])] if last > stop else ends[:1]
        begins = [start, *(end + 1 for end in ends)]
        if whole or not self.wanted.all:
            begins[0] = self.file.start_of(start + stop)
        return [(begins[number], ends[number]) for number in numbers]

    def _wanted_in(self, start: int, data: bytes) -> list[int]:
        """Which lines of those that end in `data`, which is at `start`, are wanted; the first may begin before it."""
        stop, last = data.find(b"\n"), data.rfind(b"\n")
        if stop < 0:
            return []
        lines = [self.file.line(self.file.start_of(start + stop), start + stop)]
        if last > stop:
            lines += clean(data[stop + 1 : last], self.file.words)
        return self.wanted.numbers(lines)
