"""Thumbnails: decoded and scaled in the pool, kept up to a number of bytes; what can't be shown is a sentence.

Only `load` and `read_pixels` do work, and only in the pool; Pillow is imported there, when the first image is wanted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from datadream.errors import UserError

KEPT_BYTES = 32 << 20
GONE = "can't be shown"


@dataclass(frozen=True)
class Picture:
    """Where an image is: `key` below the folder `root`; with no root, a key of the built-in digits."""

    root: str
    key: str

    @classmethod
    def of_file(cls, path: str | Path) -> Picture:
        """The image in a file."""
        found = Path(path)
        return cls(str(found.parent), found.name)


@dataclass(frozen=True)
class Pixels:
    """`width` x `height` pixels, three bytes each, row by row; `full` is the size it was scaled from."""

    width: int
    height: int
    rgb: bytes
    full: tuple[int, int] = (0, 0)


Shown = Pixels | str  # a str says why there is no image
Key = tuple[Picture, int, int]


class Thumbs:
    """The newest thumbnails, at most `most` bytes of them. Safe to use from any thread."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self.decodes = 0
        self.bytes = 0
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Shown] = OrderedDict()

    def get(self, picture: Picture, width: int, height: int) -> Shown | None:
        """What is kept for this image in a box of so many pixels; None when nothing is."""
        with self._lock:
            found = self._kept.get((picture, width, height))
            if found is not None:
                self._kept.move_to_end((picture, width, height))
            return found

    def load(self, picture: Picture, width: int, height: int) -> Shown:
        """The image fitted into a box of so many pixels, or why it can't be. Only in the pool."""
        found = self.get(picture, width, height)
        if found is None:
            found = read_pixels(picture, width, height)
            with self._lock:
                self.decodes += 1
                if isinstance(found, str):
                    return found  # it may be there the next time
                self._kept[picture, width, height] = found
                self.bytes += weight(found)
                while self.bytes > self._most and len(self._kept) > 1:
                    self.bytes -= weight(self._kept.popitem(last=False)[1])
        return found

    def load_all(
        self, pictures: Iterable[Picture], width: int, height: int, wanted: Callable[[], bool] = lambda: True
    ) -> dict[Picture, Shown]:
        """Several, until they are not `wanted` any more."""
        found: dict[Picture, Shown] = {}
        for picture in pictures:
            if not wanted():
                break
            found[picture] = self.load(picture, width, height)
        return found


THUMBS = Thumbs()  # of the whole app


def weight(shown: Shown) -> int:
    """Bytes that keeping it costs, about."""
    return 200 + (len(shown.rgb) if isinstance(shown, Pixels) else len(shown))


def read_pixels(picture: Picture, width: int, height: int) -> Shown:
    """Decode, and fit into the box: nearest neighbour upwards, so that small ones stay crisp, an average downwards."""
    from datadream.data.decode import decode
    from datadream.data.digits import read_digit
    from datadream.data.folder import read_file

    try:
        data = read_file(Path(picture.root), picture.key) if picture.root else read_digit(picture.key)
        image = decode(data, picture.key)
    except UserError as error:
        return error.message or GONE
    except MemoryError:
        return "too large for the free memory"
    from PIL import Image

    scale = min(width / image.width, height / image.height)
    if scale > 1:
        scale = max(1.0, int(scale)) if scale >= 2 else scale
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    fitted = image if size == image.size else image.resize(size, way)
    return Pixels(fitted.width, fitted.height, fitted.tobytes(), image.size)
