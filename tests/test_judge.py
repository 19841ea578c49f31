"""Marks rest on common seeds, shots and images; without common ground there is none, and it is said what is missing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadream.home.layout import Home
from datadream.plans import request as requests
from datadream.report import exports
from datadream.report.assemble import compare_home
from datadream.report.judge import ALIKE, BEST, common_seeds
from datadream.report.pivot import pivot
from datadream.report.rows import rows
from datadream.report.tables import notes, render
from tests.comparing import compared, finish, make_run, pictures, planned
from tests.conftest import run_cli


def marks(runs: list) -> dict[str, str]:  # type: ignore[type-arg]
    table = compared(runs)
    return {f"{row.method}": table.judged.marks.get(row.id, "") for row in table.rows}


def bits(right: int, n: int = 100) -> str:
    return "1" * right + "0" * (n - right)


def test_more_seeds_for_one_row_never_move_the_crown() -> None:
    """a is above b on the seed both have; b's further seeds are far higher, or lower, and change nothing."""
    both = [make_run("a", correct=bits(80)), make_run("b", correct=bits(70))]
    assert marks(both) == {"a": BEST, "b": ""}
    for extra in (5, 95):
        more = [make_run("b", seed=seed, correct=bits(extra)) for seed in (5, 10)]
        assert marks([*both, *more]) == {"a": BEST, "b": ""}
        more = [make_run("a", seed=seed, correct=bits(extra)) for seed in (5, 10)]
        assert marks([*both, *more]) == {"a": BEST, "b": ""}


@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=4),
    st.integers(0, 3),
    st.lists(st.integers(0, 20), min_size=1, max_size=3),
)
def test_the_crown_is_that_of_the_common_seeds_alone(common: list[int], lucky: int, more: list[int]) -> None:
    names = [f"m{i}" for i in range(len(common))]
    runs = [make_run(name, correct=bits(right, 20)) for name, right in zip(names, common, strict=True)]
    before = marks(runs)
    assert {name for name, mark in before.items() if mark == BEST} == {
        name for name, right in zip(names, common, strict=True) if right == max(common)
    }
    name = names[lucky % len(names)]
    further = [make_run(name, seed=seed, correct=bits(right, 20)) for seed, right in enumerate(more, 2)]
    assert marks([*runs, *further]) == before


def test_one_common_seed_tests_nothing() -> None:
    table = compared([make_run("a", correct=bits(80)), make_run("b", correct=bits(79)), make_run("c", correct=bits(5))])
    assert sorted(table.judged.marks.values()) == [BEST]
    said = "\n".join(notes(table))
    assert "for this seed and these shots only; nothing is tested" in said
    for word in ("better", "significant", "no difference", ALIKE):
        assert word not in said


def test_rows_not_significantly_different_from_the_best_are_marked_over_images_and_seeds() -> None:
    seeds = (1, 5, 10)
    runs = [make_run("a", seed=seed, correct=bits(900, 1000)) for seed in seeds]
    runs += [make_run("b", seed=seed, correct=bits(898, 1000)) for seed in seeds]
    runs += [make_run("c", seed=seed, correct=bits(500, 1000)) for seed in seeds]
    # On every seed the same 40 images of 1,000 worse: beyond images, and seeds agree.
    runs += [make_run("d", seed=seed, correct=bits(860, 1000)) for seed in seeds]
    # As far below on average, but by 0, 0 and 120 images: three seeds can't tell that from nothing.
    runs += [
        make_run("e", seed=seed, correct=bits(right, 1000)) for seed, right in zip(seeds, (900, 900, 780), strict=True)
    ]
    assert marks(runs) == {"a": BEST, "b": ALIKE, "c": "", "d": "", "e": ALIKE}
    assert any("over images and seeds, includes 0" in note for note in notes(compared(runs)))


def test_no_common_seed_no_crown() -> None:
    table = compared([make_run("a", seed=1, correct=bits(80)), make_run("b", seed=5, correct=bits(70))])
    assert not table.judged.marks
    assert "digits, 4 shots: no best is marked, its 2 rows have no seed in common." in notes(table)
    assert BEST not in "".join(line for line in render(table, "md").splitlines() if line.startswith("| "))


def test_the_same_seed_with_other_shots_is_no_common_ground() -> None:
    table = compared([make_run("a", draw="x", created="1"), make_run("b", draw="y", created="1")])
    assert not table.judged.marks
    same = compared([make_run("a", draw="x"), make_run("b", draw="x"), make_run("zero-shot", "none", draw="")])
    assert [ground.seeds for ground in same.judged.grounds] == [(1,)]


def test_other_images_classes_clips_and_splits_are_no_rivals() -> None:
    runs = [
        make_run("a"),
        make_run("b", source="birds"),
        make_run("c", models={"clip": "0 other"}),
        make_run("d", split="val"),
        make_run("e", shots=8),
    ]
    assert not compared(runs).judged.marks
    assert marks([make_run("a"), make_run("b", source="pets", set_={"frame": "digits"}, correct="1111")])["b"] == BEST


def test_a_row_whose_predictions_are_gone_is_not_tested_and_that_is_said() -> None:
    runs = [make_run(name, seed=seed, correct=bits(80)) for name in ("a", "b") for seed in (1, 5)]
    runs += [make_run("c", seed=seed, correct=bits(79), judged_on="gone") for seed in (1, 5)]
    table = compared(runs)
    assert table.judged.untested == 1
    assert "1 row is not tested: its predictions can't be read." in notes(table)


def test_seeds_shared_by_some_are_named_for_those_that_lack_them() -> None:
    runs = [make_run("a", seed=seed) for seed in (1, 5, 10)] + [make_run("b", seed=1), make_run("c", seed=1)]
    assert (
        "digits, 4 shots: compared on seed 1 only, which all 3 rows have; without seeds 5, 10: b real, c real."
        in notes(compared(runs))
    )


@pytest.fixture
def apart(home: Home, tmp_path: Path) -> Home:
    """Two methods without a common seed."""
    source = str(pictures(tmp_path / "pets"))
    steps = ("classify.steps=7",)
    for name, seed, wrong in (("real-only", 1, [0]), ("zero-shot", 5, [0, 1, 2])):
        (run,) = planned(home, requests.Request((name,), source=source, shots=(2,), seeds=(seed,), overrides=steps))
        finish(home, run, wrong)
    return home


def test_the_command_it_names_gets_what_is_missing(apart: Home) -> None:
    table = compare_home(apart)
    assert not table.judged.marks
    assert len(table.commands) == 2
    for command in table.commands.values():
        assert command in "\n".join(notes(table))
        asked = run_cli(*shlex.split(command)[1:], "--dry-run", "--json", home=apart.path)
        assert '"runs": 1, "jobs": 1' in asked.stdout, asked.stderr
    for command in table.commands.values():
        name, set_id = shlex.split(command)[2], shlex.split(command)[shlex.split(command).index("--set") + 1]
        (run,) = planned(apart, requests.Request((name,), sets=(set_id,), overrides=("classify.steps=7",)))
        finish(apart, run, [0])
    after = compare_home(apart)
    assert [row.seeds for row in after.rows] == [[1, 5], [1, 5]]
    assert BEST in after.judged.marks.values() and not after.commands


def test_every_format_says_that_no_best_is_marked_and_how_to_get_one(apart: Home) -> None:
    table = compare_home(apart)
    command = table.commands[table.rows[0].id]
    for format_ in ("md", "latex"):
        assert "no best is marked" in render(table, format_)
    for format_ in ("md", "tex", "html"):
        text = exports.export(pivot(table), format_).decode()
        assert "no best is marked" in text
        assert command.split(" -o")[0] in text.replace(r"\textbackslash{}", "")
    for text in (render(table, "json"), render(table, "csv"), exports.export(pivot(table), "csv").decode()):
        assert BEST not in text


def test_common_seeds_need_the_same_shots() -> None:
    table = rows([make_run("a", seed=seed) for seed in (1, 5)] + [make_run("b", seed=5), make_run("b", seed=7)]).rows
    assert common_seeds(table) == (5,)
