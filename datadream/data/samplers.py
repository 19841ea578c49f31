"""Which training images become the shots. A sampler is a function; the table at the end names them.

Each gives the first `shots` of one fixed sequence per class, so the sets of one seed are nested.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from datadream.data.parts import FULL_SHOTS, Entry

Pools = Sequence[tuple[str, Sequence[Entry]]]  # class folder and its training images, in split order
Sampler = Callable[[Pools, int, int], list[Entry]]


def random16(pools: Pools, shots: int, seed: int) -> list[Entry]:
    """As DISEF draws: one generator for all classes, `sample` of 16 each, of which the first `shots` count.

    A class with fewer than 16 gives all it has. Beyond 16, a generator of (seed, class) shuffles what is left.
    """
    shared = random.Random(seed)
    chosen: list[Entry] = []
    for folder, pool in pools:
        drawn = shared.sample(pool, min(FULL_SHOTS, len(pool)))
        if shots > len(drawn):
            taken = set(drawn)
            rest = [entry for entry in pool if entry not in taken]
            drawn += random.Random(f"random16/{seed}/{folder}").sample(rest, len(rest))
        chosen += drawn[:shots]
    return chosen


def first(pools: Pools, shots: int, seed: int) -> list[Entry]:
    """The first `shots` of each class in split order, as the DataDream release takes them; heeds no seed."""
    return [entry for _, pool in pools for entry in pool[:shots]]


SAMPLERS: dict[str, Sampler] = {"random16": random16, "first": first}
