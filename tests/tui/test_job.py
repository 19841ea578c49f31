"""The screen of one job: every pane, every key, and whatever may have happened to its folder."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import state
from datadream.home.layout import Home
from datadream.jobs import spawn
from tests.conftest import run_cli
from tests.tui.looking import SIZES, Looker, looking
from tui.actions import actions
from tui.screens.job.actions import Facts, loss_of
from tui.screens.job.screen import PANES, JobScreen
from tui.widgets.chart import Chart
from tui.widgets.log_view import LogView


@pytest.fixture(autouse=True)
def _no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts the jobs that these tests only talk about."""
    monkeypatch.setattr(spawn, "ensure_runner", lambda *_: None)


def job_of(home: Path, stage: str, inputs: int) -> str:
    """A job of this stage with so many inputs."""
    for path in sorted(home.glob("jobs/*/spec.json")):
        spec = json.loads(path.read_text())
        if spec["stage"] == stage and len(spec["inputs"]) == inputs:
            return path.parent.name
    raise AssertionError(stage)


def reopen(home: Path, job_id: str) -> Path:
    """Make it a job that waits again, with its history; its folder."""
    folder = home / "jobs" / job_id
    spec = state.read_spec(Home(home), job_id)
    (folder / "result.json").unlink()
    shutil.rmtree(home / "artifacts" / spec.kind / job_id)
    durable.mark(home / "queue" / job_id)
    return folder


def fail(home: Path, job_id: str, log: bytes) -> Path:
    """Make it a job that failed; its folder."""
    folder = reopen(home, job_id)
    (home / "queue" / job_id).unlink()
    (folder / "error.json").write_text(
        json.dumps({"attempt": 1, "kind": "unexpected", "message": "RuntimeError: out of memory\nsecond line"})
    )
    (folder / "log.txt").write_bytes(log)
    return folder


@asynccontextmanager
async def job_screen(
    home: Path, job_id: str, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[Looker, JobScreen]]:
    async with looking(home, size) as looker:
        looker.app.open_job(job_id)
        await looker.see(lambda: isinstance(looker.app.screen, JobScreen) and looker.app.screen.facts is not None)
        screen = looker.app.screen
        assert isinstance(screen, JobScreen)
        await looker.pilot.pause()
        yield looker, screen


async def keys(looker: Looker, *names: str) -> None:
    await looker.press(*names)
    await looker.pilot.pause()


@pytest.mark.parametrize("size", SIZES)
def test_tab_shows_every_pane_with_what_belongs_there(ran: Path, size: tuple[int, int]) -> None:
    job_id = job_of(ran, "classify", 2)
    told = run_cli("job", "log", job_id, home=ran).stdout.splitlines()

    async def walk() -> None:
        async with job_screen(ran, job_id, size) as (looker, screen):
            seen = {
                "metrics": ["loss", "done", "attempt 1", job_id[:8]],
                "log": ["empty so far"],
                "events": [told[0][: size[0] - 4], told[-1], f"{len(told)} lines"],
                "spec": ["Asked", "classify", "seed"],
                "links": ["made from few-shot set", "made from synthetic set", "makes", job_id[:8]],
            }
            for name, _ in PANES:
                assert screen.pane == name
                for words in seen[name]:
                    await looker.see(words)
                assert max(map(len, looker.lines())) <= size[0]
                await keys(looker, "tab")
            assert screen.pane == "metrics"

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_a_failed_job_says_at_once_why_and_how_its_log_ends(ran_copy: Path, size: tuple[int, int]) -> None:
    job_id = job_of(ran_copy, "classify", 1)
    fail(ran_copy, job_id, b"\x1b[31mINFO\x1b[0m one\n10%\r99%\nTraceback (most recent call last):\nboom \xe2\x82")

    async def walk() -> None:
        async with job_screen(ran_copy, job_id, size) as (looker, screen):
            for words in ("failed", "why: RuntimeError: out of memory", "second line", "R retries"):
                await looker.see(words)
            for words in ("| INFO one", "| 99%", "| Traceback", "| boom �"):
                assert words in looker.text()
            await keys(looker, "tab")
            await looker.see(lambda: screen.query_one("#log-view", LogView).view.total == 4)
            assert "| 99%" not in looker.text() and "why: RuntimeError" in looker.text()
            assert "boom �" in looker.text()

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_every_key_does_something_or_says_why_not(
    ran_copy: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_of(ran_copy, "classify", 2)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id, size) as (looker, screen):
            opened: list[str] = []
            monkeypatch.setattr(looker.app, "open_lineage", opened.append)
            monkeypatch.setattr(looker.app, "open_gallery", opened.append)
            for action in actions("job"):
                before = (looker.text(), looker.toasts())
                await keys(looker, action.keys.split(",")[0])
                for _ in range(40):
                    if (looker.text(), looker.toasts()) != before or opened:
                        break
                    await asyncio.sleep(0.05)
                    await looker.pilot.pause()
                assert (looker.text(), looker.toasts()) != before or opened, action.name
                while looker.app.screen is not screen:
                    await keys(looker, "escape")
                opened.clear()
            assert looker.app.is_running

    asyncio.run(walk())


def test_the_chart_obeys_its_keys_and_the_choice_of_metrics(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "adapt", 1)
    with (ran_copy / "jobs" / job_id / "events.jsonl").open("a") as events:
        for step in range(100, 300):
            record = {"kind": "metric", "step": step, "loss": 300 / step, "accuracy": step / 300, "seq": step}
            events.write(json.dumps(record) + "\n")

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            chart = screen.query_one(Chart)
            await looker.see("1 of")
            assert [curve.name for curve in chart.series] == ["loss"]
            for key, words in [
                ("l", "log scale"), ("m", "smoothing 0.6"), ("i", "newest 1/2"), ("i", "newest 1/4"),
                ("o", "newest 1/2"), ("o", "whole"), ("l", "linear"),
            ]:  # fmt: skip
                await keys(looker, key)
                await looker.see(words)
            await keys(looker, "o")
            await looker.see("already at the full range")
            await keys(looker, "v", "j", "space", "enter")
            await looker.see("2 of")
            assert [curve.name for curve in chart.series] == ["loss", "accuracy"]
            assert "a loss" in looker.text() and "b accuracy" in looker.text()

    asyncio.run(walk())


def test_a_running_curve_grows_and_a_torn_event_waits(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 1)
    folder = reopen(ran_copy, job_id)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            chart = screen.query_one(Chart)
            with (folder / "events.jsonl").open("a") as events:
                events.write('{"kind": "metric", "step": 900, "loss": 0.25}\nnot json\n{"kind": "metric", "st')
            await looker.see(lambda: bool(chart.series) and chart.series[0].xs[-1] == 900)
            with (folder / "events.jsonl").open("a") as events:
                events.write('ep": 901, "loss": 0.125}\n')
            await looker.see(lambda: chart.series[0].xs[-1] == 901 and chart.series[0].ys[-1] == 0.125)
            await looker.see("no runner for the waiting jobs")  # a line more, and so a chart of a line less
            await looker.pilot.pause()
            draws = chart.draws
            await asyncio.sleep(1.5)
            assert chart.draws == draws

    asyncio.run(walk())


def test_a_waiting_job_is_paused_raised_cancelled_and_tried_again(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    reopen(ran_copy, job_id)
    home = Home(ran_copy)

    def status() -> state.Status:
        return state.derive(home, job_id)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            await keys(looker, "p")
            await looker.see(lambda: status().paused)
            await looker.see("paused")
            await keys(looker, "p")
            await looker.see(lambda: not status().paused)
            await keys(looker, "plus")
            await looker.see(lambda: status().priority == 1)
            await looker.see("priority 1")
            await keys(looker, "minus")
            await looker.see(lambda: status().priority == 0)
            assert screen.command("cancel") == f"datadream job cancel {job_id}"
            await keys(looker, "X", "n")
            assert status().state != "cancelled"
            await keys(looker, "X", "y")
            await looker.see(lambda: status().state == "cancelled")
            await looker.see("cancelled")
            await keys(looker, "R")
            await looker.see(lambda: status().state != "cancelled")

    asyncio.run(walk())


def test_a_done_job_says_why_it_can_not_be_stopped(ran: Path) -> None:
    job_id = job_of(ran, "classify", 2)

    async def walk() -> None:
        async with job_screen(ran, job_id) as (looker, _):
            for key, words in (
                ("X", "nothing to cancel"),
                ("R", "is done"),
                ("comma", "no search; / in the log starts one"),
            ):
                await keys(looker, key)
                await looker.see(words)

    asyncio.run(walk())


def test_search_level_and_follow_in_the_log(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    log = ran_copy / "jobs" / job_id / "log.txt"
    log.write_text("".join(f"{'ERROR' if i == 70 else 'info'} step {i}\n" for i in range(300)))

    async def walk() -> None:
        async with job_screen(ran_copy, job_id, (80, 24)) as (looker, screen):
            view = screen.query_one("#log-view", LogView)
            await keys(looker, "slash")
            assert screen.pane == "log"
            await looker.type("step 12")
            await keys(looker, "enter")
            await looker.see("1 of 11 from the end")
            await looker.see("step 129")
            await keys(looker, "comma")
            await looker.see("2 of 11")
            await keys(looker, "semicolon")
            await looker.see("1 of 11")
            await keys(looker, "escape")  # ends the search, not the screen
            await looker.see(lambda: not view.view.pattern)
            assert looker.app.screen is screen
            await keys(looker, "slash")
            await looker.type("re:(")
            await keys(looker, "enter")
            await looker.see("invalid regex")
            await keys(looker, "escape", "w", "w")
            await looker.see(lambda: view.view.total == 1 and "ERROR step 70" in looker.text())
            await keys(looker, "w", "f")
            await looker.see(lambda: view.view.total == 300 and view.following)
            await looker.see("info step 299")
            await keys(looker, "f")
            await looker.see("f follows")
            await keys(looker, "escape")
            assert looker.app.screen is not screen

    asyncio.run(walk())


def test_a_log_that_is_rotated_under_the_screen_is_followed_on(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    log = ran_copy / "jobs" / job_id / "log.txt"
    log.write_text("old\n" * 50)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, _):
            await keys(looker, "tab")
            await looker.see("50 lines")
            log.rename(log.with_name("log.1"))
            log.write_text("new\n")
            await looker.see("started again")
            await looker.see("1 line ")

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_that_vanishes_is_a_sentence_in_place(ran_copy: Path, size: tuple[int, int]) -> None:
    job_id = job_of(ran_copy, "classify", 2)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id, size) as (looker, screen):
            shutil.rmtree(ran_copy / "jobs" / job_id)
            await looker.see(
                lambda: "was removed; its results, if any, are still in the home" in " ".join(looker.text().split())
            )
            assert "loss" in looker.text()  # what was seen of it stays
            for name, _ in PANES:
                assert screen.pane == name
                await keys(looker, "tab")
            await keys(looker, "X")
            await looker.see("was removed")
            assert looker.app.screen is screen

    asyncio.run(walk())


def test_a_job_whose_folder_was_gone_before_has_the_curves_the_registry_knows(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "adapt", 1)
    shutil.move(ran_copy / "jobs" / job_id, ran_copy / "elsewhere")

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            await looker.see("was removed; its results")
            await looker.see(lambda: screen.facts is not None and bool(screen.facts.gone))
            await keys(looker, "tab")
            await looker.see("no log yet")

    asyncio.run(walk())


def test_a_torn_spec_is_a_sentence_and_no_crash(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    (ran_copy / "jobs" / job_id / "spec.json").write_text('{"stage": "cla')

    async def walk() -> None:
        async with job_screen(ran_copy, job_id, (80, 24)) as (looker, screen):
            await looker.see("has no readable spec.json")
            for _ in PANES:
                await keys(looker, "tab")
            for action in actions("job"):
                screen.why_not(action.id)
                screen.command(action.id)

    asyncio.run(walk())


def test_jumps_lead_to_inputs_and_output(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    spec = state.read_spec(Home(ran_copy), job_id)

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            opened: list[tuple[str, str]] = []
            monkeypatch.setattr(looker.app, "open_lineage", lambda found: opened.append(("lineage", found)))
            monkeypatch.setattr(looker.app, "open_gallery", lambda found: opened.append(("gallery", found)))
            await keys(looker, "b")
            assert opened.pop() == ("lineage", job_id)
            await keys(looker, "a", "enter")
            assert opened.pop() == ("lineage", spec.inputs["set"])
            await keys(looker, "a", "j", "enter")
            assert opened.pop() == ("gallery", spec.inputs["synthetic"])
            await keys(looker, "tab", "tab", "tab", "tab", "down", "enter")
            assert opened.pop() == ("gallery", spec.inputs["synthetic"])
            for action in ("input", "output"):
                for line in screen.command(action).splitlines():
                    result = run_cli(*line.split()[1:], home=ran_copy)
                    assert result.returncode == 0, (line, result.stderr)
            shutil.rmtree(ran_copy / "artifacts" / "synthetic" / spec.inputs["synthetic"])
            await looker.see("(missing)")
            await keys(looker, "enter")
            await looker.see(lambda: looker.app.screen is not screen)
            assert isinstance(looker.app.screen, JobScreen)
            assert looker.app.screen.job_id == spec.inputs["synthetic"]

    asyncio.run(walk())


def test_a_click_chooses_a_pane(ran: Path) -> None:
    job_id = job_of(ran, "classify", 2)

    async def walk() -> None:
        async with job_screen(ran, job_id) as (looker, screen):
            await looker.pilot.click("#job-panes", offset=(12, 0))
            await looker.pilot.pause()
            assert screen.pane == "log"

    asyncio.run(walk())


def test_frozen_drawing_stands_still_and_then_catches_up(ran_copy: Path) -> None:
    job_id = job_of(ran_copy, "classify", 2)
    log = ran_copy / "jobs" / job_id / "log.txt"
    log.write_text("one\n")

    async def walk() -> None:
        async with job_screen(ran_copy, job_id) as (looker, screen):
            view = screen.query_one("#log-view", LogView)
            await keys(looker, "tab")
            await looker.see("1 line ")
            await keys(looker, "z")
            with log.open("a") as more:
                more.write("two\n")
            await asyncio.sleep(1.5)
            await looker.pilot.pause()
            assert view.view.total == 1
            await keys(looker, "z")
            await looker.see("2 lines")

    asyncio.run(walk())


def test_what_stopping_loses_is_said_only_as_far_as_it_is_known() -> None:
    running = Facts("a" * 16, "running", "", "", 0, False, 5, 1000, "steps")
    assert loss_of("cancel", [running]) == (
        "Work since its last checkpoint is lost (aaaaaaaa is at 5 of 1,000 steps). Retry resumes from the checkpoint."
    )
    begun = dataclasses.replace(running, id="b" * 16, done=0, total=0, unit="")
    assert "is lost. Retry" in loss_of("cancel", [begun])
    assert "Work since their last checkpoint" in loss_of("cancel", [running, begun])
    assert loss_of("cancel", [dataclasses.replace(begun, state="queued")]) == "Nothing is lost: it is not running."
