"""The built-in source: 1,797 real handwritten digits (UCI, 8 x 8 pixels), packaged with scikit-learn.

Writers are not named in the data, so a writer may occur in several parts.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from datadream.data.parts import PARTS, Entry, Parts, Source, split_class
from datadream.data.prompts import ClassInfo
from datadream.errors import UserError

if TYPE_CHECKING:
    import numpy as np

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class DigitsSource(Source):
    """Digits, white strokes on black: values 0..16 become round(v * 255 / 16).

    An image's bytes are a binary PGM of its raw pixels (`P5\\n8 8\\n16\\n` and 64 bytes, row by row), and its
    sha256 is over those. Keys are `digits/0000` to `digits/1796`, the place in scikit-learn's array. The split is
    fixed, whatever `split_seed`: per class about 40% test (719 in all), 20% val (359), 40% train (719).
    """

    def __init__(self) -> None:
        self.name = "digits"
        self.spec = {"kind": "digits"}
        self.classes = tuple(ClassInfo(folder=name, name=name) for name in NAMES)

    def parts(self, split_seed: int = 0) -> Parts:
        """The fixed split, by class, then by index."""
        _, labels = _digits()
        parts: Parts = {part: [] for part in PARTS}
        for label, class_ in enumerate(self.classes):
            names = [f"{index:04d}" for index, found in enumerate(labels) if found == label]
            for part, chosen in split_class(class_.folder, names, 0).items():
                parts[part] += [Entry(f"digits/{name}", label) for name in chosen]
        return parts

    def read(self, key: str) -> bytes:
        """The PGM of one digit; raises UserError for a key that isn't one of theirs."""
        return read_digit(key)


def read_digit(key: str) -> bytes:
    """The digit `key` as a binary PGM with 16 as white; raises UserError when there is no such digit."""
    pixels, labels = _digits()
    if not re.fullmatch(r"digits/[0-9]{4}", key) or int(key[-4:]) >= len(labels):
        raise UserError(f"no digit {key!r}", hint=f"keys go from digits/0000 to digits/{len(labels) - 1}")
    raw: bytes = pixels[int(key[-4:])].tobytes()
    return b"P5\n8 8\n16\n" + raw


@functools.cache
def _digits() -> tuple[np.ndarray, list[int]]:
    """Pixels (1797, 8, 8) uint8 in 0..16, and labels 0..9."""
    import numpy as np

    # scikit-learn's own file, without importing scikit-learn: that takes a second, and screens show digits too
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise UserError("the digits need scikit-learn, which is not installed", hint="pip install scikit-learn")
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 8, 8), [int(label) for label in table[:, -1]]
