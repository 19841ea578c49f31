"""Intervals and paired comparisons of exact counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLES = 10_000
CHUNK = 500  # bootstrap samples held at a time: bounds memory

Answers = Sequence[bool] | npt.NDArray[np.bool_]  # whether each image was right


@dataclass(frozen=True)
class Interval:
    """low <= high, both 95 % limits."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is inside."""
        return self.low <= value <= self.high


def wilson(correct: float, n: int, z: float = 1.959964) -> Interval:
    """Wilson's score interval (1927) of `correct` out of `n`; `correct` may be a mean over runs. In 0..1.

    Raises ValueError unless 0 <= correct <= n and n > 0.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"{correct} correct of {n} is no proportion")
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
    a: Sequence[Answers], b: Sequence[Answers], *, seed: int = 0, samples: int = SAMPLES
) -> Difference:
    """Paired percentile bootstrap (Efron and Tibshirani 1993) over test images.

    `a[s][i]`: whether method a was right on image i with seed s; shapes (S, n), equal. Images are drawn with
    replacement, the same for all seeds, so what the interval shows is the uncertainty from the test images.
    Raises ValueError when the shapes differ or there is nothing to compare.
    """
    right_a, right_b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if right_a.shape != right_b.shape or right_a.ndim != 2 or not right_a.size:
        raise ValueError(f"answers of shape {right_a.shape} and {right_b.shape} can't be paired")
    per_image = (right_a - right_b).mean(axis=0)
    n = len(per_image)
    # Images with the same difference are alike: drawing how many of each value is drawing images, in less memory.
    draw = np.random.default_rng(seed)
    values, counts = np.unique(per_image, return_counts=True)
    means = [
        draw.multinomial(n, counts / n, size=min(CHUNK, samples - start)) @ values / n
        for start in range(0, samples, CHUNK)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(per_image.mean()), Interval(float(low), float(high)))


def mcnemar(a: Answers, b: Answers) -> float:
    """Exact two-sided McNemar test (1947): chance of so uneven a split of the images only one of the two got right.

    For one seed; `a[i]` and `b[i]` are of the same image. Raises ValueError when the lengths differ.
    """
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    n = only_a + only_b
    tail = term = 1  # sum of C(n, k), each from the one before: exact for any n
    for k in range(1, min(only_a, only_b) + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << n))  # integers: a float 2**n overflows from 1,024 images
