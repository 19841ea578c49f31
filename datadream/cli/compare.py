"""`datadream compare`: the accuracy table of everything run in a home."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datadream import durable
from datadream.cli.listing import WhereOption, registry_of
from datadream.cli.options import HomeOption, read_path, words
from datadream.errors import UserError
from datadream.text import shown

if TYPE_CHECKING:
    from datadream.home.layout import Home
    from store.where import Condition

FORMATS = ("table", "json", "csv", "md", "latex", "html", "png")
NOTHING = "nothing to compare yet: start with `datadream run real-only --source digits --shots 4`"


def compare(
    format_: Annotated[str, typer.Option("--format", "-f", help="table, json, csv, md, latex, html or png.")] = "table",
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Only runs on this set (name or id). Repeatable.")
    ] = None,
    where: WhereOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="test, or val for runs made with -o classify.evaluate=val. Default: test, unless --where names one."
        ),
    ] = None,
    pivot: Annotated[
        str | None,
        typer.Option(
            "--pivot",
            metavar="ROWS,COLUMNS",
            help="Rows and columns, e.g. method+data,shots; of method, data, shots, source, backbone, split.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", parser=read_path, metavar="PATH", help="Write to this file; required for png."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Compare methods: mean and standard deviation over seeds, with intervals."""
    from datadream.home.layout import open_home
    from datadream.home.runs import read_records
    from datadream.home.sets import find_set
    from store.where import parse_where

    words(format_, "--format", FORMATS)
    words(split or "test", "--split", ("test", "val"))
    conditions = parse_where(where or "")
    if split is None and not any(condition.name == "split" for condition in conditions):
        split = "test"
    opened = open_home(home)
    only: set[str] | None = None
    doubtful: set[str] = set()
    if sets:
        ids = {find_set(opened, name).id for name in sets}
        records = read_records(opened)
        only = {record["id"] for record in records if record["set"] in ids}
        doubtful = {record["id"] for record in records}
    if conditions:
        found, bad = matching(opened, conditions)
        only = found if only is None else found & only
        doubtful = doubtful | bad
    nothing = "no run matches" if conditions else NOTHING
    if pivot is None and output is None and format_ not in ("html", "png"):
        print_table(opened, only, format_, split, nothing, doubtful)
        return
    if format_ == "png" and output is None:
        raise UserError("--format png needs --output", hint="e.g. --output table.png")
    content = turned_table(opened, only, format_, split, pivot, nothing, doubtful)
    if output is None:
        typer.echo(content.decode(), nl=False)
    else:
        durable.write_bytes(output, content)
        typer.echo(shown(f"written: {output}"), err=True)


def matching(home: Home, where: Sequence[Condition]) -> tuple[set[str], set[str]]:
    """Ids of the runs of which all that holds, and of those whose records can't be believed, so that none can tell.

    Raises UserError for a column that isn't one.
    """
    from store import queries

    registry = registry_of(home)
    try:
        return set(queries.keys(registry, "run", where)), {found[0] for found in queries.refused(registry, where)}
    finally:
        registry.close()


def turned_table(
    home: Home,
    only: Collection[str] | None,
    format_: str,
    split: str | None,
    pivot: str | None,
    nothing: str = NOTHING,
    doubtful: Collection[str] = (),
) -> bytes:
    """Runs as a table with chosen rows and columns, the best marked, and what isn't significantly different from it."""
    from datadream.report import exports
    from datadream.report import pivot as pivots
    from datadream.report.assemble import compare_home

    by_rows, by_columns = pivots.parse_pivot(pivot) if pivot is not None else (pivots.ROWS, pivots.COLUMNS)
    table = compare_home(home, only, split, doubtful)
    if not table.rows:
        raise UserError(" ".join([nothing, *table.warnings]))
    found = pivots.pivot(table, by_rows, by_columns)
    if format_ != "table":
        return exports.export(found, "tex" if format_ == "latex" else format_)
    from rich.console import Console

    console = Console()
    with console.capture() as drawn:
        console.print(exports.rich_pivot(found))
    return drawn.get().encode()


def print_table(
    home: Home,
    only: Collection[str] | None,
    format_: str,
    split: str | None = None,
    nothing: str = NOTHING,
    doubtful: Collection[str] = (),
) -> None:
    """Rows of the runs in `only` (None: all of `split`) as `format_`, and paired comparisons under a table."""
    from datadream.report.assemble import compare_home
    from datadream.report.tables import render, rich_table

    table = compare_home(home, only, split, doubtful)
    if format_ != "table":
        typer.echo(render(table, format_))
        if format_ in ("json", "csv"):  # which have no place for words
            for warning in table.warnings:
                typer.echo(shown(warning), err=True)
        return
    if not table.rows:
        typer.echo("\n".join(map(shown, [nothing, *table.warnings])))
        return
    from rich.console import Console

    console = Console()
    console.print(rich_table(table))
    for line in table.against:
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)


def write_json_rows(home: Home, only: Collection[str], path: Path) -> None:
    """The rows of the runs in `only` as a JSON file."""
    from datadream.report.assemble import compare_home
    from datadream.report.tables import render

    durable.write_text(path, render(compare_home(home, only), "json").rstrip("\n") + "\n")
