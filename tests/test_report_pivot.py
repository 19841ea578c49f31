"""A pivot shows what the plain table shows, says what is missing, and marks only what was tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.registry import fill
from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.report.collect import answers, collected
from datadream.report.curves import over_images, over_shots
from datadream.report.judge import BEST, judge, wanted_runs
from datadream.report.pivot import NEVER, Pivot, parse_pivot, pivot
from datadream.report.rows import rows
from datadream.report.runs_diff import config_diff, two_runs
from datadream.report.tables import Compared, top1
from store import queries
from store.registry import Registry
from store.where import parse_where
from tests.comparing import compared, make_run
from tests.conftest import run_cli


def texts(found: Pivot) -> dict[tuple[str, str], str]:
    return {
        (found.row_label(i), found.column_label(j)): cell.text
        for i, line in enumerate(found.cells)
        for j, cell in enumerate(line)
    }


def test_cells_hold_the_numbers_of_the_table_and_say_what_is_missing() -> None:
    runs = [
        make_run(seed=1, correct="1110"),
        make_run(seed=5, correct="1100"),
        make_run("datadream-cls", "real+synth", 1, "1111"),
        make_run("datadream-cls", "real+synth", 1, "1111", shots=8, run_id="x"),
    ]
    found = texts(pivot(compared(runs)))
    # Mean of 0.75 and 0.5; their deviation is 0.25 / sqrt(2) = 0.1768.
    assert found["real-only real", "4 shots"] == "62.5 ± 17.7 n=2"
    assert found["real-only real", "8 shots"] == NEVER
    assert found["datadream-cls real+synth", "4 shots"] == f"{top1(rows(runs).rows[1])} * n=1 · lacks seed 5"


def test_a_varying_dimension_that_nobody_named_becomes_a_column() -> None:
    runs = [make_run(), make_run(source="birds", run_id="b")]
    found = pivot(compared(runs), ("method",), ("shots",))
    assert [found.column_label(j) for j in range(2)] == ["4 shots birds", "4 shots digits"]
    assert found.shared == {"data": "real", "backbone": ("mini", ""), "split": "test"}


def test_settings_never_share_a_row() -> None:
    runs = [make_run(), make_run(settings="classify.steps=4", run_id="b")]
    found = pivot(compared(runs), ("method",), ("shots",))
    assert [found.row_label(i) for i in range(2)] == ["real-only", "real-only (a)"]
    assert "(a) classify.steps=4." in found.notes()


@pytest.mark.parametrize("text", ["method", "method,shots,data", "colour,shots", "method,method", ",shots"])
def test_pivots_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_pivot(text)


def test_pivots_are_read() -> None:
    assert parse_pivot("method+data,shots") == (("method", "data"), ("shots",))
    assert parse_pivot("method,") == (("method",), ())


def test_the_registry_gives_the_numbers_of_the_command(ran: Path) -> None:
    plain = {row["run_ids"][0]: row for row in json.loads(run_cli("compare", "--format", "json", home=ran).stdout)}
    home = Home(ran)
    registry = Registry.open(home.registry, home.registry_lock)
    table = rows(collected(queries.comparison(registry)).runs).rows
    registry.close()
    assert {row.run_ids[0] for row in table} == set(plain)
    for row in table:
        other = plain[row.run_ids[0]]
        assert (row.mean, row.std, row.seeds) == (other["mean"], other["std"], other["seeds"])
        assert [row.interval.low, row.interval.high] == other["interval"]
    marks = judge(table, answers(home, wanted_runs(table)[0])).marks
    assert list(marks.values()) == [BEST]  # of one seed nothing else is marked


def test_a_filter_of_the_command_is_that_of_the_listings(ran: Path) -> None:
    everything = json.loads(run_cli("compare", "--format", "json", home=ran).stdout)
    filtered = json.loads(run_cli("compare", "-w", "data=real+synth shots>=2", "--format", "json", home=ran).stdout)
    among = ("mark", "judged_seeds", "vs_real_only")  # of the rows that are shown
    whole, part = (
        [{k: v for k, v in row.items() if k not in among} for row in rows] for rows in (everything, filtered)
    )
    assert part == [row for row in whole if row["data"] == "real+synth"] != []
    run_id = filtered[0]["run_ids"][0]
    turned = run_cli("compare", "--pivot", "method,data", "--where", f"id={run_id}", "--format", "md", home=ran)
    lines = [line for line in turned.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 and f"{100 * filtered[0]['mean']:.1f}" in lines[1]
    wrong = run_cli("compare", "--where", "colour=red", home=ran)
    assert wrong.returncode == 2 and "unknown column 'colour'" in wrong.stderr
    nothing = run_cli("compare", "--where", "shots>99", home=ran)
    assert (nothing.returncode, nothing.stdout) == (0, "no run matches\n")
    turned = run_cli("compare", "--where", "shots>99", "--pivot", "method,shots", home=ran)
    assert turned.returncode == 2 and "no run matches" in turned.stderr


def test_a_filter_that_names_the_split_needs_no_split_option(ran_copy: Path) -> None:
    options = ("-o", "classify.evaluate=val", "-o", "classify.steps=4", "-o", "classify.batch_size=16")
    made = run_cli("run", "zero-shot", "--set", "d2", *options, home=ran_copy)
    assert made.returncode == 0, made.stderr

    def splits(*arguments: str) -> list[str]:
        return [row["split"] for row in json.loads(run_cli("compare", "-f", "json", *arguments, home=ran_copy).stdout)]

    assert set(splits()) == {"test"}
    assert splits("--where", "split=val") == splits("--split", "val") == ["val"]
    assert splits("--where", "method=zero-shot") == ["test"]
    assert sorted(splits("--where", "method=zero-shot split~t", "--split", "test")) == ["test"]
    assert sorted(splits("--where", "method=zero-shot split!=none")) == ["test", "val"]


def test_many_runs_are_compared_without_reading_their_files(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry.db", tmp_path / "registry.lock")
    fill(registry, 20_000)
    table = rows(collected(queries.comparison(registry, parse_where("source=data3"))).runs).rows
    everything = rows(collected(queries.comparison(registry)).runs).rows
    registry.close()
    assert {row.source for row in table} == {"data3"}
    found = pivot(Compared(everything))
    assert len(found.cells) * len(found.column_keys) >= len(everything)
    ids, left = wanted_runs(everything, 50)
    assert 0 < len(ids) <= 50
    assert left


def test_curves_follow_shots_and_the_images_per_class_that_were_drawn() -> None:
    runs = [
        make_run("name-only", "synth", 1, "1100", shots=shots, recipe={"a.b": "1", "generate.images_per_class": str(n)},
                 run_id=f"{shots}{n}")
        for shots, n in ((4, 10), (4, 2), (8, 2))
    ]  # fmt: skip
    images = over_images(rows(runs).rows)
    assert [(curve.name, [point.x for point in curve.points]) for curve in images] == [
        ("name-only synth 4 shots", [2, 10]),
        ("name-only synth 8 shots", [2]),
    ]
    assert [[point.x for point in curve.points] for curve in over_shots(rows(runs).rows)] == [[4], [4, 8]]
    assert over_images(rows([make_run()]).rows) == []


def test_only_settings_that_differ_are_listed() -> None:
    a = {"id": "1", "method": "m", "recipe": {"about": "x", "adapt": {"rank": 16, "targets": ["q", "k"]}}}
    b = {"id": "2", "method": "m", "recipe": {"about": "y", "adapt": {"rank": 8, "targets": ["q", "k"]}}, "new": 1}
    assert config_diff(a, b) == (("new", "", "1"), ("recipe.adapt.rank", "16", "8"))
    assert config_diff(a, b, ("recipe", "id", "new")) == ()


def test_two_real_runs_differ_by_what_their_files_say(ran: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted((ran / "runs").glob("*.json"))]
    one, other = (next(r for r in records if r["method"] == method) for method in ("zero-shot", "real-only"))
    found = two_runs(Home(ran), one["id"], other["id"])
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(found.accuracy[1] - found.accuracy[0])
    assert sum(pair.a[0] for pair in found.classes) == round(found.accuracy[0] * found.n_test[0])
    assert found.p is not None and 0 <= found.p <= 1
    assert ("method", "zero-shot", "real-only") in found.settings
    with pytest.raises(UserError, match="no longer exists"):
        two_runs(Home(ran), one["id"], "0" * 16)
