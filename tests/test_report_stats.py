"""Intervals and paired tests at the sizes and edges real experiments reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.intervals import Case, simulate
from datadream.report.stats import mcnemar, paired_difference, student, wilson


def test_wilson_of_nothing_right_starts_at_zero() -> None:
    # p = 0: centre and half width are both z²/2n / (1 + z²/n), so the upper limit is z² / (n + z²) = 3.8415 / 13.8415
    interval = wilson(0, 10)
    assert interval.low == 0
    assert interval.high == pytest.approx(0.27753, abs=1e-5)


def test_wilson_narrows_with_more_images() -> None:
    widths = [interval.high - interval.low for interval in (wilson(n // 2, n) for n in (10, 100, 1000, 10_000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("correct", "n"), [(5, 4), (-1, 4), (0, 0), (math.nan, 4)])
def test_what_is_no_proportion_has_no_interval(correct: float, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(correct, n)


def test_mcnemar_counts_only_images_the_two_disagree_on() -> None:
    a, b = [True, True, True, False], [True, False, False, False]  # 2 against 0: 2 · C(2,0) / 4
    assert mcnemar(a, b) == 0.5
    assert mcnemar(a + [True] * 100, b + [True] * 100) == 0.5
    assert mcnemar(np.array(a), np.array(b)) == 0.5
    assert mcnemar([True], [True]) == 1


def test_mcnemar_is_exact_on_test_sets_of_any_size() -> None:
    # 1,100 against 1,000: the binomial's normal form with continuity correction, z = (100 - 1) / sqrt(2100)
    a, b = [True] * 1100 + [False] * 1000, [False] * 1100 + [True] * 1000
    assert mcnemar(a, b) == pytest.approx(math.erfc(99 / math.sqrt(2100) / math.sqrt(2)), rel=0.01)
    assert 0 <= mcnemar([True] * 5000, [False] * 5000) < 1e-300


def test_answers_of_different_images_are_never_paired() -> None:
    with pytest.raises(ValueError, match="can't be paired"):
        paired_difference([[True, False]] * 3, [[True, False]])
    with pytest.raises(ValueError, match="can't be paired"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_students_quantiles_are_those_of_the_tables() -> None:
    # t(0.975) of any table: 12.706 for 1, 4.303 for 2, 2.042 for 30, 1.984 for 100 degrees of freedom.
    assert [round(student(n), 3) for n in (1, 2, 30, 100)] == [12.706, 4.303, 2.042, 1.984]
    assert all(student(n) > student(n + 1) for n in range(1, 60))


def test_an_interval_over_seeds_and_images_is_worked_out_by_hand() -> None:
    # Seed 1 gains image 0, seed 2 gains image 1, of 4; with the two images added n = 6, and d is
    #   1 0 0 0 1 -1
    #   0 1 0 0 1 -1   mean 1/6, seeds alike: MS_seed = 0
    # images: S (1/4 + 1/4 + 1 + 1 - 6/36) = 14/3, MS_image = 14/15; all: 6 - 12/36 = 17/3, so MS_rest = 1/5.
    # The larger of z² (14/15 - 1/5) and z² 14/15, over S n = 12: half = 1.96 sqrt(14/180).
    found = paired_difference([[True, False, False, False], [False, True, False, False]], [[False] * 4] * 2)
    half = 1.959964 * math.sqrt(14 / 180)
    assert (found.mean, found.seeds, found.images) == (0.25, 2, 4)
    assert found.interval.low == pytest.approx(1 / 6 - half)
    assert found.interval.high == pytest.approx(1 / 6 + half)
    assert found.significant is False


def test_seeds_that_differ_widen_the_interval_by_students_quantile() -> None:
    # Gains of 10 and 30 % of 1,000 images: over seeds 20 % with a deviation of 14.14 points, t = 12.706, S = 2.
    a = [[True] * 100 + [False] * 900, [True] * 300 + [False] * 700]
    found = paired_difference(a, [[False] * 1000] * 2)
    assert found.interval.low == pytest.approx(-1, abs=0.001)  # 0.2 - 12.706 * 0.1414 / sqrt(2), cut at -1
    assert found.significant is False
    one = paired_difference(a[:1], [[False] * 1000])
    assert one.interval.low > 0 and one.significant is None


def test_swapping_the_methods_turns_the_interval_round() -> None:
    draw = np.random.default_rng(3)
    a, b = draw.random((3, 300)) < 0.9, draw.random((3, 300)) < 0.8
    there, back = paired_difference(list(a), list(b)), paired_difference(list(b), list(a))
    assert there.mean == -back.mean
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.interval.holds(there.mean)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda s: st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=s, max_size=s), min_size=1, max_size=40)
    )
)
def test_an_interval_holds_its_estimate(images: list[list[int]]) -> None:
    seeds = range(len(images[0]))
    a = [[d[s] > 0 for d in images] for s in seeds]
    b = [[d[s] < 0 for d in images] for s in seeds]
    found = paired_difference(a, b)
    assert -1 <= found.interval.low <= found.mean <= found.interval.high <= 1


CASES = [
    *(
        Case(seeds, images, scatter)
        for seeds in (1, 3, 5)
        for images in (36, 100, 2000)
        for scatter in (0, 0.005, 0.02)
    ),
    *(Case(seeds, images, 0.02, gap=0.05) for seeds in (1, 3, 5) for images in (36, 719)),
    *(Case(3, images, 0.02, accuracy=accuracy) for accuracy in (0.6, 0.98) for images in (36, 719)),
]


def name(case: Case) -> str:
    return f"{case.seeds}-{case.images}-{case.scatter}-{case.gap}-{case.accuracy}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_95_percent_intervals_hold_the_truth_that_often(case: Case) -> None:
    """With and without scatter between seeds; a difference that isn't there is called one in at most 7 % of tables."""
    assert simulate(case, 800).coverage >= 0.93


def test_taking_the_seeds_as_given_finds_differences_that_are_not_there() -> None:
    """What the interval over seeds is for: an interval over images alone is wrong in about half of these tables."""
    found = simulate(Case(3, 2000, 0.02), 800)
    assert found.as_given > 0.4
    assert 1 - found.coverage < 0.07
