"""Intervals and paired tests at the sizes and edges real experiments reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadream.report.stats import mcnemar, paired_difference, wilson

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=30, max_size=200)


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
    with pytest.raises(ValueError, match="no proportion"):
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


def test_the_same_question_has_the_same_answer() -> None:
    draw = np.random.default_rng(3)
    a, b = draw.random((3, 300)) < 0.9, draw.random((3, 300)) < 0.8
    assert paired_difference(list(a), list(b)) == paired_difference(list(a), list(b))
    assert paired_difference(list(a), list(b), seed=1) != paired_difference(list(a), list(b))


def test_seeds_are_averaged_and_images_resampled_together() -> None:
    # Seed 1 gains image 0, seed 2 gains image 1, of 4: differences 1/2, 1/2, 0, 0, mean 1/4.
    a = [[True, False, False, False], [False, True, False, False]]
    found = paired_difference(a, [[False] * 4] * 2)
    assert found.mean == 0.25
    assert (found.interval.low, found.interval.high) == (0, 0.5)  # a resample holds 0 to 4 of them; 1/16 each end


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_swapping_the_methods_turns_the_interval_round(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [[x for x, _ in pairs]], [[y for _, y in pairs]]
    there, back = paired_difference(a, b, samples=4000), paired_difference(b, a, samples=4000)
    slack = 4 / len(pairs)  # a resampled mean moves in steps of 1/n
    assert there.mean == -back.mean
    assert there.interval.low == pytest.approx(-back.interval.high, abs=slack)
    assert there.interval.high == pytest.approx(-back.interval.low, abs=slack)
    assert there.interval.holds(there.mean)
