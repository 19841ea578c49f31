"""The whole comparison: runs, grouped, judged, and what a reader must know of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from datadream.errors import UserError
from datadream.home.facts import UNTOLD
from datadream.home.layout import Home
from datadream.home.state import read_dict
from datadream.plans import again
from datadream.plans import request as requests
from datadream.report.collect import answers, collect
from datadream.report.judge import Ground, Judged, judge
from datadream.report.notes import ungrounded
from datadream.report.rows import Row, rows
from datadream.report.tables import Compared


def compare_home(
    home: Home, only: Collection[str] | None = None, split: str | None = None, doubtful: Collection[str] = ()
) -> Compared:
    """Every recorded run (or those with ids in `only`, of that split), every predictions file read.

    `doubtful` may be meant too: they are told of when they are no good.
    """
    found = collect(home, only, split, doubtful)
    table = rows(found.runs)
    judged = judge(table.rows, answers(home, [run_id for row in table.rows for run_id in row.run_ids]))
    return Compared(table.rows, judged, [*found.notes, *table.notes], commands(home, judged))


def commands(home: Home, judged: Judged) -> dict[str, str]:
    """Of each row that has no seed in common with its rivals, by its id: the command that runs what it lacks."""
    return {row.id: command(home, ground, row, seeds) for ground, row, seeds in ungrounded(judged.grounds)}


def command(home: Home, ground: Ground, row: Row, seeds: Sequence[int]) -> str:
    """What runs `row` with seeds that its rivals have, on their very sets; or why there is no such command."""
    sets = {seed: set_id for other in ground.rows for seed, set_id in zip(other.seeds, other.set_ids, strict=True)}
    try:
        record = read_dict(home.run(row.run_ids[-1])) or {}
        return requests.command(again.request(home, record, again.Wanted(tuple(seeds), row.shots, sets)))
    except UserError as error:
        return f"can't be repeated: {error.message}"
    except UNTOLD:
        return "can't be repeated: its record can't be read"
