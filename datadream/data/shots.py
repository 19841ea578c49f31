"""D_fs, the few-shot set: everything frozen that decides which images are trained on, chosen with, tested on."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datadream.canonical import canonical_json, short_id
from datadream.data.decode import BadImage, decode, decoded
from datadream.data.listing import some
from datadream.data.parts import PARTS, Entry, Part, Source
from datadream.data.prompts import ClassInfo, prompt
from datadream.data.samplers import SAMPLERS
from datadream.data.source import reader
from datadream.data.twins import Fingerprint, Found, find_twins, pixel_digest
from datadream.errors import UserError
from datadream.text import counted

if TYPE_CHECKING:
    from PIL import Image

BATCH = 4096  # images queued at a time while checking, so that a million don't all wait in memory


class ImageRef(BaseModel):
    """One frozen image: `key` in the source, `label` into `ShotSet.classes`, sha256 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    label: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ShotSet(BaseModel):
    """K = `shots` training images of each class, with the val and test images that go with them.

    `train` is by class, then in the order drawn (the first 4 are the 4-shot set of this seed); `val` and `test`
    are in split order. `prompts[label]` is C(y). The three parts share no key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    name: str
    source: dict[str, str]
    split_seed: int = Field(ge=0)
    shots: int = Field(ge=1)
    seed: int = Field(ge=0)
    sampler: str
    classes: tuple[ClassInfo, ...] = Field(min_length=2)
    prompts: tuple[str, ...]
    train: tuple[ImageRef, ...]
    val: tuple[ImageRef, ...]
    test: tuple[ImageRef, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refs = [ref for part in PARTS for ref in self.part(part)]
        labels = range(len(self.classes))
        if len(self.prompts) != len(self.classes):
            raise ValueError("there must be one prompt per class")
        if any(ref.label not in labels for ref in refs):
            raise ValueError("a label has no class")
        if Counter(ref.label for ref in self.train) != Counter(dict.fromkeys(labels, self.shots)):
            raise ValueError(f"each class must have {self.shots} training images")
        if len({ref.key for ref in refs}) != len(refs):
            raise ValueError("an image occurs twice")
        fields = {"digits": {"kind"}, "folder": {"kind", "path", "layout"}}
        if fields.get(self.source.get("kind", "")) != set(self.source):
            raise ValueError("the source is neither digits nor a folder")
        return self

    @property
    def id(self) -> str:
        """The id of everything but the label `name` and the place where the source's folder lies."""
        value: dict[str, Any] = self.model_dump(mode="json", exclude={"name": True, "source": {"path"}})
        return short_id(value)

    def part(self, part: Part) -> tuple[ImageRef, ...]:
        """The images of one part."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def moved_to(self, folder: Path) -> ShotSet:
        """The same set, same id, whose source folder now lies at `folder`; the built-in source never moves."""
        if self.source["kind"] != "folder":
            return self
        return self.model_copy(update={"source": {**self.source, "path": str(folder.resolve())}})

    def to_json_bytes(self) -> bytes:
        """Canonical JSON; `parse` gives the set back."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, data: bytes) -> ShotSet:
        """The set that `to_json_bytes` wrote; raises UserError for anything else."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"{step}: " for step in problem["loc"])
            raise UserError(
                f"not a few-shot set that this version can read ({where}{problem['msg']})",
                hint="make the set again",
            ) from error


class Drawn(NamedTuple):
    """A set, and the pictures that occur more than once in it."""

    shots: ShotSet
    found: Found


def make_shot_set(
    source: Source,
    shots: int,
    seed: int,
    *,
    split_seed: int = 0,
    name: str | None = None,
    sampler: str = "random16",
    check: Literal["all", "used"] = "all",
) -> ShotSet:
    """The set of `draw_shot_set`, when nobody asks what occurs twice in it."""
    return draw_shot_set(source, shots, seed, split_seed=split_seed, name=name, sampler=sampler, check=check).shots


def draw_shot_set(
    source: Source,
    shots: int,
    seed: int,
    *,
    split_seed: int = 0,
    name: str | None = None,
    sampler: str = "random16",
    check: Literal["all", "used"] = "all",
    known: dict[str, Fingerprint] | None = None,
) -> Drawn:
    """Draw `shots` training images a class and freeze them with val, test, prompts and hashes.

    The same arguments give the same id; fewer shots of a seed are contained in more; val and test depend on
    `split_seed` only. Every image of the source is decoded first (`check="used"`: only the frozen ones), and twins
    are looked for among those. `known` holds what was decoded before, by key, and takes what is decoded now: for
    several draws of one opened source. Raises UserError for classes with too few training images, and one BadImage
    for all images that can't be decoded.
    """
    if shots < 1:
        raise UserError(f"{shots} shots requested", hint="use --shots 1 or more")
    if seed < 0 or split_seed < 0:
        raise UserError(f"seed {min(seed, split_seed)} is negative", hint="use 0 or more")
    if sampler not in SAMPLERS:
        raise UserError(f"unknown sampler {sampler!r}", hint=f"use one of {', '.join(SAMPLERS)}")
    parts = source.parts(split_seed)
    pools: list[list[Entry]] = [[] for _ in source.classes]
    for entry in parts["train"]:
        pools[entry.label].append(entry)
    _refuse_small(source, pools, shots)
    chosen = SAMPLERS[sampler]([(c.folder, pool) for c, pool in zip(source.classes, pools, strict=True)], shots, seed)

    used = [*chosen, *parts["val"], *parts["test"]]
    entries = used if check == "used" else [*parts["train"], *parts["val"], *parts["test"]]
    prints = {} if known is None else known
    prints |= _fingerprints(source, [entry.key for entry in entries if entry.key not in prints])

    def frozen(entries: Sequence[Entry]) -> tuple[ImageRef, ...]:
        return tuple(ImageRef(key=e.key, label=e.label, sha256=prints[e.key].sha256) for e in entries)

    made = ShotSet(
        name=name or f"{source.name}-{shots}shot-seed{seed}",
        source=dict(source.spec),
        split_seed=split_seed,
        shots=shots,
        seed=seed,
        sampler=sampler,
        classes=source.classes,
        prompts=tuple(prompt(class_) for class_ in source.classes),
        train=frozen(chosen),
        val=frozen(parts["val"]),
        test=frozen(parts["test"]),
    )
    whole = all(entry.key in prints for entry in parts["train"])
    return Drawn(made, find_twins(made, prints, parts["train"] if whole else None))


def open_shots(shot_set: ShotSet, part: Part) -> Iterator[tuple[ImageRef, Image.Image]]:
    """The images of one part, in order, as RGB, each certain to have the bytes that were frozen.

    Raises UserError at once when the source folder is gone, and on the way when an image is gone or has changed.
    """
    read = image_reader(shot_set)
    return ((ref, read(ref)) for ref in shot_set.part(part))


def image_reader(shot_set: ShotSet) -> Callable[[ImageRef], Image.Image]:
    """A function that reads one image of the set, anew each time, with the same promises as `open_shots`."""
    read, root = reader(shot_set.source), shot_set.source.get("path")

    def image(ref: ImageRef) -> Image.Image:
        data = read(ref.key)
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise UserError(
                f"image {ref.key} changed after the set was made",
                at=root,
                hint="restore the file, or make the set again",
            )
        return decode(data, ref.key)

    return image


def _refuse_small(source: Source, pools: Sequence[Sequence[Entry]], shots: int) -> None:
    small = [(class_, len(pool)) for class_, pool in zip(source.classes, pools, strict=True) if len(pool) < shots]
    if not small:
        return
    class_, fewest = min(small, key=lambda item: item[1])
    hint = f"use --shots {fewest}, or add images" if fewest else "add images"
    if source.spec.get("layout") == "flat":
        hint += " (an unsplit folder keeps about 40% of each class for testing and 20% for validation)"
    if len(small) == 1:
        images = "image" if fewest == 1 else "images"
        message = f"class {class_.folder!r} has {fewest} training {images}, {shots} shots requested"
    else:
        listed = some([f"{c.folder!r} ({count})" for c, count in small])
        message = f"{len(small)} classes have fewer than {shots} training images: {listed}"
    raise UserError(message, at=source.spec.get("path"), hint=hint)


def _fingerprints(source: Source, keys: Sequence[str]) -> dict[str, Fingerprint]:
    """Fingerprints by key, every image decoded on the way; one BadImage for all that fail."""

    def check(key: str) -> tuple[str, Fingerprint | UserError]:
        try:
            data = source.read(key)
            pixels = decoded(data, key, pixel_digest)
        except UserError as error:
            return key, error
        return key, Fingerprint(hashlib.sha256(data).hexdigest(), pixels)

    found: dict[str, Fingerprint] = {}
    bad: list[str] = []
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(keys), BATCH):
            for key, result in pool.map(check, keys[start : start + BATCH]):
                if isinstance(result, UserError):
                    bad.append(f"{key} ({result.message})")
                else:
                    found[key] = result
    if bad:
        raise BadImage(
            f"{counted(len(bad), 'image')} can't be used: {some(bad)}",
            at=source.spec.get("path"),
            hint="replace or remove them, then run again",
        )
    return found
