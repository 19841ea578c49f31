"""A run that failed, runs, waits or was cancelled looks it; what was set is a column; times say what they are of."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import control, identity, queue, state
from datadream.home.layout import Home, open_home
from datadream.jobs import spawn
from datadream.plans import ask
from datadream.plans import request as requests
from store import index, queries
from store.where import parse_where
from tests.faults.test_records import call
from tests.tui.lists import walk
from tests.tui.looking import SIZES, Looker, looking
from tui.drawing import glyphs
from tui.screens.lists.listing import ListScreen
from tui.screens.run.screen import RunScreen

REASON = "loss became NaN at step 3 (learning_rate 1e8)"


@pytest.fixture
def states(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, dict[str, str]]:
    """A home with finished runs, and one each that failed, runs, waits and was cancelled, by state."""
    monkeypatch.setattr(spawn, "ensure_runner", lambda _: None)
    home = open_home(ran_copy)
    queue.write_settings(home, queue.QueueSettings(paused=True))
    found = {}
    for number, name in enumerate(("failed", "running", "queued", "cancelled"), 1):
        request = requests.Request(("real-only",), sets=("d2",), overrides=(f"classify.steps={number}",))
        planned = ask.plan(home, request)
        (job_id,) = ask.submit(home, planned)
        found[name] = planned.runs[0].id
        if name == "failed":
            durable.write_json(home.job(job_id) / "error.json", {"attempt": 0, "kind": "user", "message": REASON})
            state.write_history(home, job_id, "failed", REASON, 0)
        elif name == "running":
            note = {"worker": identity.myself().to_json(), "slot": "cpu:0", "launcher": "local"}
            assert state.claim(home, job_id, 1, note)
        elif name == "cancelled":
            control.cancel(home, job_id)
            state.write_history(home, job_id, "cancelled", "asked to stop", 0)
        if name in ("failed", "cancelled"):
            durable.remove_file(home.queue / job_id)
    return home, found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("plain", [False, True])
def test_a_run_looks_as_it_goes(
    plain: bool, size: tuple[int, int], states: tuple[Home, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, runs = states
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")

    async def steps(looker: Looker, screen: ListScreen) -> None:
        for name, run_id in runs.items():
            line = next(line for line in looker.lines() if run_id[:8] in line)
            assert glyphs.state_text(name).plain in line, line
            assert size[0] < 120 or f"steps={list(runs).index(name) + 1} " in line, line  # what was set by hand
        assert "✓ done" in looker.text() and "state" in looker.lines()[screen.table.region.y]

    walk(home.path, "runs", size, steps)


def test_why_a_run_has_no_number_is_told_in_the_pane_and_on_its_page(states: tuple[Home, dict[str, str]]) -> None:
    home, runs = states

    async def steps(looker: Looker, screen: ListScreen) -> None:
        screen.table.move_to(list(screen.table.ids).index(runs["failed"]))
        await looker.see("its job failed: classify")
        await looker.see(lambda: REASON[:30] in looker.text())
        await looker.press("enter")
        await looker.see(lambda: isinstance(looker.app.screen, RunScreen))
        await looker.see(f"{glyphs.state_text('failed').plain}  its job failed")
        await looker.press("escape")
        screen.table.move_to(list(screen.table.ids).index(runs["cancelled"]))
        await looker.see("cancelled; retry its job")

    walk(home.path, "runs", (120, 40), steps)


def test_lineage_tells_the_state_of_each_run(states: tuple[Home, dict[str, str]]) -> None:
    home, runs = states

    async def go() -> None:
        async with looking(home, (120, 40)) as looker:
            await looker.see(lambda: looker.app.snapshot is not None and looker.app.snapshot.counts.get("run", 0) > 8)
            for name, run_id in runs.items():
                looker.app.open_lineage(run_id)
                await looker.see(f"run {run_id[:8]}  {glyphs.state_text(name).plain}")
                await looker.press("escape")

    asyncio.run(go())


def test_runs_are_asked_for_by_state_and_listed_with_it(states: tuple[Home, dict[str, str]]) -> None:
    home, runs = states
    for name, run_id in runs.items():
        code, out, _ = call(home.path, "runs", "ls", "--where", f"state={name}", "--json")
        assert code == 0 and [row["id"] for row in json.loads(out)] == [run_id]
    out = call(home.path, "runs", "ls")[1]
    head, *lines = out.splitlines()
    assert head.split() == ["id", "state", "method", "data", "shots", "seed", "accuracy", "source", "settings",
                            "ended", "tags"]  # fmt: skip
    assert next(line for line in lines if runs["failed"][:8] in line).split()[1] == "failed"
    assert "classify.steps=1" in out
    code, _, err = call(home.path, "runs", "ls", "--where", "state=fialed")
    assert code == 2 and "states: " in err


def test_created_is_when_it_was_made_and_ended_when_it_ended(states: tuple[Home, dict[str, str]]) -> None:
    home, runs = states
    rows = {row["id"]: row for row in json.loads(call(home.path, "runs", "ls", "--json", "--limit", "50")[1])}
    for run_id, row in rows.items():
        record = json.loads(home.run(run_id).read_text())
        assert row["submitted"] == record["created"]
        if run_id in runs.values():
            assert row["created"] is None
            continue
        made = json.loads((home.artifact("classifier", row["classifier"]) / "manifest.json").read_text())
        assert row["created"] == made["origin"]["created"]
        assert row["ended"] == state.derive(home, row["classifier"]).ended
        assert row["submitted"] < row["ended"]
    for name in ("failed", "cancelled"):
        job_id = json.loads(home.run(runs[name]).read_text())["jobs"]["classify"]
        assert rows[runs[name]]["ended"] == state.derive(home, job_id).ended != ""
    assert rows[runs["running"]]["ended"] is rows[runs["queued"]]["ended"] is None
    registry = index.open_registry(home)
    newest = queries.keys(registry, "run")
    assert set(newest[:4]) == set(runs.values())  # what has not ended is not hidden behind what has
    for name in ("submitted", "created", "ended"):
        assert queries.keys(registry, "run", parse_where(f"{name}>2000"), f"-{name}")
    registry.close()


def test_a_run_whose_shard_failed_has_failed(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "ensure_runner", lambda _: None)
    home = open_home(ran_copy)
    request = requests.Request(("name-only",), sets=("d2",), data=("synth",), shards=2, overrides=("generate.steps=3",))
    request = requests.Request(**{**vars(request), "overrides": ("generate.num_inference_steps=3",)})
    planned = ask.plan(home, request)
    jobs = ask.submit(home, planned)
    shard = next(job_id for job_id in jobs if state.read_spec(home, job_id).shard)
    durable.write_json(home.job(shard) / "error.json", {"attempt": 0, "kind": "user", "message": "x"})
    registry = index.open_registry(home)
    (row,) = queries.rows_of(registry, "run", [planned.runs[0].id])
    registry.close()
    assert row["state"] == "failed"


def test_runs_that_look_alike_name_what_sets_them_apart(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe's file that was edited between two runs, and a run made again."""
    monkeypatch.setattr(spawn, "ensure_runner", lambda _: None)
    home = open_home(ran_copy)
    recipe = ran_copy.parent / "mine.toml"
    made = []
    for steps in (7, 9):
        recipe.write_text(f'name = "mine"\nextends = "real-only"\nabout = "x"\n\n[classify]\nsteps = {steps}\n')
        planned = ask.plan(home, requests.Request((str(recipe),), sets=("d2",)))
        ask.submit(home, planned)
        made.append(planned.runs[0].id)
    again = ask.plan(
        home, requests.Request(("zero-shot",), sets=("d2",), force=True, overrides=("classify.batch_size=16",))
    )
    ask.submit(home, again)
    twin = ask.plan(
        home, requests.Request(("zero-shot",), sets=("d2",), force=True, overrides=("classify.batch_size=16",))
    )
    ask.submit(home, twin)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        for run_id, steps in zip(made, (7, 9), strict=True):
            assert f"classify.steps={steps}" in str(screen.table.row(run_id)["settings"])  # type: ignore[index]
        for plan in (again, twin):
            row = screen.table.row(plan.runs[0].id)
            assert row is not None and f"classifier={row['classifier'][:8]}" in row["settings"]
        done = next(row for row in map(screen.table.row, screen.table.ids) if row and row["method"] == "real-only")
        assert "classifier=" not in str(done["settings"])

    walk(ran_copy, "runs", (200, 50), steps)
