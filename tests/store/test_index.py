"""The registry is what the folders say: kept so step by step, or made anew."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import control, experiments, labels
from datadream.home.causes import CLEAR
from datadream.home.layout import Home
from datadream.plans import enqueue
from store import index, queries
from store.check import check
from store.registrar import Registrar
from store.registry import Registry
from tests.conftest import run_cli
from tests.runners import rehearsals


def dump(home: Home) -> dict[str, list[str]]:
    """Every row of every table but the marks."""
    with closing(sqlite3.connect(home.registry)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
            for name in names
            if name != "mark"
        }


def check_rebuilt_equal(home: Home) -> dict[str, list[str]]:
    before = dump(home)
    (home.path / "registry.db").unlink()
    index.rebuild(home).close()
    after = dump(home)
    assert before.keys() == after.keys()
    for table in before:
        assert before[table] == after[table], table
    return after


def test_a_deleted_registry_comes_back_row_for_row(ran_copy: Path) -> None:
    home = Home(ran_copy)
    registry = index.open_registry(home)
    run = queries.page(registry, "run")[0]["id"]
    labels.tag(home, run, add=["best", "ünï"])
    labels.note(home, run, "the one in the paper\nreally")
    experiments.add_runs(home, "paper", [run])
    index.sync(home, registry)
    registry.close()
    found = check_rebuilt_equal(home)
    empty = [table for table, rows in found.items() if not rows]
    assert empty == ["problem"]


def test_what_the_registry_says_is_what_compare_says(ran: Path) -> None:
    from datadream.report.collect import collect

    home = Home(ran)
    registry = index.open_registry(home)
    rows = {row["id"]: row for row in queries.page(registry, "run", limit=100)}
    registry.close()
    runs = collect(home).runs
    assert len(runs) == len(rows) == 8
    for run in runs:
        row = rows[run.what.id]
        assert row["accuracy"] == pytest.approx(100 * run.correct / run.total)
        assert (row["method"], row["data"], row["shots"], row["total"]) == (
            run.what.method,
            run.what.data,
            2,
            run.total,
        )
        assert row["seconds"] == pytest.approx(sum(run.stage_seconds.values()), abs=0.02)


def test_lineage_goes_both_ways(ran: Path) -> None:
    registry = index.open_registry(Home(ran))
    adapter = queries.page(registry, "adapter")[0]
    line = queries.lineage(registry, adapter["id"])
    registry.close()
    assert [entry["kind"] for entry in line["ancestors"]] == ["set"]
    assert sorted(entry["kind"] for entry in line["descendants"]) == ["classifier", "classifier", "synthetic"]
    assert len(line["runs"]) == 2


@pytest.mark.parametrize("seed", range(5))
def test_any_change_reaches_the_registry_as_a_rebuild_would(
    ran_copy: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random removals, damage and additions, each followed by a look; at the end row for row what a rebuild gives."""
    if seed % 2:
        monkeypatch.setattr(durable, "RACY_NS", 0)  # as if everything had been read long ago
    home, dice = Home(ran_copy), random.Random(seed)
    registry = index.open_registry(home)
    away = ran_copy.parent / "away"
    away.mkdir()
    for step in range(12):
        folders = sorted([*ran_copy.glob("artifacts/*/[0-9a-f]*"), *ran_copy.glob("jobs/[0-9a-f]*")])
        action = dice.choice(["remove", "damage", "return", "label", "run"])
        if action == "remove":
            path = dice.choice(folders)
            shutil.move(path, away / f"{path.parent.name}-{path.name}")
        elif action == "return" and list(away.iterdir()):
            path = dice.choice(sorted(away.iterdir()))
            place, name = path.name.split("-")
            shutil.move(path, (ran_copy / "jobs" if place == "jobs" else ran_copy / "artifacts" / place) / name)
        elif action == "damage":
            path = dice.choice(folders)
            target = path / ("spec.json" if path.parent.name == "jobs" else "manifest.json")
            durable.write_text(target, '{"torn')
            durable.touch_dir(
                path.parent
            )  # as a folder that was replaced; bytes changed in place are `check`'s to find
        elif action == "label":
            labels.tag(home, dice.choice(folders).name, add=[f"t{step}"])
        else:
            record = dice.choice(sorted((ran_copy / "runs").glob("*.json")))
            durable.remove_file(record)
        index.sync(home, registry)
    registry.close()
    check_rebuilt_equal(home)


def test_a_job_whose_artifact_was_removed_says_so(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "RACY_NS", 0)
    home = Home(ran_copy)
    registry = index.open_registry(home)
    folder = next((ran_copy / "artifacts" / "classifier").iterdir())
    shutil.rmtree(folder)
    index.sync(home, registry)
    reasons = {row["id"]: row["reason"] for row in queries.page(registry, "job", limit=100)}
    registry.close()
    assert reasons[folder.name] == "its classifier was removed"
    check_rebuilt_equal(home)


def test_a_garbage_folder_is_listed_and_in_nobodys_way(ran_copy: Path) -> None:
    home = Home(ran_copy)
    for place in ("jobs/" + "0" * 16, "artifacts/set/" + "1" * 16, "artifacts/classifier/" + "2" * 16):
        durable.make_dir(ran_copy / place)
    (ran_copy / "jobs" / ("0" * 16) / "spec.json").write_bytes(b"\xff\xfe garbage")
    (ran_copy / "runs" / "3.json").write_text("[]")
    (ran_copy / "labels").mkdir(exist_ok=True)
    (ran_copy / "labels" / "4.json").write_text("{")
    registry = index.open_registry(home)
    assert len(queries.page(registry, "run")) == 8
    assert {path.split("/")[-1] for path, _ in queries.problems(registry)} == {
        "0" * 16, "1" * 16, "2" * 16, "3.json", "4.json",
    }  # fmt: skip
    registry.close()


def test_a_home_that_has_not_changed_costs_nothing(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "RACY_NS", 0)
    home = Home(ran_copy)
    registry = index.open_registry(home)
    assert index.sync(home, registry) == 0
    durable.remove_file(next((ran_copy / "runs").glob("*.json")))
    assert index.sync(home, registry) == 2
    registry.close()


def test_metrics_arrive_while_they_are_written_and_torn_lines_are_counted(ran_copy: Path) -> None:
    home = Home(ran_copy)
    registry = index.open_registry(home)
    job = queries.page(registry, "job", limit=1)[0]["id"]
    before = queries.metrics(registry, job)
    events = home.job(job) / "events.jsonl"
    with events.open("ab") as file:
        file.write(b'{"kind":"metric","step":1000,"loss":0.5,"acc":1}\n{"kind":"metr\n\xff\n[1]\n')
        file.write(b'{"kind":"metric","step":1001,"loss":0.25}\n{"kind":"metric","step":10')
    index.follow(home, registry, [job], CLEAR)
    after = queries.metrics(registry, job)
    assert after["loss"] == [*before.get("loss", []), (1000, 0.5), (1001, 0.25)]
    assert after["acc"] == [(1000, 1.0)]
    with events.open("ab") as file:
        file.write(b'02,"loss":0.125}\n')
    index.follow(home, registry, [job], CLEAR)
    assert queries.metrics(registry, job)["loss"][-1] == (1002, 0.125)
    assert queries.page(registry, "job", limit=1)[0]["bad_lines"] == 3
    registry.close()
    check_rebuilt_equal(home)


def test_the_runners_hand_survives_a_registry_it_cannot_read(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    Registry.open(home.registry, home.registry_lock).close()
    with closing(sqlite3.connect(home.registry)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    registrar = Registrar(home)
    registrar.close()
    assert "the registry is delayed" in capsys.readouterr().err


def test_a_job_folder_of_an_older_or_newer_program_does_not_stop_the_index(ran_copy: Path) -> None:
    home = Home(ran_copy)
    path = next((ran_copy / "jobs").iterdir()) / "request.json"
    durable.write_json(path, {**json.loads(path.read_text()), "from_the_future": [1, 2]})
    registry = index.open_registry(home)
    assert queries.problems(registry) == []
    registry.close()


def _unreadable_set(home: Home) -> str:
    folder = next((home.path / "artifacts" / "set").iterdir())
    (folder / "set.json").unlink()
    return f"artifacts/set/{folder.name}"


def _too_large_a_number(home: Home) -> str:
    path = next((home.path / "runs").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 2**70}))
    return f"runs/{path.name}"


def _events_that_are_a_folder(home: Home) -> str:
    folder = next(path for path in (home.path / "jobs").iterdir() if (path / "events.jsonl").exists())
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    (folder / "touched").touch()
    return f"jobs/{folder.name}"


def _half_a_sign(home: Home) -> str:
    path = next((home.path / "runs").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "settings": "\ud800"}))
    return f"runs/{path.name}"


def _a_deep_record(home: Home) -> str:
    path = next((home.path / "runs").glob("*.json"))
    path.write_text('{"jobs": ' + "[" * 100_000 + "]" * 100_000 + "}")
    return f"runs/{path.name}"


ODD = [_unreadable_set, _too_large_a_number, _events_that_are_a_folder, _half_a_sign, _a_deep_record]


def told(registry: Registry) -> list[str]:
    return [path for path, _ in queries.problems(registry)]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_thing_is_a_problem_and_stops_neither_runner_nor_lists(
    odd: Callable[[Home], str], ran_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(ran_copy)
    home.registry.unlink()
    place = odd(home)
    registry = index.open_registry(home)
    judged = [f"artifacts/classifier/{path.name}" for path in home.path.glob("artifacts/classifier/[0-9a-f]*")]
    judged += [f"runs/{path.name}" for path in home.path.glob("runs/*.json")]
    of_set = place.startswith("artifacts/set/")  # without it nothing bears out the numbers that are of it
    assert sorted(told(registry)) == sorted([place, *(judged if of_set else [])])
    assert len(queries.page(registry, "run")) >= (0 if of_set else 7)
    registrar = Registrar(home)
    registrar.close()
    assert "waits" not in capsys.readouterr().err
    assert any(finding.path.startswith(place) for finding in check(home, registry, deep=False))
    before = told(registry)
    registry.close()
    rebuilt = index.rebuild(home)
    assert told(rebuilt) == before
    rebuilt.close()


def test_a_job_that_is_still_queued_is_read_again_though_its_folder_is_the_same(home: Home) -> None:
    """The runner writes the last line of history, which changes no folder, and takes the mark away."""
    made = run_cli("rehearse", "--steps", 1, "--quiet", home=home.path)
    assert made.returncode == 0, made.stderr
    (job,) = (path.name for path in (home.path / "jobs").iterdir())
    history = home.job(job) / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join(lines[:-1]))
    os.utime(home.job(job), (1e9, 1e9))
    (home.queue / job).touch()
    index.rebuild(home).close()
    with history.open("a") as file:
        file.write(lines[-1])
    (home.queue / job).unlink(missing_ok=True)  # or the runner has, which is still there
    registry = index.open_registry(home)
    assert [line["state"] for line in queries.history(registry, job)][-1] == "done"
    registry.close()
    check_rebuilt_equal(home)


def test_a_job_that_left_the_queue_is_read_again_though_no_folder_of_jobs_changed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "RACY_NS", 0)  # as if all was read long after it was written
    first, second = enqueue.enqueue(home, rehearsals(2, steps=5), {})
    with closing(index.connect(home)) as registry:
        index.sync(home, registry)
        control.cancel(home, first)
        durable.remove_file(home.queue / first)
        index.sync(home, registry)
        states = {row["id"]: row["state"] for row in queries.rows_of(registry, "job", [first, second])}
        assert states == {first: "cancelled", second: "queued"}
        assert index.sync(home, registry) == 0


def test_many_jobs_are_looked_through_in_a_line_not_a_square(home: Home) -> None:
    """By the number of comparisons: a set of all names is made once, not for each."""
    marks = {f"jobs/{number:016x}": 1 for number in range(3000)}

    class Counted(set):  # type: ignore[type-arg]
        made = 0

        def __init__(self, *values: object) -> None:
            Counted.made += 1
            super().__init__(*values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "set", Counted, raising=False)
        assert len(list(index._jobs(home, index._Look(marks, (), "")))) >= 3000
    assert Counted.made < 5
