"""Tables a reviewer can trust: nothing cut, nothing mixed, every format reads back."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from datadream.report.rows import rows, unequal_passes
from datadream.report.tables import STABLE, notes, render, rich_table
from tests.comparing import Made, compared, make_run

# Sums over three seeds on a hundred classes: as long as the numbers of the paper's experiments get.
LONG: dict[str, Any] = {
    "shots": 16,
    "images": 50_000,
    "stage_seconds": {"adapt": 5400.0, "generate": 45000.0, "classify": 9000.0},
}


def long_runs() -> list[Made]:
    return [
        make_run(method, "real+synth", correct="1" * 9 + "0", **LONG) for method in ("datadream-dset", "datadream-cls")
    ]


def shown(runs: list[Made], width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rich_table(compared(runs)))
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
    found = compared(
        [run for source, n in (("birds", 4), ("cars", 8)) for run in (
            make_run(source=source, correct="1" * n, run_id=source),
            make_run("zero-shot", "none", source=source, correct="0" * n, run_id=f"zero{source}"))]
    )  # fmt: skip
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
    text = render(compared([make_run(seed=1, correct="1100"), make_run(seed=5, correct="1111")]), "md")
    assert "| real-only | real | 4 | 75.0 ± 35.4 | 2 |" in text  # (0.5, 1.0): deviation 0.35355
    assert "± is the standard deviation over n seeds." in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_format_reads_back(count: int) -> None:
    found = compared([make_run(f"method-{i}", source='a,"b"') for i in range(count)])
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
    text = render(compared([make_run("50%_of_$x", source="a&b#{~^\\", settings="classify.rank=4")]), "latex")
    assert r"50\%\_of\_\$x (a) & real" in text
    assert r"a\&b\#\{\textasciitilde{}\textasciicircum{}\textbackslash{}, backbone" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", "(a) classify.rank=4."):
        assert rule in text


def test_markdown_keeps_its_columns() -> None:
    line = next(line for line in render(compared([make_run("a|b\nc")]), "md").splitlines() if "75.0" in line)
    assert line.replace(r"\|", "").count("|") == 8
    assert r"a\|b c" in line


def test_compute_is_compared_within_one_set_only() -> None:
    two = [
        make_run(),
        make_run("other"),
        make_run(source="birds", image_passes=9),
        make_run("o", source="birds", image_passes=9),
    ]
    assert unequal_passes(rows(two).rows) == []
    assert any("same number of image passes" in note for note in notes(compared(two)))


def test_unequal_compute_of_one_seed_shows() -> None:
    runs = [
        make_run(),
        make_run(seed=5),
        make_run("other"),
        make_run("other", seed=5, image_passes=1280),
        make_run("third"),
    ]
    (odd,) = unequal_passes(rows(runs).rows)
    assert (odd.method, odd.image_passes) == ("other", 960)


def test_of_two_runs_of_one_seed_the_later_counts_and_that_is_said() -> None:
    runs = [make_run(correct="1111", run_id="again", created="2"), make_run(correct="0000", created="1")]
    found = rows(runs)
    assert [(row.accuracy, row.run_ids, row.replaced) for row in found.rows] == [([1.0], ["again"], 1)]
    assert found.notes == ["1 result of repeated runs: the latest counts."]


def test_two_records_of_one_classifier_are_no_repetition() -> None:
    runs = [make_run(created="1"), make_run(created="2")]
    assert rows(runs).notes == []


def mixed(correct: str, seed: int = 1, **changes: Any) -> Made:
    return make_run("datadream-dset", "real+synth", seed, correct, **changes)


def test_a_comparison_says_what_was_compared_and_what_its_interval_is_about() -> None:
    (found,) = compared([make_run(correct="1100"), mixed("1100")]).judged.comparisons
    # n = 4: half = 1.96 sqrt(2 / 5 / 6) = 0.506
    assert found.text() == (
        "real+synth − real-only, datadream-dset, digits, 4 shots: 0.0 [−50.6, +50.6] points "
        "(95 % interval over 4 test images, for seed 1 and these shots only): one seed, nothing is tested"
    )
    seeds = [run for seed in (1, 5, 7) for run in (make_run(seed=seed, correct="10" * 50), mixed("10" * 50, seed))]
    (found,) = compared(seeds).judged.comparisons
    assert found.text().endswith(
        "(95 % interval over 100 test images and 3 seeds): the interval includes 0, not significantly different"
    )


@pytest.mark.parametrize(("ours", "theirs", "sign"), [("1", "0", "+"), ("0", "1", "−")])
def test_gain_and_loss_are_worded_alike(ours: str, theirs: str, sign: str) -> None:
    runs = [run for seed in (1, 5) for run in (make_run(seed=seed, correct=theirs * 20), mixed(ours * 20, seed))]
    (found,) = compared(runs).judged.comparisons
    assert f"{sign}100.0 [" in found.text()
    assert found.text().endswith("the interval excludes 0")


def test_only_common_seeds_and_images_are_compared() -> None:
    runs = [make_run(seed=1, correct="1100"), make_run(seed=5, correct="1100"), mixed("1110", 5), mixed("1111", 10)]
    (found,) = compared(runs).judged.comparisons
    assert (found.seeds, found.difference.mean) == ((5,), 0.25)
    assert compared([make_run(judged_on="others"), mixed("1111")]).judged.comparisons == ()
    assert compared([make_run(shots=1), mixed("1111")]).judged.comparisons == ()
    assert compared([make_run(draw="x"), mixed("1111", draw="y")]).judged.comparisons == ()


def test_one_variant_of_the_baseline_serves_all_seeds() -> None:
    # rank=4 only for seed 1, rank=8 for both: no baseline mixed of the two.
    runs = [
        *(make_run(seed=seed, correct="0000", settings="classify.rank=8") for seed in (1, 5)),
        make_run(seed=1, correct="1111", settings="classify.rank=4", run_id="four"),
        *(mixed("1111", seed, settings="classify.rank=8") for seed in (1, 5)),
    ]
    (found,) = compared(runs).judged.comparisons
    assert (found.baseline.settings, found.seeds, found.difference.mean) == ("classify.rank=8", (1, 5), 1.0)
    assert "real-only (classify.rank=8), datadream-dset (classify.rank=8)" in found.text()


def test_the_baseline_is_what_was_trained_alike_whatever_else_was_set() -> None:
    runs = [make_run(correct="1100"), mixed("1100", settings="generate.guidance_scale=3.0")]
    (found,) = compared([*runs, make_run(correct="0000", settings="classify.rank=4", run_id="four")]).judged.comparisons
    assert (found.baseline.settings, found.difference.mean) == ("", 0.0)


def test_no_more_images_are_right_than_there_are() -> None:
    run = make_run()
    with pytest.raises(ValueError, match="5 correct of 4"):
        dataclasses.replace(run, correct=5)
