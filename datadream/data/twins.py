"""Pictures that occur more than once in a few-shot set, and what each kind of repetition does to its numbers.

Two images are twins when their decoded pixels are equal: so also under another name or class, in another lossless
format, with other metadata, or turned by an EXIF tag. A copy that was resized or compressed again has other pixels
and isn't found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datadream.data.parts import PARTS, Entry, Part

if TYPE_CHECKING:
    from PIL import Image


BAND_PIXELS = 1 << 20  # hashed at once
SPARE = "spare"  # training images that were not drawn
LABELS = "labels"  # the kind of pictures that stand in several classes
ORDER = ("test", "train", "val", SPARE)
NOUNS = {"train": "shot", "val": "val image", "test": "test image", SPARE: "undrawn training image"}
DRAWN_LATER = "another seed or more shots may draw them"
# kind: the images counted, what they are found in, and what that does
PAIRS = {
    "test-shots": ("test", "train", "accuracy is not measured on unseen images, and likely too high"),
    "val-shots": ("val", "train", "settings chosen on val favour memorisation"),
    "test-val": ("test", "val", "settings chosen on val are chosen on test images"),
    "test-test": ("test", "test", "these images count more than once in the accuracy"),
    "val-val": ("val", "val", "these images count more than once in the accuracy on val"),
    "shots-shots": ("train", "train", "there are fewer distinct shots than requested"),
    "test-spare": ("test", SPARE, DRAWN_LATER),
    "val-spare": ("val", SPARE, DRAWN_LATER),
}


class Fingerprint(NamedTuple):
    """sha256 of an image file (64 hex digits), and a digest of its decoded pixels."""

    sha256: str
    pixels: bytes


class Twins(BaseModel):
    """`count` images of one kind of repetition (LABELS or a key of PAIRS), with one pair of keys as the example.

    For `labels`, `count` is of pictures that stand in several classes; `shots` and `tests` say how many of those are
    among the shots and among the test images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    count: int = Field(ge=1)
    first: str
    second: str
    shots: int = Field(default=0, ge=0)
    tests: int = Field(default=0, ge=0)


class Found(BaseModel):
    """What a search came to. `spare` is whether the training images that were not drawn were looked at too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spare: bool
    twins: tuple[Twins, ...]


class _Place(NamedTuple):
    part: str
    key: str
    label: int


def pixel_digest(image: Image.Image) -> bytes:
    """16 bytes that two decoded images share when size and every RGB value are equal; holds a few rows at a time."""
    total = hashlib.blake2b(f"{image.width}x{image.height}".encode(), digest_size=16)
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        total.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    return total.digest()


class Placed(Protocol):
    """An image of a set: its key in the source, its class, and the sha256 it was frozen with."""

    @property
    def key(self) -> str:
        """Of the source."""

    @property
    def label(self) -> int:
        """Number of its class."""

    @property
    def sha256(self) -> str:
        """Of its file."""


class Frozen(Protocol):
    """A few-shot set, as far as its images are concerned."""

    @property
    def train(self) -> Sequence[Placed]:
        """The shots."""

    def part(self, part: Part) -> Sequence[Placed]:
        """The images of a part."""


def find_twins(
    shots: Frozen, prints: Mapping[str, Fingerprint] | None = None, spare: Iterable[Entry] | None = None
) -> Found:
    """Repetitions in a set: by pixels where `prints` gives every image's, else by the frozen sha256 alone.

    `spare` are the training images that were not drawn, if they have prints too.
    """
    groups: dict[object, list[_Place]] = {}
    for part in PARTS:
        for ref in shots.part(part):
            same: object = prints[ref.key].pixels if prints else ref.sha256
            groups.setdefault(same, []).append(_Place(part, ref.key, ref.label))
    drawn = {ref.key for ref in shots.train}
    for entry in spare or ():
        if prints and entry.key not in drawn:
            groups.setdefault(prints[entry.key].pixels, []).append(_Place(SPARE, entry.key, entry.label))
    repeated = [group for group in groups.values() if len(group) > 1]
    found = [_of_labels(repeated), *(_of_pair(kind, repeated) for kind in PAIRS)]
    return Found(spare=spare is not None, twins=tuple(twins for twins in found if twins))


def _of_pair(kind: str, groups: Iterable[list[_Place]]) -> Twins | None:
    """The images of one part that are in another too, or again in the same; the first pair is the example."""
    part, other, _ = PAIRS[kind]
    count, example = 0, ("", "")
    for group in groups:
        mine = [place.key for place in group if place.part == part]
        theirs = [place.key for place in group if place.part == other]
        if part == other:
            mine = mine[1:]  # the first stands for the picture, the rest repeat it
        if mine and theirs:
            example = example if count else (mine[0], theirs[0])
            count += len(mine)
    return Twins(kind=kind, count=count, first=example[0], second=example[1]) if count else None


def _of_labels(groups: Iterable[list[_Place]]) -> Twins | None:
    """The pictures that stand in several classes."""
    count = shots = tests = 0
    example = ("", "")
    for group in groups:
        first = min(group, key=lambda place: ORDER.index(place.part))  # name one that matters
        second = next((place for place in group if place.label != first.label), None)
        if second is not None:
            example = example if count else (first.key, second.key)
            count += 1
            shots += any(place.part == "train" for place in group)
            tests += any(place.part == "test" for place in group)
    if not count:
        return None
    return Twins(kind=LABELS, count=count, first=example[0], second=example[1], shots=shots, tests=tests)


def sentence(twins: Twins) -> str:
    """How many there are, an example, and what that does to the numbers."""
    pair, one = f"({twins.first} = {twins.second})", twins.count == 1
    if twins.kind == LABELS:
        return _sentence_of_labels(twins, pair)
    part, other, effect = PAIRS[twins.kind]
    noun = NOUNS[part]
    counted = f"{twins.count:,} {noun}{'' if one else 's'}"
    if part == other:
        return f"{counted} {'repeats' if one else 'repeat'} another {noun} {pair}: {effect}"
    return f"{counted} {'is' if one else 'are'} also among the {NOUNS[other]}s {pair}: {effect}"


def _sentence_of_labels(twins: Twins, pair: str) -> str:
    places, effects = [], []
    if twins.shots:
        places.append(f"{twins.shots:,} of them among the shots")
        effects.append("the classifier learns a wrong label")
    if twins.tests:
        places.append(f"{twins.tests:,} of them among the test images")
        effects.append("a test image with a wrong label can't be counted as correct")
    counted = f"{twins.count:,} {'image is' if twins.count == 1 else 'images are'} in more than one class {pair}"
    said = ", ".join([counted, *places]) if places else f"{counted}, none of them among shots or test images"
    return f"{said}: {' and '.join(effects)}" if effects else said


def read_found(value: object) -> Found | None:
    """What a manifest recorded; None when there is nothing that can be read."""
    try:
        found = Found.model_validate(value)
    except ValidationError:
        return None
    return found if all(twins.kind in (LABELS, *PAIRS) for twins in found.twins) else None
