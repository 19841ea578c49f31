"""Tables a reviewer can trust: nothing cut, nothing mixed, every format reads back."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from rich.console import Console

from datadream.report.rows import Run, rows, unequal_passes
from datadream.report.tables import STABLE, comparisons, notes, render, rich_table
from tests.test_report import make_run

# Sums over three seeds on a hundred classes: as long as the numbers of the paper's experiments get.
LONG: dict[str, Any] = {
    "shots": 16,
    "images": 50_000,
    "stage_seconds": {"adapt": 5400.0, "generate": 45000.0, "classify": 9000.0},
}


def long_runs() -> list[Run]:
    return [
        make_run(method, "real+synth", correct="1" * 9 + "0", **LONG) for method in ("datadream-dset", "datadream-cls")
    ]


def shown(runs: list[Run], width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rich_table(rows(runs)))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 160])
def test_long_numbers_and_names_are_whole(width: int) -> None:
    text = shown(long_runs(), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for entry in ("90.0 [59.6, 98.2]", "50,000", "5400+45000+9000", "datadream-dset", "datadream-cls", "real+synth"):
        assert entry in text


def test_a_name_too_long_for_the_terminal_is_folded_not_cut() -> None:
    name = "a-method-of-mine-with-a-name-beyond-all-measure"
    header, *lines = shown([make_run(name, **LONG)], 80).strip("\n").splitlines()[1:]
    column = header.index("data")
    assert "".join(line[:column].strip(" ─") for line in lines).startswith(name)


def test_brackets_in_labels_are_text_not_markup() -> None:
    assert "birds[red]" in shown([make_run(source="birds[red]")], 80)


def test_rows_of_two_sets_can_be_told_apart() -> None:
    found = rows([make_run(source="birds"), make_run(source="cars", correct="11111111")])
    for format_ in ("md", "latex"):
        text = render(found, format_)
        assert "cars, backbone mini: top-1 over all 8 test images." in text
    text = render(found, "md")
    assert "| real-only ¹ |" in text
    assert "| real-only ² |" in text
    assert "² cars" in text
    assert text.count("**") == 4  # the best of each set, not of both
    assert "$^2$ cars" in render(found, "latex")


def test_several_seeds_show_their_deviation() -> None:
    text = render(rows([make_run(seed=1, correct="1100"), make_run(seed=5, correct="1111")]), "md")
    assert "| real-only | real | 4 | **75.0 ± 35.4** | 2 |" in text  # (0.5, 1.0): deviation 0.35355
    assert "± is the standard deviation over seeds." in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_format_reads_back(count: int) -> None:
    found = rows([make_run(f"method-{i}", source='a,"b"') for i in range(count)])
    parsed = json.loads(render(found, "json"), parse_constant=pytest.fail)
    assert [row["method"] for row in parsed] == [f"method-{i}" for i in range(count)]
    assert all(tuple(row)[:9] == STABLE for row in parsed)
    header, *lines = csv.reader(io.StringIO(render(found, "csv")))
    assert tuple(header[:9]) == STABLE
    table = [dict(zip(header, line, strict=True)) for line in lines]
    assert [(row["source"], float(row["mean"]), row["classify_seconds"], row["adapt_seconds"]) for row in table] == [
        ('a,"b"', 0.75, "3.0", "")
    ] * count


def test_latex_has_no_bare_special_character() -> None:
    text = render(rows([make_run("50%_of_$x", source="a&b#{~^\\", settings_id="classify.rank=4")]), "latex")
    assert r"50\%\_of\_\$x (a) & real" in text
    assert r"a\&b\#\{\textasciitilde{}\textasciicircum{}\textbackslash{}, backbone" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", "(a) classify.rank=4."):
        assert rule in text


def test_markdown_keeps_its_columns() -> None:
    line = next(line for line in render(rows([make_run("a|b\nc")]), "md").splitlines() if "75.0" in line)
    assert line.replace(r"\|", "").count("|") == 8
    assert r"a\|b c" in line


def test_compute_is_compared_within_one_set_only() -> None:
    two = [
        make_run(),
        make_run("other"),
        make_run(source="birds", image_passes=9),
        make_run("o", source="birds", image_passes=9),
    ]
    assert unequal_passes(rows(two)) == []
    assert any("same number of image passes" in note for note in notes(rows(two)))


def test_unequal_compute_of_one_seed_shows() -> None:
    runs = [
        make_run(),
        make_run(seed=5),
        make_run("other"),
        make_run("other", seed=5, image_passes=1280),
        make_run("third"),
    ]
    (odd,) = unequal_passes(rows(runs))
    assert (odd.method, odd.image_passes) == ("other", 960)


def test_of_two_runs_of_one_seed_the_later_counts() -> None:
    (row,) = rows([make_run(correct="0000"), make_run(correct="1111", run_id="again")])
    assert (row.accuracy, row.run_ids) == ([1.0], ["again"])


def mixed(correct: str, seed: int = 1, **changes: object) -> Run:
    return make_run("datadream-dset", "real+synth", seed, correct, **changes)


def test_a_comparison_says_what_was_compared() -> None:
    (found,) = comparisons([make_run(correct="1100"), mixed("1100")])
    assert str(found) == (
        "real+synth − real-only, datadream-dset, digits, 4 shots: 0.0 points [0.0, 0.0] "
        "(95 % paired bootstrap over 4 test images, 1 seed); the interval holds 0: no difference shown"
    )


@pytest.mark.parametrize(("ours", "theirs", "sign"), [("1", "0", "+"), ("0", "1", "−")])
def test_gain_and_loss_are_worded_alike(ours: str, theirs: str, sign: str) -> None:
    (found,) = comparisons([make_run(correct=theirs * 20), mixed(ours * 20)])
    assert f"{sign}100.0 points [{sign}100.0, {sign}100.0]" in str(found)
    assert str(found).endswith("the interval leaves out 0")


def test_only_common_seeds_and_images_are_compared() -> None:
    runs = [make_run(seed=1, correct="1100"), make_run(seed=5, correct="1100"), mixed("1110", 5), mixed("1111", 10)]
    (found,) = comparisons(runs)
    assert (found.seeds, found.difference.mean) == (1, 0.25)
    assert comparisons([make_run(correct="11"), mixed("1111")]) == []
    assert comparisons([make_run(shots=1), mixed("1111")]) == []


def test_one_variant_of_the_baseline_serves_all_seeds() -> None:
    # rank=4 only for seed 1, rank=8 for both: no baseline mixed of the two.
    runs = [
        *(make_run(seed=seed, correct="0000", settings_id="classify.rank=8") for seed in (1, 5)),
        make_run(seed=1, correct="1111", settings_id="classify.rank=4"),
        *(mixed("1111", seed, settings_id="classify.rank=8") for seed in (1, 5)),
    ]
    (found,) = comparisons(runs)
    assert (found.baseline, found.seeds, found.difference.mean) == ("classify.rank=8", 2, 1.0)
    assert "real-only (classify.rank=8), datadream-dset (classify.rank=8)" in str(found)


def test_the_shipped_baseline_stands_in_for_settings_it_does_not_have() -> None:
    runs = [make_run(correct="1100"), mixed("1100", settings_id="generate.guidance_scale=3")]
    (found,) = comparisons([*runs, make_run(correct="0000", settings_id="classify.rank=4")])
    assert (found.baseline, found.difference.mean) == ("", 0.0)


def test_a_run_has_an_answer_for_every_image() -> None:
    with pytest.raises(ValueError, match="4 answers on 2 images"):
        make_run(keys=("a", "b"))
