"""The walk of docs/tour.md: from a home with the demo in it, without leaving the keyboard or opening the docs.

It finds the best method, sees what its images look like, reads why a job failed, and queues two more seeds. Every step
says what it looks for, so a walk that no longer works fails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datadream.home import control
from datadream.home.layout import Home, open_home
from datadream.home.spec import JobSpec
from datadream.jobs import leader, spawn
from datadream.jobs.follow import open_jobs
from datadream.plans import enqueue
from datadream.stages.settings import RehearseSettings
from tests.runners import kill_all, until, wait_for
from tests.tui.looking import Looker, looking
from tui.actions import key_names

ROOT = Path(__file__).parents[2]
SIZE = (100, 30)
PICTURED = {"compare": ("7",), "gallery": ("7", "i"), "dashboard": ("7", "a", "y", "1")}
HEAD = """# A tour

Made by `make docs` on the home of `make demo` (4 shots, seed 1), to which one job was added that fails on purpose
(`datadream rehearse --fail-at 3`). Each screen below is the terminal after the key, 100 columns wide, without
colours; a test follows the same steps.

"""


@dataclass(frozen=True)
class Step:
    """Press `keys`, then find all of `see`. `why` is what a new user would think."""

    keys: tuple[str, ...]
    why: str
    see: tuple[str, ...]
    check: Callable[[Looker], bool] = lambda _: True


STEPS = (
    Step((), "`datadream-tui` opens on the dashboard: open jobs, the machine, finished jobs. One job has failed.",
         ("Open jobs", "failed")),
    Step(("enter",), "Why did it fail? `enter` opens the newest failure, and the reason is on top.",
         ("error at step 3, requested",)),
    Step(("escape", "7"), "Back with `escape`. The digits are on the bar; `7` is the comparison: the best of the column is "
         "marked, and so is what is not significantly different from it. `j` moves down to it.",
         ("Compare", "zero-shot", "datadream-cls")),
    Step(("i",), "What do the images of the row under the cursor look like? The footer says `i`: synthetic images beside "
         "the real shots, class by class.", ("real shots",)),
    Step(("enter",), "`enter` shows one at full size, with its prompt and seed.", ("prompt", "seed")),
    Step(("escape", "escape"), "`escape` closes one layer at a time, back to the table.", ("Compare",)),
    Step(("a",), "Is one seed enough? `a` queues two more seeds of this row, after showing what that costs.", ("seed",)),
    Step(("y",), "`y` confirms. The jobs are queued and the runner starts automatically.", ("queued",),
         lambda looker: bool(open_jobs(looker.app.data.home))),
    Step(("at",), "`@` shows the equivalent commands, to copy into a script.", ("datadream run",)),
    Step(("escape", "1"), "The dashboard shows them running. `q` quits; they keep running.", ("running",)),
)  # fmt: skip


def prepare(path: Path) -> Home:
    """The home, with a job that fails."""
    home = open_home(path)
    settings = RehearseSettings(fail_at=3, steps=10).model_dump(mode="json")
    spec = JobSpec(stage="rehearse", settings=settings, inputs={}, seed=1)
    if not (home.job(spec.id) / "spec.json").exists():
        enqueue.enqueue(home, [spec], {spec.id: "rehearsal that fails on purpose"})
        spawn.ensure_runner(home)
    wait_for(home, spec.id, "failed")
    return home


async def tour(path: Path) -> str:
    """Walk; the document that comes of it. What was queued on the way is cancelled at the end."""
    home = prepare(path)
    parts = [HEAD]
    try:
        async with looking(home, SIZE) as looker:
            await looker.see(lambda: bool(looker.app.snapshot and looker.app.snapshot.failures))
            for number, step in enumerate(STEPS, 1):
                await looker.press(*step.keys)
                for what in step.see:
                    await looker.see(what)
                await looker.see(lambda step=step: step.check(looker))  # type: ignore[misc]
                await rest(looker)
                pressed = list(step.keys)
                if step.keys[-1:] == ("7",):
                    pressed += ["j"] * await go_to_best(looker)
                keys = " ".join(f"`{key_names(key)}`" for key in pressed) or "start"
                screen = masked(looker.text(), home)
                parts.append(f"## {number}. {keys}\n\n{step.why}\n\n```text\n{screen}\n```\n\n")
    finally:
        end_all(home)
    return "".join(parts).rstrip() + "\n"


async def go_to_best(looker: Looker) -> int:
    """Move down to the best of the rows that have synthetic images; how often `j` was pressed."""
    rows = [line for line in looker.lines() if re.search(r"(real\+synth|synth|none|real) +\d\d", line)]
    drawn = [i for i, line in enumerate(rows) if "synth" in line]
    best = max(drawn, key=lambda i: ("*" in rows[i], "≈" in rows[i], i))
    await looker.press(*["j"] * best)
    await rest(looker)
    return best


def masked(text: str, home: Home) -> str:
    """Without the paths of this machine; what stands in their place is as long, so that boxes stay whole."""
    for path, name in ((str(home.path), "/home/me/dream"), (str(ROOT), "/opt/dream")):
        text = text.replace(path, f"{name:_<{len(path)}}"[: len(path)])
    return text


async def rest(looker: Looker) -> None:
    """Until what is drawn stands still for a moment, or a second has passed: jobs may be running."""
    before = ""
    for _ in range(20):
        await asyncio.sleep(0.1)
        await looker.pilot.pause()
        text = looker.text()
        if text == before and not looker.app.workers:
            return
        before = text


async def pictures(path: Path, folder: Path) -> None:
    """Screenshots for the README: SVG, 110 columns wide. Two seeds are queued for the dashboard, cancelled at the end."""
    home = open_home(path)
    try:
        for name, keys in PICTURED.items():
            async with looking(home, (110, 32)) as looker:
                await looker.see(lambda: bool(looker.app.snapshot))
                for key in keys:
                    await looker.press(key)
                    await rest(looker)
                    if key == "7":
                        await go_to_best(looker)
                if name == "dashboard":
                    await looker.see(lambda: any(job.preview for job in looker.app.snapshot.running), 300)
                    await asyncio.sleep(3)
                await rest(looker)
                svg = looker.app.export_screenshot(title=f"datadream-tui: {name}")
                (folder / f"tui-{name}.svg").write_text(masked(svg, home), encoding="utf-8")
    finally:
        end_all(home)


def end_all(home: Home) -> None:
    """Cancel what is open, and stop the runner once it is over."""
    for job_id in open_jobs(home):
        control.cancel(home, job_id)
    if leader.is_led(home):
        until(lambda: not open_jobs(home))
    kill_all(home)
