"""The tree from shots to numbers, and its keys."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datadream.home.layout import Home
from datadream.plans import ask
from datadream.plans import request as requests
from tests.tui.looking import SIZES, Looker, looking
from tui.app import DataDreamApp
from tui.drawing import glyphs
from tui.screens.lineage.screen import LineageScreen
from tui.screens.lineage.tree import Tree, read_tree
from tui.services.data import Data
from tui.widgets.branches import Branches, Node, lines_of


def records(home: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (home / "runs").glob("*.json")]
    return {f"{entry['method']} {entry['data']}": entry for entry in found}


def tree(home: Path, root: str) -> Tree:
    data = Data(Home(home))
    data.sync()
    try:
        return read_tree(data, root)
    finally:
        data.close()


def screen(looker: Looker) -> LineageScreen:
    assert isinstance(looker.app.screen, LineageScreen)
    return looker.app.screen


def on(looker: Looker) -> Node:
    node = screen(looker).query_one(Branches).node
    assert node is not None
    return node


def test_lines_are_drawn_below_parents() -> None:
    nodes = {name: Node(name, "set") for name in "abcde"}
    lines = lines_of({"a": ["b", "d"], "b": ["c"]}, nodes, ["a", "e"])
    assert [(line.guide, line.node.id) for line in lines] == [
        ("", "a"), ("├─ ", "b"), ("│  └─ ", "c"), ("└─ ", "d"), ("", "e"),
    ]  # fmt: skip


def test_a_run_goes_up_to_its_shots(ran: Path) -> None:
    record = records(ran)["datadream-dset real+synth"]
    found = tree(ran, record["id"])
    jobs = record["jobs"]
    assert [(line.node.kind, line.node.id) for line in found.lines] == [
        ("set", record["set"]),
        ("adapter", jobs["adapt"]),
        ("synth", jobs["generate"]),
        ("classifier", jobs["classify"]),
        ("run", record["id"]),
    ]
    scores = json.loads((ran / "artifacts" / "classifier" / jobs["classify"] / "scores.json").read_text())
    assert found.lines[-1].node.fact == f"{100 * scores['correct'] / scores['n']:.1f}%"
    assert found.lines[0].node.fact == "d2"


def test_a_set_goes_down_to_every_number(ran: Path) -> None:
    found = tree(ran, records(ran)["real-only real"]["set"])
    assert {line.node.id for line in found.lines if line.node.kind == "run"} == {
        entry["id"] for entry in records(ran).values()
    }
    assert found.lines[0].node.kind == "set"


def test_other_inputs_are_named(ran: Path) -> None:
    record = records(ran)["name-only synth"]
    found = tree(ran, record["jobs"]["generate"])
    kinds = [line.node.kind for line in found.lines]
    assert kinds == ["synth", "classifier", "run", "classifier", "run"]
    assert found.lines[1].node.words.startswith(f"with set {record['set'][:8]}")


def test_what_is_gone_keeps_its_place(ran_copy: Path) -> None:
    record = records(ran_copy)["datadream-cls synth"]
    shutil.rmtree(ran_copy / "artifacts" / "adapter" / record["jobs"]["adapt"])
    found = tree(ran_copy, record["id"])
    gone = next(line.node for line in found.lines if line.node.id == record["jobs"]["adapt"])
    assert (gone.kind, gone.fact) == ("adapter", "gone")


def test_a_job_that_has_made_nothing_is_below_what_it_waits_for(ran_copy: Path) -> None:
    request = requests.Request(recipes=("real-only",), sets=("d2",), overrides=("classify.steps=3",))
    (job,) = ask.submit(Home(ran_copy), request)
    found = tree(ran_copy, job)
    assert [line.node.kind for line in found.lines] == ["set", "job", "run"]
    assert found.lines[1].node.id == job
    assert "queued" in found.lines[1].node.fact
    assert found.lines[2].node.fact == glyphs.state_text("queued").plain


@pytest.mark.parametrize("size", SIZES)
def test_the_newest_run_is_shown_and_keys_move_and_reroot(ran: Path, size: tuple[int, int]) -> None:
    record = max(records(ran).values(), key=lambda entry: (entry["created"], entry["id"]))

    async def walk() -> None:
        async with looking(ran, size) as looker:
            await looker.press("9")
            await looker.see(f"Lineage › run {record['id'][:8]}")
            assert on(looker).id == record["id"]
            await looker.press("k")
            assert on(looker).kind == "classifier"
            await looker.press("up", "j", "down", "down")
            assert on(looker).kind == "run"
            await looker.press("L")
            await looker.see("already centered on it")
            await looker.press("g", "L")
            await looker.see(f"◆ set {record['set'][:8]}")
            assert f"{record['id'][:8]}  " in looker.text() or size[1] < 30
            await looker.press("G", "l", "h", "right", "left", "pageup", "pagedown", "home", "end")
            assert on(looker).kind == "run"
            await looker.press("escape")
            await looker.see(f"Lineage › run {record['id'][:8]}")
            await looker.press("escape")
            assert looker.app.current_mode == "dashboard"

    asyncio.run(walk())


@pytest.mark.parametrize(("kind", "mode"), [("set", "sets"), ("adapter", "adapters"), ("run", "runs")])
@pytest.mark.parametrize("over", [False, True])
def test_enter_opens_the_thing_in_its_list(ran: Path, kind: str, mode: str, over: bool) -> None:
    record = records(ran)["datadream-cls synth"]
    thing = {"set": record["set"], "adapter": record["jobs"]["adapt"], "run": record["id"]}[kind]

    async def walk() -> None:
        async with looking(ran) as looker:
            if over:
                looker.app.go(mode)
                await looker.pilot.pause()
            looker.app.open_lineage(thing)
            await looker.see(f"◆ {kind} {thing[:8]}")
            await looker.press("enter")
            await looker.see(
                lambda: looker.app.current_mode == mode and not isinstance(looker.app.screen, LineageScreen)
            )
            await looker.see(f"id={thing}")
            assert list(looker.app.screen.table.ids) == [thing]  # type: ignore[attr-defined]

    asyncio.run(walk())


@pytest.mark.parametrize(("stage", "opener"), [("generate", "open_gallery"), ("classify", "open_job")])
def test_enter_opens_galleries_and_jobs(ran: Path, stage: str, opener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = records(ran)["datadream-cls synth"]["jobs"][stage]
    opened: list[str] = []
    monkeypatch.setattr(DataDreamApp, opener, lambda self, found: opened.append(found))

    async def walk() -> None:
        async with looking(ran) as looker:
            looker.app.open_lineage(thing)
            await looker.see(f"{thing[:8]}")
            await looker.see("◆")
            await looker.press("enter")
            assert opened == [thing]
            kind = {"generate": "synth", "classify": "classifier"}[stage]
            assert screen(looker).command("open") == f"datadream {kind} show {thing}"
            await looker.press("escape")
            assert looker.app.current_mode == "dashboard"
            assert not isinstance(looker.app.screen, LineageScreen)

    asyncio.run(walk())


def test_an_empty_home_and_an_unknown_id_are_told(home: Home) -> None:
    async def walk() -> None:
        async with looking(home, (80, 24)) as looker:
            await looker.press("9")
            await looker.see("nothing here yet: 8 plans")
            await looker.press("enter")
            await looker.see("8 plans an experiment")
            looker.app.open_lineage("0123456789abcdef")
            await looker.see("no artifact or run 01234567")

    asyncio.run(walk())
