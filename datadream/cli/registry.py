"""`datadream registry`: check, rebuild and back up the index of a home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadream.cli.listing import registry_of
from datadream.cli.options import HomeOption, JsonOption, read_path

app = typer.Typer(no_args_is_help=True, help="The registry: an index of the home's folders.")


@app.command()
def check(
    shallow: Annotated[bool, typer.Option("--shallow", help="Compare sizes only, not hashes.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Find missing, extra, changed and unreadable files, with advice. Exit code 1 if there are any."""
    from dataclasses import asdict

    from datadream.home.layout import open_home
    from datadream.text import counted, json_text, shown
    from store.check import check as find

    opened = open_home(home)
    registry = registry_of(opened)
    found = find(opened, registry, deep=not shallow)
    registry.close()
    if json:
        typer.echo(json_text([asdict(entry) for entry in found], indent=2))
    else:
        for entry in found:
            typer.echo(shown(f"{entry.kind}  {entry.path}: {entry.what}; {entry.advice}"))
        typer.echo(counted(len(found), "finding") if found else "no findings: all files match their records")
    if found:
        raise typer.Exit(1)


@app.command()
def rebuild(home: HomeOption = None) -> None:
    """Rebuild the registry from the folders."""
    from datadream.home.layout import open_home
    from datadream.text import shown
    from store import queries
    from store.index import rebuild as make

    registry = make(open_home(home), lambda text: typer.echo(text, err=True))
    nouns = ("set", "adapter", "synth", "classifier", "run", "job", "experiment")
    typer.echo(", ".join(f"{queries.count(registry, noun)} {noun}" for noun in nouns))
    problems = queries.problems(registry)
    registry.close()
    for path, what in problems:
        typer.echo(shown(f"skipped: {path}: {what}"), err=True)


@app.command()
def backup(
    file: Annotated[
        Path, typer.Argument(parser=read_path, metavar="FILE", help="Target file; overwritten if it exists.")
    ],
    home: HomeOption = None,
) -> None:
    """Copy the registry; safe while others write."""
    from datadream.home.layout import open_home
    from datadream.text import shown

    registry = registry_of(open_home(home))
    try:
        registry.backup(file.absolute())
    finally:
        registry.close()
    typer.echo(shown(str(file)))
