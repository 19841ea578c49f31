"""What every listing has in common: filter, sort, columns, pages, JSON or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream import durable
from datadream.cli.options import HomeOption, JsonOption
from datadream.errors import UserError
from datadream.text import cell, json_text
from datadream.text import shown as shown_text
from store.where import EXAMPLES

if TYPE_CHECKING:
    from datadream.home.layout import Home
    from store.registry import Registry

WhereOption = Annotated[str | None, typer.Option("--where", "-w", help=f'Filter, e.g. "{EXAMPLES["run"]}".')]
LIMIT_MAX, PAGE_MAX = 100_000, 1_000_000_000
SortOption = Annotated[str, typer.Option("--sort", help="Column to sort by; -NAME: descending.")]
ColumnsOption = Annotated[str | None, typer.Option("--columns", help="Columns to show, e.g. id,state,title.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=LIMIT_MAX, help="Rows per page.")]
PageOption = Annotated[int, typer.Option("--page", min=1, max=PAGE_MAX, help="Page number.")]


def registry_of(home: Home) -> Registry:
    """The home's registry, up to date; what there is to say of it goes to stderr.

    On a full or failing disk it is made in memory, from the old one and the folders.
    """
    from store.index import open_in_memory, open_registry

    def say(text: str) -> None:
        typer.echo(shown_text(text), err=True)

    try:
        return open_registry(home, None, say)
    except (UserError, OSError) as error:
        if not durable.is_storage(error):
            raise
        what = f"{error.message} ({error.at})" if isinstance(error, UserError) else str(error)
        say(f"datadream: reading the folders instead, as the registry can't be written: {what}")
        return open_in_memory(home)


def add_list(app: typer.Typer, noun: str, shown: Sequence[str], about: str, empty: str, by: str = "") -> None:
    """Give `app` an `ls` of `noun`: `shown` are the columns nobody asked for, `empty` is said when there is nothing."""
    filter_ = typer.Option(None, "--where", "-w", help=f'Filter, e.g. "{EXAMPLES[noun]}".')

    @app.command("ls", help=about)
    def list_(
        json: JsonOption = False,
        where: str | None = filter_,
        sort: SortOption = by,
        columns: ColumnsOption = None,
        limit: LimitOption = 50,
        page: PageOption = 1,
        home: HomeOption = None,
    ) -> None:
        """Print a page."""
        _list(
            home, noun, shown, json=json, where=where, sort=sort, columns=columns, limit=limit, page=page, empty=empty
        )


def _list(
    home: Path | None,
    noun: str,
    shown: Sequence[str],
    *,
    json: bool,
    where: str | None,
    sort: str,
    columns: str | None,
    limit: int,
    page: int,
    empty: str,
) -> None:
    """Print a page of `noun`: whole rows as JSON, else the columns `shown` or asked for."""
    from datadream.home.layout import open_home
    from store import nouns, queries
    from store.where import parse_where

    registry = registry_of(open_home(home))
    try:
        conditions = parse_where(where or "")
        rows = queries.page(registry, noun, conditions, sort, limit, (page - 1) * limit)
        total = len(rows) if len(rows) < limit and page == 1 else queries.count(registry, noun, conditions)
        odd = len(queries.problems(registry))
    finally:
        registry.close()
    chosen = [name.strip() for name in columns.split(",") if name.strip()] if columns else list(shown)
    unknown = [name for name in chosen if name not in nouns.columns(noun)]
    if unknown:
        raise UserError(f"unknown column {unknown[0]!r}; columns: {', '.join(nouns.columns(noun))}")
    if json:
        listed = [{name: row[name] for name in chosen} for row in rows] if columns else rows
        typer.echo(json_text(listed, indent=2))
    elif rows:
        print_rows(rows, chosen)
    elif total:
        typer.echo(f"no page {page}: {total} rows, {limit} per page", err=True)
    else:
        typer.echo(f"no matching {noun}" if where else empty)
    if odd:
        what = f"{odd} files or folders" if odd > 1 else "1 file or folder"
        typer.echo(f"{what} of this home can't be read: see `datadream registry check`", err=True)
    if rows and total > len(rows):
        last = (page - 1) * limit + len(rows)
        rest = f"; next: --page {page + 1}" if last < total else ""
        typer.echo(f"{last - len(rows) + 1} to {last} of {total}{rest}", err=True)


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """A table as wide as the terminal; when piped, whole lines in aligned columns."""
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[cell(name, row[name]) for name in columns] for row in rows]
    if sys.stdout is None or not sys.stdout.isatty():  # closed, as by >&-
        widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
        for line in [list(columns), *cells]:
            typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        last = number == len(columns) - 1
        table.add_column(name, justify="right" if numeric else "left", no_wrap=not last, overflow="ellipsis")
    for line in cells:
        table.add_row(*(Text(text) for text in line))
    Console().print(table)
