"""Filters: what is typed is what is asked, against the same filter in Python."""

from __future__ import annotations

import operator
import shlex

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadream.errors import UserError
from store import queries, writes
from store.nouns import NOUNS, is_number
from store.registry import Registry
from store.tables import Artifact, Run, Tag
from store.where import OPERATORS, Condition, parse_where

PYTHON = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "~": lambda text, part: part.lower() in text.lower(),
}  # fmt: skip
TEXT = st.text("ab=<>~ '\"\\ü1")
PERCENT = st.floats(0, 100).map(lambda value: round(value, 2))
METHODS = ["datadream-dset", "real-only", "ä ö"]


@given(
    st.lists(
        st.builds(Condition, st.from_regex(r"[a-z_]+", fullmatch=True), st.sampled_from(OPERATORS), TEXT),
        max_size=4,
    )
)  # fmt: skip
def test_every_condition_can_be_typed(conditions: list[Condition]) -> None:
    safe = [c for c in conditions if not (c.op in "><" and c.value.startswith("="))]
    text = " ".join(shlex.quote(f"{c.name}{c.op}{c.value}") for c in safe)
    assert parse_where(text) == tuple(safe)


@pytest.mark.parametrize("text", ["shots", "shots >= 4", "=4", "'open"])
def test_what_is_no_condition_is_said(text: str) -> None:
    with pytest.raises(UserError, match="--where"):
        parse_where(text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, list[Run]]:
    folder = tmp_path_factory.mktemp("where")
    registry = Registry.open(folder / "registry.db", folder / "registry.lock")
    found = [
        Run(
            id=f"{i:016x}", method=METHODS[i % 3], settings="", data="real", source="digits", shots=[1, 4, 16][i % 3],
            seed=i % 5, split_seed=0, backbone="mini", created=f"2026-01-{i % 28 + 1:02}", set_id="s" * 16,
            classifier_id="c" * 16, split="test", accuracy=float(i * 7 % 100), correct=i, total=100,
            row_key=f"{i % 3:016x}", draw="d" if i < 45 else "e",
        )
        for i in range(60)
    ]  # fmt: skip
    with registry.writing() as session:
        writes.put(session, [Artifact(id="s" * 16, kind="set"), Artifact(id="c" * 16, kind="classifier"), *found])
        writes.put(session, [Tag(subject=run.id, label="even") for run in found[::2]])
    return registry, found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("shots"), st.sampled_from(["=", "!=", ">", "<", ">=", "<="]), st.integers(0, 17)),
            st.tuples(st.just("accuracy"), st.sampled_from([">", "<", ">=", "<="]), PERCENT),
            st.tuples(st.just("method"), st.sampled_from(["=", "!=", "~"]), st.sampled_from([*METHODS, "only"])),
        ),
        max_size=3,
    ),
    st.sampled_from(["", "accuracy", "-accuracy", "-created", "method"]),
)  # fmt: skip
def test_a_page_is_what_python_would_give(
    runs: tuple[Registry, list[Run]], asked: list[tuple[str, str, object]], sort: str
) -> None:
    registry, found = runs
    conditions = [Condition(name, op, str(value)) for name, op, value in asked]
    expected = {run.id for run in found if all(PYTHON[op](getattr(run, name), value) for name, op, value in asked)}
    rows = queries.page(registry, "run", conditions, sort, limit=1000)
    assert {row["id"] for row in rows} == expected
    assert queries.count(registry, "run", conditions) == len(expected)
    name = sort.removeprefix("-")
    if name:
        values = [row[name] for row in rows]
        assert values == sorted(values, reverse=sort.startswith("-"))
    pages = [
        row["id"] for start in range(0, 60, 7) for row in queries.page(registry, "run", conditions, sort, 7, start)
    ]
    assert pages == [row["id"] for row in rows]


def test_tags_filter_and_are_shown(runs: tuple[Registry, list[Run]]) -> None:
    registry, found = runs
    rows = queries.page(registry, "run", parse_where("tag=even shots=4"), limit=100)
    assert {row["id"] for row in rows} == {run.id for run in found[::2] if run.shots == 4}
    assert all(row["tags"] == ["even"] for row in rows)
    assert queries.count(registry, "run", parse_where("tag!=even")) == 30


def test_an_unknown_column_is_said_with_the_nearest(runs: tuple[Registry, list[Run]]) -> None:
    with pytest.raises(UserError, match="did you mean shots"):
        queries.page(runs[0], "run", parse_where("shot=4"))
    with pytest.raises(UserError, match="sort"):
        queries.page(runs[0], "run", sort="nothing")


@pytest.mark.parametrize("noun", NOUNS)
def test_a_number_is_compared_with_a_number(noun: str, runs: tuple[Registry, list[Run]]) -> None:
    registry, _ = runs
    numbers = {name for name in NOUNS[noun].columns if is_number(NOUNS[noun], name)}
    wanted = {"set": {"shots", "bytes"}, "adapter": {"rank"}, "synth": {"guidance_scale"}, "classifier": {"accuracy"},
              "run": {"accuracy", "seed", "seconds"}, "job": {"progress", "attempts"}, "experiment": {"runs"}}[noun]  # fmt: skip
    assert wanted <= numbers
    assert not numbers & {"id", "created", "name", "method", "state", "source", "settings", "set", "title"}
    for name in numbers:
        for value in ("abc", "", "4x"):
            with pytest.raises(UserError, match=f"{name} of an? {noun} is a number"):
                queries.count(registry, noun, [Condition(name, ">", value)])
        assert queries.count(registry, noun, [Condition(name, ">", "1e9")]) == 0


def test_ids_abbreviate_as_git_does(runs: tuple[Registry, list[Run]]) -> None:
    registry, found = runs
    assert queries.resolve(registry, found[5].id, ["run"]) == ("run", found[5].id)
    with pytest.raises(UserError, match="ambiguous id"):
        queries.resolve(registry, "0000", ["run"])
    for text in ("ffff", "00", "'; DROP TABLE run; --"):
        with pytest.raises(UserError, match="no run"):
            queries.resolve(registry, text, ["run"])


def test_a_comparison_holds_the_newest_of_every_key_seed_and_draw(runs: tuple[Registry, list[Run]]) -> None:
    registry, found = runs
    newest: dict[tuple[str, int, str], Run] = {}
    for run in sorted((run for run in found if run.shots == 4), key=lambda run: run.created):
        newest[run.row_key, run.seed, run.draw] = run
    rows = queries.comparison(registry, parse_where("shots=4"))
    assert {row["id"] for row in rows} == {run.id for run in newest.values()}
    assert len(rows) == 10 and [row["created"] for row in rows] == sorted(row["created"] for row in rows)
    assert not any(row["replaced"] for row in rows)  # all are of one classifier
    assert queries.untold(registry) == 0
    row = next(iter(newest.values()))
    assert {found["method"] for found in queries.page(registry, "run", parse_where(f"row={row.row_key}"))} == {
        row.method
    }


@given(st.sampled_from(["", *(f"{way}{name}" for way in ("", "-") for name in ("accuracy", "method", "shots", "id"))]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_and_their_rows_are_what_pages_show(runs: tuple[Registry, list[Run]], sort: str) -> None:
    registry, _ = runs
    where = [Condition("shots", ">=", "4")]
    keys = queries.keys(registry, "run", where, sort)
    assert [row["id"] for row in queries.page(registry, "run", where, sort, limit=1000)] == keys
    assert len(keys) == queries.count(registry, "run", where)
    assert queries.rows_of(registry, "run", keys[7:9]) == queries.page(registry, "run", where, sort, 2, 7)
    assert queries.rows_of(registry, "run", [keys[3], "gone", keys[1]]) == [
        *queries.page(registry, "run", where, sort, 1, 3),
        *queries.page(registry, "run", where, sort, 1, 1),
    ]


def test_keys_of_nothing_are_none(runs: tuple[Registry, list[Run]]) -> None:
    registry, _ = runs
    assert queries.keys(registry, "run", [Condition("shots", ">", "99")]) == []
    with pytest.raises(UserError, match="shot"):
        queries.keys(registry, "run", sort="shot")
