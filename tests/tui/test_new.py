"""Planning an experiment: what the form says, what it would take, and that starting does just that."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from pathlib import Path

import pytest
from textual.widgets import Input, Select

from datadream.errors import UserError
from datadream.home import queue, state
from datadream.home.layout import Home
from datadream.jobs import spawn
from datadream.jobs.follow import open_jobs
from datadream.plans import ask
from datadream.plans import request as requests
from datadream.plans.estimate import estimate
from tests.conftest import TINY
from tests.tui.looking import SIZES, Looker, looking
from tui.app import DataDreamApp
from tui.screens.new.form import Form, look, request_of
from tui.screens.new.screen import NewScreen
from tui.services.data import Data
from tui.widgets.ticks import Ticks

TABS = (
    *("recipes", "files", "sets", "source", "shots", "seeds", "data", "backbone", "diffusion"),
    *("clip", "images", "overrides", "experiment", "priority", "more"),
)
FULL = Form(
    recipes=("real-only", "name-only"),
    files="'my own.toml'",
    source=" digits ",
    shots="1, 4",
    seeds="5",
    data=("synth",),
    images="12",
    overrides='classify.steps=4 \'adapt.targets=["q", "v"]\'',
    experiment=" the paper ",
    priority="-2",
    more=("anew", "without marked"),
)


@pytest.fixture(autouse=True)
def no_runner(monkeypatch: pytest.MonkeyPatch) -> list[Home]:
    """Jobs are queued and stay there; who would have got a runner."""
    started: list[Home] = []
    monkeypatch.setattr(spawn, "ensure_runner", started.append)
    return started


def screen(looker: Looker) -> NewScreen:
    assert isinstance(looker.app.screen, NewScreen)
    return looker.app.screen


async def to(looker: Looker, name: str) -> None:
    """By Tab, as a user would."""
    for _ in range(len(TABS) + 1):
        if looker.app.focused is not None and looker.app.focused.id == name:
            return
        await looker.press("tab")
    raise AssertionError(f"Tab doesn't reach {name}")


async def opened(looker: Looker, key: str = "n") -> None:
    await looker.press(key)
    await looker.see("zero-shot")
    await looker.see("no methods given")
    await looker.see("d2")


def test_the_form_is_a_request() -> None:
    assert request_of(FULL) == requests.Request(
        recipes=("real-only", "name-only", "my own.toml"),
        source="digits",
        shots=(1, 4),
        seeds=(5,),
        data=("synth",),
        overrides=("generate.images_per_class=12", "classify.steps=4", 'adapt.targets=["q", "v"]'),
        experiment="the paper",
        priority=-2,
        force=True,
        without_marked=True,
    )
    ticked = Form(recipes=("zero-shot",), sets=("d2",))
    assert request_of(ticked) == requests.Request(recipes=("zero-shot",), sets=("d2",))
    for field in ("shots", "seeds"):  # not silently without effect
        with pytest.raises(UserError, match="the selected sets have their own"):
            request_of(dataclasses.replace(ticked, **{field: "1,5"}))
    with pytest.raises(UserError, match="both sets and a source are given"):
        request_of(dataclasses.replace(ticked, source="digits"))


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("shots", "0", "shots: expected integers >= 1, not '0'"),
        ("seeds", "one", "seeds: expected integers >= 0"),
        ("images", "1,2", "one integer >= 1"),
        ("priority", "high", "priority: expected an integer"),
        ("overrides", "'a", "close the quotes"),
    ],
)
def test_a_field_that_cannot_be_read_is_said(field: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        request_of(dataclasses.replace(FULL, **{field: text}))  # type: ignore[arg-type]


def test_the_outlook_is_the_plan_of_the_command_line(ran: Path) -> None:
    overrides = " ".join(f"{key}={value}" for key, value in TINY.items())
    form = Form(recipes=("datadream-dset", "real-only"), source="digits", shots="2,4", overrides=overrides)
    data = Data(Home(ran))
    outlook = look(data, form)
    data.close()
    plan = ask.plan(Home(ran), request_of(form), dry=True)
    assert (outlook.jobs, outlook.reused, outlook.runs) == (len(plan.missing), plan.reused, len(plan.runs)) == (5, 5, 6)
    assert outlook.time == estimate(Home(ran), plan).time_text()
    assert shlex.split(outlook.command)[:6] == ["datadream", "run", "datadream-dset", "real-only", "--source", "digits"]
    wrong = look(data, dataclasses.replace(form, overrides="generate.guidance=3"))
    assert "did you mean 'guidance_scale'" in wrong.wrong
    assert wrong.command


@pytest.mark.parametrize("size", SIZES)
def test_tab_reaches_every_field_and_scrolls_to_it(ran: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran, size) as looker:
            await opened(looker, "8")
            for name in TABS:
                focused = looker.app.focused
                assert focused is not None
                assert focused.id == name
                form = screen(looker).query_one("#form").region
                assert focused.region.height <= form.height
                assert form.contains_region(focused.region), name
                await looker.press("tab")
            assert looker.app.focused is not None
            assert looker.app.focused.id == TABS[0]

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_what_is_ticked_and_typed_is_planned_copied_and_started(
    ran_copy: Path, size: tuple[int, int], no_runner: list[Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(ran_copy)
    copied: list[str] = []
    monkeypatch.setattr(DataDreamApp, "copy", lambda self, text: copied.append(text))

    async def walk() -> None:
        async with looking(home, size) as looker:
            await opened(looker)
            await looker.press("g")
            await looker.see(lambda: "no methods given" in looker.toasts())
            await looker.press("j", "space")
            await looker.see("no images given")
            await to(looker, "sets")
            await looker.press("enter")
            await looker.see("1 to run (1 classify)")
            await to(looker, "overrides")
            await looker.type("classify.steps=4 classify.batch_size=16")
            await looker.see("0 to run")
            assert "1 finished artifacts" in looker.text()
            await to(looker, "experiment")
            await looker.type("gQy8")
            assert screen(looker).query_one("#experiment", Input).value == "gQy8"
            assert not open_jobs(home)
            await looker.press("enter")
            assert looker.app.focused is not None
            assert looker.app.focused.id == "priority"
            await looker.type("3")
            await to(looker, "overrides")
            await looker.press("end", "backspace", "5")
            await looker.see("1 to run")
            await looker.press("escape")
            assert looker.app.focused is None
            assert isinstance(looker.app.screen, NewScreen)
            line = (
                "datadream run real-only --set d2 -o classify.steps=4 -o classify.batch_size=15 "
                "--experiment gQy8 --priority 3"
            )
            await looker.see(lambda: screen(looker).command("copy") == line)
            await looker.press("y")
            assert copied == [line]
            await looker.press("g")
            await looker.see("1 job queued")
            await looker.see(lambda: looker.app.current_mode == "dashboard")
            assert looker.app.log_of_commands[-1][1] == line.replace("run", "run --detach", 1)

    asyncio.run(walk())
    (job,) = open_jobs(home)
    request = state.read_request(home, job)
    assert (request.title, request.experiment, request.priority) == (
        "real-only: classify real (2 shots, seed 1)", "gQy8", 3,
    )  # fmt: skip
    assert no_runner == [home]
    assert not queue.read_settings(home).paused


def test_queueing_pauses_the_queue_and_starts_nothing(ran_copy: Path, no_runner: list[Home]) -> None:
    home = Home(ran_copy)

    async def walk() -> None:
        async with looking(home) as looker:
            await opened(looker)
            await looker.press("space")
            await to(looker, "source")
            await looker.type("digits")
            await to(looker, "shots")
            await looker.type("3")
            await looker.see("1 to run")
            assert len(list((ran_copy / "names" / "set").iterdir())) == 1  # looking makes no set
            await looker.press("escape", "Q")
            await looker.see("1 job queued, the queue is paused")
            await looker.see("queue paused")
            assert looker.app.log_of_commands[-1][1] == (
                "datadream queue pause; datadream run --detach zero-shot --source digits --shots 3"
            )

    asyncio.run(walk())
    assert queue.read_settings(home).paused
    assert len(open_jobs(home)) == 1
    assert no_runner == []


def test_the_backbone_is_chosen_with_keys_and_nothing_to_do_is_said(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy, (80, 24)) as looker:
            await opened(looker)
            await looker.press("j", "space")
            await to(looker, "sets")
            await looker.press("space")
            await to(looker, "backbone")
            await looker.press("enter", "down", "enter")
            await looker.see("--backbone sd2.1-base")
            assert screen(looker).query_one("#backbone", Select).value == "sd2.1-base"
            await looker.press("enter", "up", "enter")
            await to(looker, "overrides")
            await looker.type("classify.steps=4 classify.batch_size=16")
            await looker.see("0 to run")
            await looker.press("escape", "g")
            await looker.see("nothing to do: all results already exist")

    asyncio.run(walk())


def test_ticks_keep_their_place_when_the_list_changes() -> None:
    ticks = Ticks([("a", "first"), ("b", "second")])
    ticks.tick(["b"])
    ticks.fill([("c", "new"), ("a", "first"), ("b", "second")])
    assert ticks.ticked == ("b",)
    assert [str(ticks.get_option_at_index(i).prompt).split()[0] for i in range(3)] == ["[", "[", "[x]"]
    ticks.fill([("a", "first")])
    assert ticks.ticked == ()
