"""Intervals and paired comparisons of exact counts; `docs/statistics.md` says what they are about, and the checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z = 1.959964  # 97.5 % quantile of the normal distribution
# 97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom (importing SciPy takes longer than a whole table).
T = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
)

Answers = Sequence[bool] | npt.NDArray[np.bool_]  # whether each image was right


@dataclass(frozen=True)
class Interval:
    """low <= high, both 95 % limits."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is inside."""
        return self.low <= value <= self.high


def wilson(correct: float, n: int, z: float = Z) -> Interval:
    """Wilson's score interval (1927) of `correct` out of `n`; `correct` may be a mean over runs. In 0..1.

    It is about the images alone: what the same classifiers would score on other images of the same kind. It says
    nothing of other seeds or shots. Raises ValueError unless 0 <= correct <= n and n > 0.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"{correct} correct of {n} is not a proportion")
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
    """Accuracy of a minus that of b on the same images and seeds, with its 95 % interval (see `paired_difference`)."""

    mean: float
    interval: Interval
    seeds: int
    images: int

    @property
    def significant(self) -> bool | None:
        """Whether the interval excludes 0; None for one seed, which tests nothing about a method."""
        return None if self.seeds == 1 else not self.interval.holds(0)


def paired_difference(a: Sequence[Answers], b: Sequence[Answers]) -> Difference:
    """Of methods a and b, over several seeds: what other images *and* other seeds would give. Of one: other images.

    `a[s][i]`: whether method a was right on image i with seed s; shapes (S, n), equal. Raises ValueError when the
    shapes differ or there is nothing to compare.
    """
    right_a, right_b = np.asarray(a, dtype=np.int8), np.asarray(b, dtype=np.int8)
    if right_a.shape != right_b.shape or right_a.ndim != 2 or not right_a.size:
        raise ValueError(f"answers of shape {right_a.shape} and {right_b.shape} can't be paired")
    difference = right_a - right_b
    low, high = crossed_interval(difference)
    seeds, images = difference.shape
    return Difference(float(difference.mean()), Interval(float(low), float(high)), seeds, images)


def crossed_interval(difference: npt.NDArray[np.int8]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """95 % limits of the mean of `difference` (..., S seeds, n images; -1, 0 or 1) over seeds and images, each random.

    Two-way layout d_si = mu + seed_s + image_i + rest_si with mean squares MS_seed, MS_image, MS_rest, whose mean has
    the variance (MS_seed + MS_image - MS_rest) / (S n). MS_seed has S - 1 degrees of freedom only and gets Student's
    quantile, what images add to it the normal one (a modified large-sample interval, Graybill and Wang 1980):

        half^2 = max(t^2 MS_seed + z^2 max(MS_image - MS_rest, 0), z^2 MS_image) / (S n)

    Two images are added, one that only a got right and one that only b did (Bonett and Price 2012), so that few
    images, or none the two disagree on, don't pass for certainty. With one seed the middle term is left out.
    """
    d = difference
    seeds, images = d.shape[-2:]
    n = images + 2
    by_seed = d.sum(axis=-1, dtype=np.int64) / n
    mean = by_seed.mean(axis=-1)
    by_image = d.sum(axis=-2, dtype=np.int64) / seeds
    of_images = seeds * ((by_image**2).sum(axis=-1) + 2 - n * mean**2)
    ms_image = of_images / (n - 1)
    square = Z**2 * ms_image
    if seeds > 1:
        of_seeds = n * ((by_seed - mean[..., None]) ** 2).sum(axis=-1)
        total = np.count_nonzero(d, axis=(-2, -1)) + 2 * seeds - seeds * n * mean**2
        ms_rest = np.maximum(total - of_images - of_seeds, 0) / ((seeds - 1) * (n - 1))
        over_seeds = student(seeds - 1) ** 2 * of_seeds / (seeds - 1)
        square = np.maximum(over_seeds + Z**2 * np.maximum(ms_image - ms_rest, 0), square)
    half = np.sqrt(square / (seeds * n))
    return np.maximum(mean - half, -1), np.minimum(mean + half, 1)


def student(freedom: int) -> float:
    """97.5 % quantile of Student's t with `freedom` >= 1 degrees of freedom, beyond the table by Cornish and Fisher."""
    if freedom <= len(T):
        return T[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def mcnemar(a: Answers, b: Answers) -> float:
    """Exact two-sided McNemar test (1947): chance of so uneven a split of the images only one of the two got right.

    It is about these two classifiers, not about their methods. `a[i]` and `b[i]` are of the same image. Raises
    ValueError when the lengths differ.
    """
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    n = only_a + only_b
    tail = term = 1  # sum of C(n, k), each from the one before: exact for any n
    for k in range(1, min(only_a, only_b) + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << n))  # integers: a float 2**n overflows from 1,024 images
