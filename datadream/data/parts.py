"""What a source of labelled images is, and how one class of it is split when nobody split it before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from datadream.data.decode import decode
from datadream.data.listing import natural_key, some
from datadream.data.prompts import ClassInfo

if TYPE_CHECKING:
    from PIL import Image

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

TEST_FRACTION = 0.4
VAL_FRACTION = 0.2
FULL_SHOTS = 16  # the most shots the field asks for; a class of 32 images or more can give them


class Entry(NamedTuple):
    """One image: its stable id in the source, and its class as an index into `classes`."""

    key: str
    label: int


Parts = dict[Part, list[Entry]]


class Source(Protocol):
    """Labelled images in three disjoint parts. `classes[label]` says what a label means.

    `spec` is JSON enough to open the same source again; `name` is a label for people. `skipped` names folders and
    images that were left out because they are hidden.
    """

    name: str
    spec: dict[str, str]
    classes: tuple[ClassInfo, ...]
    skipped: tuple[str, ...] = ()

    def parts(self, split_seed: int = 0) -> Parts:
        """Every image in exactly one part, in split order: by class, then by natural order of the name.

        `split_seed` matters only where the source does not come split.
        """
        ...

    def read(self, key: str) -> bytes:
        """The image file's bytes. Raises UserError when there is no such image or it can't be read."""
        ...

    def image(self, key: str) -> Image.Image:
        """The image as upright 8-bit RGB. Raises BadImage when it can't be decoded."""
        return decode(self.read(key), key)

    def sha256(self, key: str) -> str:
        """sha256 (64 hex digits) of `read(key)`."""
        return hashlib.sha256(self.read(key)).hexdigest()


def left_out(source: Source) -> str:
    """What a source skipped, in words; "" when that is nothing."""
    return f"skipped, as hidden or outside the class folders: {some(source.skipped)}" if source.skipped else ""


def part_sizes(count: int) -> dict[Part, int]:
    """How many of a class's `count` (>= 2) images go where: about 40% test, 20% val, the rest train.

    In a class of fewer than 40 train gets more, so that shots remain: at least half, or 16 if half is more.
    val gives way first; train and test have at least one each.
    """
    train = min(FULL_SHOTS, (count + 1) // 2)
    test = max(1, min(_round(TEST_FRACTION * count), count - train))
    val = min(_round(VAL_FRACTION * count), count - train - test)
    return {"train": count - test - val, "val": val, "test": test}


def split_class(folder: str, names: Sequence[str], split_seed: int) -> dict[Part, list[str]]:
    """The `names` of one class in three disjoint parts of `part_sizes`, each in natural order.

    Names are ranked by sha256 of `datadream split 1/{split_seed}/{folder}/{name}`: the first ones are test, the
    next val, the rest train. So the split depends on no library and on no other class.
    """

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"datadream split 1/{split_seed}/{folder}/{name}".encode()).digest()

    ranked = sorted(names, key=rank)
    sizes = part_sizes(len(ranked))
    cut = sizes["test"] + sizes["val"]
    drawn: dict[Part, list[str]] = {
        "train": ranked[cut:],
        "val": ranked[sizes["test"] : cut],
        "test": ranked[: sizes["test"]],
    }
    return {part: sorted(chosen, key=natural_key) for part, chosen in drawn.items()}


def _round(value: float) -> int:
    return int(value + 0.5)
