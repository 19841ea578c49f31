"""What the comparison needs of a home, read in the pool: the table, its marks, and what a cell's keys would queue."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError
from datadream.text import counted

if TYPE_CHECKING:
    from datadream.plans.ask import Plan
    from datadream.plans.request import Request
    from datadream.report.judge import Comparison, Judged
    from datadream.report.pivot import Pivot
    from datadream.report.rows import Row
    from datadream.report.tables import Compared
    from tui.services.data import Data

FIRST_SEEDS = (1, 5, 10)  # then every other number, in order
MORE = 2
RECHECKED = 2000  # newest runs whose evidence is looked at before a table is shown
CHANGED = "The recipe or a model changed since those runs: the new runs get their own row."


@dataclass(frozen=True)
class Read:
    """The rows of a comparison, and in words the runs that are not in them."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Verdicts:
    """What was found out of some rows with all their rivals; `without` are rows that had to go without."""

    judged: Judged
    commands: Mapping[str, str]
    without: tuple[str, ...]


@dataclass(frozen=True)
class CellFacts:
    """What can be done at a cell. A request is None when there is nothing to ask for, or for the reason given."""

    missing: Request | None = None
    more: Request | None = None
    why_missing: str = ""
    why_more: str = ""
    synth: str = ""
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Offer:
    """A plan in words, before it is queued."""

    plan: Plan
    question: str
    about: str
    done: str
    command: str


def read_table(data: Data, where: str) -> Read:
    """All rows of runs that `where` leaves: of the test images where there are any, unless it names a split.

    Raises UserError for a filter that can't be.
    """
    from datadream.locks import LockHeld
    from datadream.report.collect import collected
    from datadream.report.rows import rows
    from store import index, queries
    from store.where import parse_where

    registry, conditions = data.registry(), parse_where(where)
    held = []
    try:
        index.recheck(data.home, registry, RECHECKED)
    except LockHeld as error:
        held.append(f"{error}; the view may be out of date")
    found = queries.comparison(registry, conditions)
    tests = [] if names_split(where) else [row for row in found if row["split"] == "test"]
    refused = queries.refused(registry, conditions)
    runs = collected(tests or found, refused, queries.untold(registry, conditions))
    table = rows(runs.runs)
    return Read(tuple(table.rows), (*held, *runs.notes, *table.notes))


def names_split(where: str) -> bool:
    """Whether the filter says which split it wants."""
    from store.where import parse_where

    return any(condition.name == "split" for condition in parse_where(where))


def unjudged(pivot: Pivot, columns: Iterable[int], judged: Collection[str]) -> list[Row]:
    """The rows of these columns that aren't `judged`, by their ids, with all their rivals."""
    seen = [cell.row for line in pivot.cells for j in columns if (cell := line[j]).row is not None]
    groups = {row.rivals for row in seen if row.id not in judged}
    return [row for row in pivot.table if row.rivals in groups]


def where_of(pivot: Pivot, i: int, j: int, where: str) -> str:
    """The filter that leaves, of what `where` leaves, the runs of a cell that was run."""
    row = pivot.cells[i][j].row
    assert row is not None
    return " ".join(filter(None, [f"row={row.key}", where]))


def read_marks(data: Data, table: Sequence[Row]) -> Verdicts:
    """The verdicts on `table`, with at most RUNS_MAX predictions read."""
    from datadream.report.assemble import commands
    from datadream.report.collect import answers
    from datadream.report.judge import judge, wanted_runs

    ids, without = wanted_runs(table)
    known = [row for row in table if row not in without]
    judged = judge(known, answers(data.home, ids))
    return Verdicts(judged, commands(data.home, judged), tuple(row.id for row in without))


def compared(table: Sequence[Row], verdicts: Sequence[Verdicts], notes: Sequence[str]) -> Compared:
    """`table` with what has been found out so far; without any verdict the highest of rivals alone are marked."""
    from datadream.report.judge import Judged, best
    from datadream.report.tables import Compared

    first = best(table)
    order = {row.id: at for at, row in enumerate(table)}
    marks, untested = dict(first.marks), 0
    commands: dict[str, str] = {}
    pairs: list[Comparison] = []
    for found in verdicts:
        marks.update(found.judged.marks)
        commands.update(found.commands)
        pairs += found.judged.comparisons
        untested += found.judged.untested
    pairs.sort(key=lambda pair: order[pair.row.id])
    return Compared(table, Judged(marks, first.grounds, tuple(pairs), untested), notes, commands)


def read_cell(data: Data, pivot: Pivot, i: int, j: int) -> CellFacts:
    """What the keys m, a and i would do at a cell."""
    from datadream.home.facts import UNTOLD
    from datadream.home.state import read_dict
    from datadream.plans import again

    cell, of = pivot.cells[i][j], pivot.values(i, j)
    method = [row for row in pivot.table if (row.method, row.settings) == of["method"]]
    here = [row for row in pivot.table if (row.backbone, row.backbone_note) == of["backbone"]]
    there = [row for row in pivot.table if (row.source, row.source_note) == of["source"]]

    def record_of(row: Row) -> Mapping[str, Any]:
        return read_dict(data.home.run(row.run_ids[-1])) or {}

    like = cell.row or next((row for row in method if row in here), method[0])
    record = record_of(like)
    synth = str((record.get("jobs") or {}).get("generate", "")) if cell.row else ""
    sets = {
        seed: set_id
        for row in there
        if row.shots == of["shots"] and not row.version
        for seed, set_id in zip(row.seeds, row.set_ids, strict=True)
    }
    models = None
    if like not in here and cell.row is None:
        models = record_of(max(here, key=lambda row: len(row.traits.models)))

    def request(seeds: Sequence[int]) -> Request:
        wanted = again.Wanted(
            *(tuple(seeds), of["shots"], sets, of["data"], of["split"]), like=record_of(there[0]), models=models
        )
        return again.request(data.home, record, wanted)

    asked: list[Request | None] = []
    whys: list[str] = []
    for seeds in (cell.lacks, next_seeds(cell.row.seeds if cell.row else ())):
        found, why = None, ""
        try:
            found = request(seeds) if seeds else None
        except UserError as error:
            why = str(error)
        except UNTOLD:
            why = "the records of its runs can't be read"
        asked.append(found)
        whys.append(why)
    return CellFacts(asked[0], asked[1], whys[0], whys[1], synth, record)


def next_seeds(used: Sequence[int], count: int = MORE) -> list[int]:
    """The next `count` seeds that aren't used: 1, 5, 10, then 2, 3, 4, 6 and so on."""
    order = [*FIRST_SEEDS, *(seed for seed in range(2, len(used) + count + 12) if seed not in FIRST_SEEDS)]
    return [seed for seed in order if seed not in used][:count]


def offer(data: Data, request: Request, record: Mapping[str, Any] | None) -> Offer:
    """What `request` takes. Raises UserError as `datadream run` does, and when there is nothing to do."""
    from datadream.home.runs import is_like
    from datadream.home.sets import source_label
    from datadream.jobs import follow
    from datadream.plans import ask
    from datadream.plans.estimate import estimate

    plan = ask.plan(data.home, request, dry=True)
    if not plan.runs:
        raise UserError(f"{request.recipes[0]} has no data {' '.join(request.data)}")
    if not plan.missing:
        raise UserError("nothing to do: all results already exist")
    waiting = follow.waiting(data.home, {spec.id for spec in plan.missing})
    new = sum(spec.id not in waiting for spec in plan.missing)
    if not new:
        raise UserError("already queued", hint="2 shows the jobs")
    seeds = list(dict.fromkeys(run.set.shots.seed for run in plan.runs))
    first = plan.runs[0]
    shots, count = first.set.shots, counted(new, "job")
    about = [f"{first.recipe.name} {first.data}, {counted(shots.shots, 'shot')}, {source_label(shots)}."]
    found = estimate(data.home, plan)
    if new < len(plan.missing):
        already = len(plan.missing) - new
        about.append(f"{counted(already, 'more job')} already queued.")
    about += [
        f"{counted(plan.reused, 'finished artifact')} reused.",
        f"time: {found.time_text()}",
        f"disk: {found.disk_text()}",
        *ask.told(data.home, plan),
    ]
    if record is not None and not all(is_like(data.home, record, run) for run in plan.runs):
        about.append(CHANGED)
    question = f"Queue {count} for seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}?"
    return Offer(plan, question, "\n".join(about), f"{count} queued", line(request))


def line(request: Request) -> str:
    """The equal command line; it doesn't wait for the jobs."""
    from datadream.plans import request as requests

    return requests.command(request).replace("datadream run", "datadream run --detach", 1)


def queue(data: Data, plan: Plan) -> tuple[list[str], list[str]]:
    """Queue it and start the runner; the jobs that weren't queued before, which are what an undo may cancel, and what
    there is to say of the sets that were made for it.
    """
    from datadream.jobs import follow, spawn
    from datadream.jobs.losses import losses
    from datadream.plans import ask

    waiting = follow.waiting(data.home, {spec.id for spec in plan.missing})
    ready = ask.plan(data.home, plan.request) if plan.dry else plan
    jobs = ask.submit(data.home, ready)
    if jobs:
        spawn.ensure_runner(data.home)
    known = set(ask.told(data.home, plan))
    told = [line for line in ask.told(data.home, ready) if line not in known]
    return [job_id for job_id in jobs if job_id not in waiting], [
        *told,
        *(f"warning: {lost}" for lost in losses(data.home, jobs)),
    ]


def write_exports(data: Data, pivot: Pivot, formats: Sequence[str]) -> list[str]:
    """Write `pivot` in each format into the home's `exports`; the paths."""
    from datetime import datetime

    from datadream import durable
    from datadream.report.exports import export
    from tui.terminal.clipboard import shown_path

    folder = durable.make_dir(data.home.path / "exports")
    name = f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    paths = []
    for format_ in formats:
        path = folder / f"{name}.{format_}"
        durable.write_bytes(path, export(pivot, format_))
        paths.append(shown_path(path))
    return paths
