"""What the comparison needs of a home, read in the pool: the table, its marks, and what a cell's keys would queue."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError

if TYPE_CHECKING:
    from datadream.jobs.ask import Plan, Request
    from datadream.report.pivot import Pivot
    from datadream.report.rows import Row
    from tui.services.data import Data

FIRST_SEEDS = (1, 5, 10)  # then every other number, in order
MORE = 2
CHANGED = "The recipe has changed since those runs were made: these will be a row of their own."


@dataclass(frozen=True)
class CellFacts:
    """What can be done at a cell. A request is None when there is nothing to ask for; `why` says why."""

    missing: Request | None = None
    more: Request | None = None
    why: str = ""
    synth: str = ""
    recipe: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Offer:
    """A plan in words, before it is queued."""

    plan: Plan
    question: str
    about: str
    done: str
    command: str


def read_table(data: Data, where: str) -> list[Row]:
    """All groups of runs that `where` leaves: of the test images where there are any, unless it names a split.

    Raises UserError for a filter that can't be.
    """
    from datadream.report.pivot import rows_of
    from store import queries
    from store.where import parse_where

    found = queries.comparison(data.registry(), parse_where(where))
    tests = [] if names_split(where) else [group for group in found if group["split"] == "test"]
    return rows_of(tests or found)


def names_split(where: str) -> bool:
    """Whether the filter says which split it wants."""
    from store.where import parse_where

    return any(condition.name == "split" for condition in parse_where(where))


def unjudged(pivot: Pivot, columns: Iterable[int], judged: Collection[str]) -> list[Row]:
    """The rows of these columns that aren't `judged`, known by their first run, with all their rivals."""
    from datadream.report.pivot import rivals

    seen = [cell.row for line in pivot.cells for j in columns if (cell := line[j]).row is not None]
    groups = {rivals(row) for row in seen if row.run_ids[0] not in judged}
    return [row for row in pivot.table if rivals(row) in groups]


def where_of(pivot: Pivot, i: int, j: int, where: str) -> str:
    """The filter that leaves, of what `where` leaves, the runs of a cell."""
    of = pivot.values(i, j)
    method, settings = of.pop("method")
    parts = [f"method={quoted(method)}", f"settings={quoted(settings)}" if settings else "settings="]
    parts += [f"{name}={quoted(str(value))}" for name, value in of.items()]
    return " ".join([*parts, where] if where else parts)


def read_marks(data: Data, table: Sequence[Row]) -> tuple[dict[str, str], int]:
    """Marks of `table`, with at most RUNS_MAX predictions read; and how many rows had to go without."""
    from datadream.report.pivot import answers, verdicts, wanted_runs

    ids, left = wanted_runs(table)
    return verdicts(table, answers(data.home, ids)), left


def read_cell(data: Data, pivot: Pivot, i: int, j: int) -> CellFacts:
    """What the keys m, a and i would do at a cell."""
    from datadream.jobs.state import read_dict

    cell, of = pivot.cells[i][j], pivot.values(i, j)
    method, settings = of["method"]
    like = cell.row or next(row for row in pivot.table if (row.method, row.settings) == of["method"])
    near = cell.row or next(row for row in pivot.table if row.source == of["source"])
    record, there = (read_dict(data.home.run(row.run_ids[-1])) or {} for row in (like, near))
    recipe = record.get("recipe")
    if not isinstance(recipe, Mapping):
        return CellFacts(why="the record of its runs is gone")
    synth = str((record.get("jobs") or {}).get("generate", "")) if cell.row else ""
    overrides = [f"{key}={value}" for key, value in sorted((recipe.get("overrides") or {}).items())]
    if of["split"] == "val" and not any(text.startswith("classify.evaluate=") for text in overrides):
        overrides.append("classify.evaluate=val")
    try:
        source = _source(data, str(there.get("set", "")))
    except UserError as error:
        return CellFacts(why=str(error), synth=synth, recipe=recipe)

    def request(seeds: Sequence[int]) -> Request:
        from datadream.jobs.ask import Request

        return Request(
            recipes=(method,),
            source=source,
            shots=(of["shots"],),
            seeds=tuple(seeds),
            data=(of["data"],),
            backbone=of["backbone"],
            overrides=tuple(overrides),
            without_marked=" marked" in settings,
        )

    missing = request(cell.lacks) if cell.lacks else None
    more = request(next_seeds(cell.row.seeds if cell.row else ()))
    return CellFacts(missing, more, "", synth, recipe)


def next_seeds(used: Sequence[int], count: int = MORE) -> list[int]:
    """The next `count` seeds that aren't used: 1, 5, 10, then 2, 3, 4, 6 and so on."""
    order = [*FIRST_SEEDS, *(seed for seed in range(2, len(used) + count + 12) if seed not in FIRST_SEEDS)]
    return [seed for seed in order if seed not in used][:count]


def offer(data: Data, request: Request, recipe: Mapping[str, Any] | None) -> Offer:
    """What `request` takes. Raises UserError as `datadream run` does, and when there is nothing to do."""
    from datadream.jobs import ask, follow
    from datadream.jobs.estimate import estimate

    plan = ask.plan(data.home, request, dry=True)
    seeds = ", ".join(map(str, request.seeds))
    if not plan.runs:
        raise UserError(f"{request.recipes[0]} has no {request.data[0]} to run")
    waiting = follow.waiting(data.home, {spec.id for spec in plan.missing})
    new = sum(spec.id not in waiting for spec in plan.missing)
    if plan.missing and not new:
        raise UserError("all of that is queued already", hint="2 shows the jobs")
    count = f"{new} job{'s' * (new != 1)}"
    about = [f"{request.recipes[0]} {request.data[0]}, {request.shots[0]} shots, {request.source}."]
    found = estimate(data.home, plan)
    if new < len(plan.missing):
        already = len(plan.missing) - new
        about.append(f"{already} more job{'s of it are' if already > 1 else ' of it is'} queued already.")
    about += [
        f"{plan.reused} finished artifacts serve again.",
        f"time: {found.time_text()}",
        f"disk: {found.disk_text()}",
    ]
    if recipe is not None and any(
        run.recipe.model_dump(mode="json")[stage] != recipe.get(stage)
        for run in plan.runs
        for stage in ("adapt", "generate", "classify")
    ):
        about.append(CHANGED)
    question = f"Queue {count} for seed{'s' * (len(request.seeds) > 1)} {seeds}?"
    return Offer(plan, question, "\n".join(about), f"{count} queued", line(request))


def line(request: Request) -> str:
    """The equal command line; it doesn't wait for the jobs."""
    from datadream.jobs import ask

    return ask.command(request).replace("datadream run", "datadream run --detach", 1)


def quoted(text: str) -> str:
    """As one word of a shell, or of a filter."""
    return shlex.quote(text)


def queue(data: Data, plan: Plan) -> list[str]:
    """Queue it and start the runner; the jobs that weren't queued before, which are what an undo may cancel."""
    from datadream.jobs import ask, follow, spawn
    from datadream.jobs.losses import losses

    waiting = follow.waiting(data.home, {spec.id for spec in plan.missing})
    jobs = ask.submit(data.home, plan)
    if jobs:
        spawn.ensure_runner(data.home)
    data.warnings += losses(data.home, jobs)
    return [job_id for job_id in jobs if job_id not in waiting]


def write_exports(data: Data, pivot: Pivot, formats: Sequence[str]) -> list[str]:
    """Write `pivot` in each format into the home's `exports`; the paths."""
    from datetime import datetime

    from datadream import durable
    from datadream.report.exports import export
    from tui.services.clipboard import shown_path

    folder = durable.make_dir(data.home.path / "exports")
    name = f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    paths = []
    for format_ in formats:
        path = folder / f"{name}.{format_}"
        durable.write_bytes(path, export(pivot, format_))
        paths.append(shown_path(path))
    return paths


def _source(data: Data, set_id: str) -> str:
    """What `--source` is for a set like this one."""
    from datadream.jobs.sets import load_set

    source = load_set(data.home, set_id).source
    return str(source.get("path") or source["kind"])
