"""A new few-shot set: what was typed, what the source holds, the equal command, and the making. All in the pool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datadream.data.parts import PARTS, Parts, Source, left_out
from datadream.errors import UserError
from datadream.home.quoting import command_line
from datadream.text import counted

if TYPE_CHECKING:
    from datadream.home.layout import Home

SHORTEST = 3  # classes named


@dataclass(frozen=True)
class Wish:
    """What `datadream set make` can be asked for."""

    source: str
    shots: int
    seed: int
    split_seed: int = 0
    name: str = ""


@dataclass(frozen=True)
class Look:
    """What a source holds, in lines; `wrong` says why the set can't be made, "" when nothing speaks against it."""

    lines: tuple[str, ...] = ()
    wrong: str = ""
    images: int = 0


def parse(source: str, shots: str, seed: str, split_seed: str, name: str) -> Wish | str:
    """What was typed, or a sentence on what can't be."""
    if not source.strip():
        return "no images given: digits, or a folder"
    numbers = []
    for word, what, least in ((shots, "shots", 1), (seed, "seed", 0), (split_seed or "0", "split seed", 0)):
        text = word.strip()
        if not (text.isascii() and text.isdecimal()) or int(text) < least or len(text) > 9:
            return f"{what}: expected an integer >= {least}"
        numbers.append(int(text))
    return Wish(source.strip(), numbers[0], numbers[1], numbers[2], name.strip())


def command(wish: Wish) -> str:
    """The exactly equal command line."""
    words = ["datadream", "set", "make", "--shots", str(wish.shots), "--seed", str(wish.seed)]
    words += ["--split-seed", str(wish.split_seed)] if wish.split_seed else []
    if wish.name:
        words += [f"--name={wish.name}"] if wish.name.startswith("-") else ["--name", wish.name]
    if wish.source.startswith("-"):
        return command_line([*words, "--", wish.source])
    return command_line([*words[:3], wish.source, *words[3:]])


def look(home: Home, wish: Wish) -> Look:
    """Classes, images a class, and what is short or misnamed; reads no image and writes nothing."""
    from datadream.canonical import short_id
    from datadream.data.shots import make_shot_set
    from datadream.data.source import Listed, open_source
    from datadream.home.sets import default_name
    from datadream.home.state import read_dict

    try:
        source = open_source(wish.source)
    except UserError as error:
        return Look(wrong=str(error))
    parts = source.parts(wish.split_seed)
    lines = _lines(source, parts)
    images = sum(map(len, parts.values()))
    try:
        drawn = make_shot_set(Listed(source), wish.shots, wish.seed, split_seed=wish.split_seed, check="used")
    except UserError as error:
        return Look(lines, str(error), images)
    name = wish.name or default_name(drawn)
    held = read_dict(home.set_name(short_id(name)))
    lines += (f"name: {name}" + (", an existing name: it must be the same set" if held else ""),)
    return Look(lines, "", images)


def _lines(source: Source, parts: Parts) -> tuple[str, ...]:
    counts = {part: Counter(entry.label for entry in parts[part]) for part in PARTS}
    pools = [counts["train"][label] for label in range(len(source.classes))]
    names = ", ".join(class_.name for class_ in source.classes[:8])
    more = f" and {len(source.classes) - 8} more" if len(source.classes) > 8 else ""
    order = sorted(range(len(pools)), key=lambda label: pools[label])[:SHORTEST]
    skipped = left_out(source)
    return (
        f"{counted(len(source.classes), 'class')}: {names}{more}",
        *((skipped,) if skipped else ()),
        "images: " + ", ".join(f"{len(parts[part]):,} {part}" for part in PARTS),
        f"training images: {min(pools)} to {max(pools)} per class; fewest in "
        + ", ".join(f"{source.classes[label].name} {pools[label]}" for label in order),
    )


@dataclass(frozen=True)
class Made:
    """A set that was kept."""

    told: str
    command: str
    warning: str


def make(home: Home, wish: Wish) -> Made:
    """Decode every image, then draw and keep the set. Raises UserError, and then nothing was written."""
    from datadream.home.sets import make_set, told_of

    made = make_set(
        home, wish.source, wish.shots, wish.seed, split_seed=wish.split_seed, name=wish.name or None, check="all"
    )
    return Made(f"few-shot set {made.name} made", command(wish), "; ".join(told_of(home, [made])))
