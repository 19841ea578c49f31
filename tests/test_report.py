"""Rows, intervals, tables and pictures against numbers worked out by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from datadream.report.figures import sample_grid
from datadream.report.rows import rows, unequal_passes
from datadream.report.stats import mcnemar, mean_std, paired_difference, wilson
from datadream.report.tables import notes, render, rich_table
from tests.comparing import Made, compared, make_run

KEYS = ["method", "data", "shots", "seeds", "accuracy", "mean", "std", "n_test", "seconds"]


def test_wilson_is_the_interval_of_the_textbook() -> None:
    interval = wilson(90, 100)  # Wilson 1927: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    assert interval.low == pytest.approx(0.8256, abs=1e-4)
    assert interval.high == pytest.approx(0.9448, abs=1e-4)
    assert wilson(100, 100).high == 1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_estimate_and_stays_a_probability(counts: tuple[int, int]) -> None:
    correct, n = counts
    interval = wilson(correct, n)
    assert 0 <= interval.low <= correct / n <= interval.high <= 1


def test_deviation_is_over_n_minus_one() -> None:
    assert mean_std([0.1, 0.2, 0.3]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert mean_std([0.4]) == (0.4, 0.0)


def test_mcnemar_is_the_exact_binomial() -> None:
    a, b = [True] * 5 + [False], [False] * 5 + [True]  # 5 against 1: 2 (C(6,0) + C(6,1)) / 64
    assert mcnemar(a, b) == pytest.approx(14 / 64)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_difference_holds_its_estimate_and_turns_its_sign(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [[x for x, _ in pairs]], [[y for _, y in pairs]]
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.mean == pytest.approx(-back.mean)
    assert there.mean == pytest.approx(sum(x - y for x, y in pairs) / len(pairs))
    assert -1 <= there.interval.low <= there.mean <= there.interval.high <= 1
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.significant is None  # one seed


def test_equal_answers_on_few_images_leave_room_for_a_difference() -> None:
    # Two images more, one each way: ±1.96 sqrt(2 / (n + 1) / (n + 2)) of n + 2 images.
    found = paired_difference([[True, False, True]], [[True, False, True]])
    assert found.mean == 0
    assert found.interval.high == pytest.approx(1.959964 * (2 / 4 / 5) ** 0.5)
    assert found.interval.low == -found.interval.high


def test_the_paired_interval_is_as_wide_as_theory_says() -> None:
    n = 1000  # 60 images gained, 20 lost: variance of the mean (0.08 - 0.04²) / n
    a, b = [[True] * 60 + [False] * 20 + [True] * 920], [[False] * 60 + [True] * 20 + [True] * 920]
    found = paired_difference(a, b)
    half = 1.96 * ((0.08 - 0.04**2) / n) ** 0.5
    assert found.interval.low == pytest.approx(0.04 - half, abs=0.0005)
    assert found.interval.high == pytest.approx(0.04 + half, abs=0.0005)


def test_a_row_is_a_method_over_its_seeds() -> None:
    (row,) = rows([make_run(seed=5, correct="1111"), make_run(seed=1, correct="1100")]).rows
    assert row.seeds == [1, 5]
    assert row.accuracy == [0.5, 1.0]
    assert (row.mean, row.n_test, row.seconds) == (0.75, 4, 6.0)
    assert row.std == pytest.approx(0.35355, abs=1e-5)


def test_other_settings_never_share_a_row() -> None:
    assert len(rows([make_run(), make_run(settings="classify.rank=4", seed=5)]).rows) == 2


def test_a_run_on_part_of_the_images_is_left_out_and_named() -> None:
    found = rows([make_run(), make_run(seed=5), make_run(seed=7, correct="11", run_id="cut")])
    assert found.rows[0].seeds == [1, 5]
    assert found.notes == ["Excluded, not evaluated on all images: cut (2 of 4)."]


def table() -> list[Made]:
    synth = {"images": 500, "stage_seconds": {"adapt": 30.0, "generate": 31.0, "classify": 12.0}}
    return [
        make_run("datadream-dset", "real+synth", correct="1111", **synth),
        make_run("zero-shot", "none", correct="1000", image_passes=0),
        make_run(),
        make_run("datadream-dset", "synth", correct="1100", **synth),
    ]


def test_rows_stand_in_the_order_of_the_story_and_json_keeps_its_keys() -> None:
    parsed = json.loads(render(compared(table()), "json"))
    assert [(row["method"], row["data"]) for row in parsed] == [
        ("zero-shot", "none"),
        ("real-only", "real"),
        ("datadream-dset", "synth"),
        ("datadream-dset", "real+synth"),
    ]
    assert all(list(row)[:9] == KEYS for row in parsed)


def test_csv_markdown_and_latex_hold_every_row() -> None:
    found = compared(table())
    assert len(list(csv.reader(io.StringIO(render(found, "csv"))))) == 5
    assert render(found, "md").count("| datadream-dset |") == 2
    latex = render(compared([make_run(settings="a_b=50%"), make_run("zero-shot", "none", correct="0000")]), "latex")
    assert r"top-1 \%" in latex
    assert r"\textbf{75.0 [30.1, 95.4] *}" in latex


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal_table_keeps_every_number(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rich_table(compared(table())))
    text = console.export_text()
    for number in ("25.0 [4.6, 69.9]", "75.0 [30.1, 95.4]", "30+31+12", "500"):
        assert number in text
    assert "…" not in text


def test_unequal_compute_is_said() -> None:
    found = compared([*table(), make_run("other", image_passes=1280)])
    assert [row.method for row in unequal_passes(found.rows)] == ["other"]
    assert any("Unequal compute" in note and "other" in note for note in notes(found))


def test_real_and_synthetic_are_paired_with_real_only() -> None:
    (found,) = compared(table()).judged.comparisons
    assert found.row.method == "datadream-dset"
    assert found.difference.mean == 0.25
    assert "+25.0 [" in found.text()
    assert found.text().endswith("for seed 1 and these shots only): one seed, nothing is tested")


def test_the_picture_has_a_band_a_section_and_a_column_a_class() -> None:
    colours = [[Image.new("RGB", (8, 8), (200, 30 * i, 0))] for i in range(3)]
    sheet = sample_grid(["a", "b", "c"], [("real", colours), ("drawn", colours)], cell=40, per_class=1)
    found = {sheet.getpixel((x, y)) for x in range(sheet.width) for y in range(sheet.height)}
    assert {(200, 0, 0), (200, 30, 0), (200, 60, 0)} <= found
    many = sample_grid([str(i) for i in range(30)], [("real", colours * 10)], cell=20, per_class=1)
    assert many.width < 30 * 26
