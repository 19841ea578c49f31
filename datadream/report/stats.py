"""Intervals and paired comparisons of exact counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLES = 10_000
CHUNK = 500  # bootstrap samples held at a time: bounds memory


@dataclass(frozen=True)
class Interval:
    """low <= high, both 95 % limits."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is inside."""
        return self.low <= value <= self.high


def wilson(correct: float, n: int, z: float = 1.959964) -> Interval:
    """Wilson's score interval (1927) of `correct` out of `n`; `correct` may be a mean over runs. In 0..1."""
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); 0 for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Difference:
    """Accuracy of a minus that of b on the same images, with its 95 % paired bootstrap interval."""

    mean: float
    interval: Interval


def paired_difference(
    a: Sequence[Sequence[bool]], b: Sequence[Sequence[bool]], *, seed: int = 0, samples: int = SAMPLES
) -> Difference:
    """Paired percentile bootstrap (Efron and Tibshirani 1993) over test images.

    `a[s][i]`: whether method a was right on image i with seed s; shapes (S, n), equal. Images are drawn with
    replacement, the same for all seeds, so what the interval shows is the uncertainty from the test images.
    """
    per_image = (np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean(axis=0)
    n = len(per_image)
    draw = np.random.default_rng(seed)
    values, counts = np.unique(per_image, return_counts=True)
    means = [
        draw.multinomial(n, counts / n, size=min(CHUNK, samples - start)) @ values / n
        for start in range(0, samples, CHUNK)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(per_image.mean()), Interval(float(low), float(high)))


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Exact two-sided McNemar test (1947): chance of so uneven a split of the images only one of the two got right."""
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / float(2**n))
