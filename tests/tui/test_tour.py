"""The walk of docs/tour.md, on a small home of real jobs; and one whole session from nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from datadream.home import state
from datadream.home.layout import Home
from tests.conftest import run_cli
from tests.runners import kill_all, rehearsals, steps_done, until
from tests.tui.looking import looking
from tests.tui.tour import STEPS, tour

ROOT = Path(__file__).parents[2]


def test_the_walk_of_the_tour(ran_copy: Path) -> None:
    text = asyncio.run(tour(ran_copy))
    kept = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    assert text.count("```text") == kept.count("```text") == len(STEPS)
    for step in STEPS:
        assert step.why in kept


def test_a_whole_session_from_an_empty_home(home: Home) -> None:
    """Empty home, demo by one key, live panes, and a table that says what the command line says."""

    async def session() -> None:
        async with looking(home) as looker:
            await looker.see("Nothing here yet")
            await looker.press("d")
            await looker.see("demo started", 60)
            await looker.see(lambda: bool(looker.app.snapshot and looker.app.snapshot.running), 60)
            await looker.see("● running", 60)
            seen: set[tuple[str, int]] = set()

            def moved() -> bool:
                snapshot = looker.app.snapshot
                seen.update((job.id, job.done) for job in (snapshot.running if snapshot else ()) if job.done)
                return len(seen) > 3

            await looker.see(moved, 120)
            await looker.see(lambda: bool(looker.app.snapshot and looker.app.snapshot.finished), 120)
            await looker.press("7")
            await looker.see("zero-shot", 60)

            def told() -> bool:
                rows = json.loads(run_cli("compare", "--format", "json", home=home.path).stdout)
                return bool(rows) and f"{100 * rows[0]['mean']:.1f}" in looker.text()

            await looker.see(told, 60)

    try:
        asyncio.run(session())
    finally:
        kill_all(home)


def test_cancel_and_retry_from_the_app(home: Home) -> None:
    from datadream.jobs import spawn
    from datadream.plans import enqueue

    spec = rehearsals(1, steps=5000, step_seconds=0.02, checkpoint_steps=5)[0]
    enqueue.enqueue(home, [spec], {spec.id: "a long one"})
    spawn.ensure_runner(home)
    until(lambda: steps_done(home, spec.id) > 10)

    async def session() -> None:
        async with looking(home, (80, 24)) as looker:
            await looker.see("a long one")
            await looker.press("X")
            await looker.see("(y)")
            await looker.press("n")
            assert not state.read_control(home, spec.id).cancel
            await looker.press("X", "y")
            await looker.see(lambda: state.derive(home, spec.id).state == "cancelled", 60)
            await looker.press("2")
            await looker.see("cancelled")
            await looker.press("R")
            await looker.see(lambda: state.derive(home, spec.id).state == "running", 60)
            assert state.derive(home, spec.id).done > 5  # from its checkpoint

    try:
        asyncio.run(session())
    finally:
        kill_all(home)
