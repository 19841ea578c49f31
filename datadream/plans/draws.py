"""The few-shot sets of a request: found by name, drawn from a source and kept, or as they would be drawn."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from datadream.data.shots import ShotSet, draw_shot_set, make_shot_set
from datadream.data.source import Listed, open_source
from datadream.data.twins import Fingerprint
from datadream.errors import UserError
from datadream.home.artifacts import read_manifest
from datadream.home.layout import Home
from datadream.home.sets import NamedSet, default_name, find_set, free_name, keep, load_set
from datadream.home.state import is_id

LISTED_SECONDS = 20  # a preview lists a folder anew after this


def make_sets(home: Home, source: str, asked: Sequence[tuple[int, int]]) -> list[NamedSet]:
    """The sets for every (shots, seed), kept; reads and checks the source once."""
    opened = open_source(source)
    known: dict[str, Fingerprint] = {}
    drawn = [draw_shot_set(opened, shots, seed, known=known) for shots, seed in asked]
    return [keep(home, opened, entry, free=True) for entry in drawn]


def preview_sets(home: Home, source: str, asked: Sequence[tuple[int, int]]) -> list[NamedSet]:
    """The same without reading an image or writing: the kept set of the very same images, else one of no real id."""
    found = []
    for shots, seed in asked:
        drawn = _drawn(source, shots, seed, int(time.monotonic() / LISTED_SECONDS))
        kept = next((entry for entry in _kept(home, drawn) if _outline(entry) == _outline(drawn)), None) or drawn
        found.append(NamedSet(free_name(home, default_name(kept), kept.id), kept.id, kept))
    return found


def named_sets(home: Home, names: Sequence[str], seeds: Sequence[int]) -> list[NamedSet]:
    """The sets with these names or ids; with `seeds`, exactly those must be theirs. Raises UserError else."""
    found = [find_set(home, name) for name in dict.fromkeys(names)]
    for entry in found:
        if seeds and entry.shots.seed not in seeds:
            raise UserError(
                f"the set {entry.name!r} was drawn with seed {entry.shots.seed} and serves only that seed",
                hint="omit --seeds, or use --source and --shots to draw a set for each seed",
            )
    missing = sorted(set(seeds) - {entry.shots.seed for entry in found})
    if missing:
        raise UserError(
            f"no given set has seed {missing[0]}",
            hint="add --set for it, or use --source and --shots to draw a set for each seed",
        )
    return found


@functools.lru_cache(maxsize=64)
def _drawn(source: str, shots: int, seed: int, moment: int) -> ShotSet:
    """The set as it would be drawn, its images not read. `moment` lets a folder that changed be listed again."""
    return make_shot_set(Listed(open_source(source)), shots, seed, check="used")


def _kept(home: Home, drawn: ShotSet) -> Iterator[ShotSet]:
    """The kept sets of the same source, shots and seed. One that can't be read is none."""
    folder = home.path / "artifacts" / "set"
    for set_id in sorted(path.name for path in folder.glob("*") if is_id(path.name)):
        with suppress(UserError):
            spec = read_manifest(home, "set", set_id)["spec"]
            if (spec.get("shots"), spec.get("seed")) == (drawn.shots, drawn.seed):
                kept = load_set(home, set_id)
                if kept.source == drawn.source:
                    yield kept


def _outline(shots: ShotSet) -> object:
    """A set but for the bytes of its images."""
    refs = [[(ref.key, ref.label) for ref in part] for part in (shots.train, shots.val, shots.test)]
    return shots.split_seed, shots.sampler, shots.classes, shots.prompts, refs
