"""What a few-shot set is apart from the draw of its shots: by contents, never by the names of files or folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from datadream.canonical import ID_LENGTH as WHOLE
from datadream.canonical import digest, short_id
from datadream.data.shots import ImageRef, ShotSet
from datadream.home.layout import Home
from datadream.home.sets import load_set
from datadream.text import ID_LENGTH

NAMED = 3  # classes and prompts that a trait lists
SETS_KEPT = 64


@dataclass(frozen=True)
class Frame:
    """`id` is equal for sets that differ in nothing but their shots; `draw` for equal shots, both whatever files are
    called. `traits` say in words what a set is, for tables in which two of one name are told apart.
    """

    id: str
    draw: str
    classes: int
    traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where each image of a part stands in an order that doesn't depend on file names.

    Parts of equal `images` hold the same images of the same classes, so that place i is the same image in both.
    """

    images: str
    of: Mapping[str, int]


def frame_of(shots: ShotSet) -> Frame:
    """The frame of a set that may not be kept yet."""
    ranks = _ranks(shots)
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    parts = {part: digest([text for text, _ in _sorted(shots.part(part), ranks)]) for part in ("train", "val", "test")}
    source = {name: value for name, value in shots.source.items() if name != "path"}
    classes = [shots.classes[label] for label in order]
    frame = short_id(
        {
            "classes": [class_.model_dump(mode="json", exclude={"folder"}) for class_ in classes],
            "prompts": [shots.prompts[label] for label in order],
            "split_seed": shots.split_seed,
            "sampler": shots.sampler,
            "source": source,
            **{part: parts[part] for part in ("val", "test")},
        }
    )
    traits = {
        "layout": " ".join(source.values()),
        "sampler": shots.sampler,
        "split seed": str(shots.split_seed),
        "classes": _listed([class_.prefix + class_.name for class_ in classes]),
        "prompts": _listed([shots.prompts[label] for label in order]),
        "test images": _counted(shots.test),
        "val images": _counted(shots.val),
        "folder": shots.source.get("path", ""),
    }
    return Frame(frame, parts["train"][:WHOLE], len(classes), traits)


def read_frame(home: Home, set_id: str) -> Frame:
    """The frame of a kept set. Raises UserError when it can't be read."""
    return _kept(str(home.path), set_id)


@lru_cache(maxsize=SETS_KEPT)
def _kept(home: str, set_id: str) -> Frame:
    return frame_of(load_set(Home(Path(home)), set_id))


def places(home: Home, set_id: str, part: str, by: str = "class") -> Places:
    """Of a part (test, val) of a kept set; images are told apart by their bytes and their class.

    `by` is `class` for what a class is called and prompted by, or `label` for its number, which pairs sets whose
    classes were renamed. Raises UserError when the set can't be read.
    """
    return _places(str(home.path), set_id, part, by)


@lru_cache(maxsize=SETS_KEPT)
def _places(home: str, set_id: str, part: str, by: str) -> Places:
    shots = load_set(Home(Path(home)), set_id)
    refs = {"test": shots.test, "val": shots.val}[part]
    ranks = _ranks(shots) if by == "class" else list(range(len(shots.classes)))
    found = _sorted(refs, ranks)
    return Places(digest([text for text, _ in found]), {refs[i].key: place for place, (_, i) in enumerate(found)})


def _sorted(refs: Sequence[ImageRef], ranks: Sequence[int]) -> list[tuple[str, int]]:
    """`<sha256> <rank>` and the index of every image, sorted; equal images stand in the order of the set."""
    return sorted((f"{ref.sha256} {ranks[ref.label]}", i) for i, ref in enumerate(refs))


def _ranks(shots: ShotSet) -> list[int]:
    """Of each label: the place of its class among all, ordered by what classes are called and prompted by."""
    words = [
        (shots.prompts[label], *map(str, class_.model_dump(exclude={"folder"}).values()))
        for label, class_ in enumerate(shots.classes)
    ]
    order = sorted(range(len(words)), key=lambda label: (words[label], label))
    ranks = [0] * len(words)
    for rank, label in enumerate(order):
        ranks[label] = rank
    return ranks


def _counted(refs: Sequence[ImageRef]) -> str:
    """`719 (7f08f692)`: how many images, and a digest of their bytes whatever their classes are called."""
    return f"{len(refs):,} ({digest(sorted(ref.sha256 for ref in refs))[:ID_LENGTH]})"


def _listed(words: Sequence[str]) -> str:
    """`"cat", "dog"`; of many the first, how many there are, and a digest of all."""
    named = ", ".join(f'"{word}"' for word in words[:NAMED])
    return named if len(words) <= NAMED else f"{named}, ... ({len(words)}, {short_id(list(words))[:ID_LENGTH]})"
