"""How often the paired interval holds the true difference: `python -m benchmarks.intervals [TABLES]`.

Tables of answers are drawn from a model with everything real ones have: images that are hard for both methods, images
that suit one of them, luck, and seeds (shots and training) that move each method as a whole. In that model the true
difference is known. Printed as the table of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from datadream.report.stats import Z, crossed_interval

SEEDS, IMAGES, SCATTERS = (1, 3, 5), (36, 100, 719, 2000), (0.0, 0.005, 0.02)
HARD, SUITS, OF_SEED, LUCK = 1.6, 0.35, 0.35, 0.5  # deviations on the latent scale, see `draw`
CHUNK = 2_000_000  # answers drawn at a time
NORMAL = NormalDist()


@dataclass(frozen=True)
class Case:
    """Two methods, `gap` apart, of which the better is right on `accuracy` of all images.

    `scatter` is the deviation over seeds of the true difference of their accuracies.
    """

    seeds: int
    images: int
    scatter: float
    gap: float = 0.0
    accuracy: float = 0.89


@dataclass(frozen=True)
class Found:
    """Shares of tables: whose interval holds the truth; that would exclude 0 with the seeds taken as given."""

    coverage: float
    as_given: float
    width: float


def draw(case: Case, tables: int, dice: np.random.Generator) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Differences of answers (tables, S, n), and the true difference of each table.

    Method m with seed s is right on image i where level_m + hard_i + suits_mi + seed_ms + of_seed_si + luck_msi > 0,
    each normal. Of several seeds the truth is over all images and seeds; of one it is over all images, for that seed.
    """
    within = math.sqrt(HARD**2 + SUITS**2 + OF_SEED**2 + LUCK**2)
    slope = NORMAL.pdf(NORMAL.inv_cdf(case.accuracy)) / within
    scatter = case.scatter / math.sqrt(2) / slope
    whole = math.hypot(within, scatter)
    levels = [NORMAL.inv_cdf(share) * whole for share in (case.accuracy, case.accuracy - case.gap)]

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return dice.standard_normal((tables, *shape), dtype=np.float32)

    shared = HARD * normal(1, case.images) + OF_SEED * normal(case.seeds, case.images)
    moved = [scatter * normal(case.seeds, 1) for _ in levels]
    right = [
        level + shared + move + SUITS * normal(1, case.images) + LUCK * normal(case.seeds, case.images) > 0
        for level, move in zip(levels, moved, strict=True)
    ]
    if case.seeds == 1:
        shares = [
            np.array([NORMAL.cdf(x / within) for x in (level + move[:, 0, 0].astype(float))])
            for level, move in zip(levels, moved, strict=True)
        ]
        truth = shares[0] - shares[1]
    else:
        truth = np.full(tables, case.gap)
    return right[0].astype(np.int8) - right[1].astype(np.int8), truth


def simulate(case: Case, tables: int, seed: int = 0) -> Found:
    """`tables` tables of `case`."""
    dice = np.random.default_rng(seed)
    held = given = 0
    width = 0.0
    done = 0
    while done < tables:
        size = min(tables - done, max(1, CHUNK // (case.seeds * case.images)))
        difference, truth = draw(case, size, dice)
        low, high = crossed_interval(difference)
        held += int(((low <= truth) & (truth <= high)).sum())
        width += float((high - low).sum())
        by_image = difference.mean(axis=1)
        half = Z * by_image.std(axis=1) / math.sqrt(case.images)
        given += int((np.abs(by_image.mean(axis=1) - case.gap) > half).sum())
        done += size
    return Found(held / tables, given / tables, width / tables)


def main(tables: int) -> None:
    """Print the table."""
    print(
        "| seeds | images | scatter of seeds | covers the truth | false alarms | width | false alarms, seeds as given |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for seeds in SEEDS:
        for images in IMAGES:
            for scatter in SCATTERS:
                found = simulate(Case(seeds, images, scatter), tables)
                alarms = "(no verdict)" if seeds == 1 else f"{100 * (1 - found.coverage):.1f} %"
                given = "" if seeds == 1 else f"{100 * found.as_given:.1f} %"
                print(
                    f"| {seeds} | {images:,} | {100 * scatter:g} | {100 * found.coverage:.1f} % | {alarms} "
                    f"| {100 * found.width:.1f} | {given} |"
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
