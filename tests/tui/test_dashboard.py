"""The dashboard when nothing is open any more."""

from __future__ import annotations

import asyncio

import pytest

from datadream import durable
from datadream.home import control, state
from datadream.home.layout import Home
from datadream.jobs import spawn
from datadream.plans import enqueue
from tests.conftest import run_cli
from tests.runners import rehearsals
from tests.tui.looking import looking
from tui.widgets.key_line import KeyLine


def test_retry_is_of_the_last_failure_when_nothing_is_open(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_cli("rehearse", "--steps", 3, "--fail-at", 1, "--quiet", home=home.path)
    (job,) = (path.name for path in (home.path / "jobs").iterdir())
    assert state.derive(home, job).state == "failed"
    monkeypatch.setattr(spawn, "ensure_runner", lambda home: None)

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.see("failed")
            await looker.press("R")
            await looker.see(f"{job[:8]}: queued again")
            assert state.read_control(home, job).retries == 1
            await looker.press("at")
            await looker.see(f"datadream job retry {job}")

    asyncio.run(walk())


def test_only_jobs_that_are_shown_are_counted(home: Home) -> None:
    """With no runner to take them off the queue: one was cancelled, of one only the mark is there."""
    kept, dropped = enqueue.enqueue(home, rehearsals(2), {})
    control.cancel(home, dropped)
    durable.mark(home.queue / ("0" * 16))

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.see("0 running · 1 waiting")
            await looker.see("Open jobs (1)")
            await looker.see(kept[:8])

    asyncio.run(walk())


def test_the_line_of_keys_is_of_the_new_theme_at_once(home: Home) -> None:
    async def walk() -> None:
        async with looking(home) as looker:
            line = looker.app.screen.query_one(KeyLine)

            def colours() -> set[str]:
                return {
                    str(segment.style.color)
                    for segment in line.render_line(0)
                    if segment.style and segment.text in "?:@"
                }

            before = colours()
            await looker.press("T")
            await looker.see(lambda: colours() != before)
            assert line.get_component_rich_style("key-line--key", partial=True).color.name in str(colours())

    asyncio.run(walk())
