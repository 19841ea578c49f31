"""`datadream tag` and `datadream note`: your words on anything with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli import complete
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from pathlib import Path

    from datadream.home.layout import Home

app = typer.Typer(no_args_is_help=True, help="Tags on runs, jobs, artifacts and experiments.")
NOUNS = ("run", "classifier", "synth", "adapter", "set", "job", "experiment")
IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Id prefix, or the name of a set or experiment.", autocompletion=complete.anything
    ),
]


@app.command()
def add(
    id_: IdArgument, words: Annotated[list[str], typer.Argument(metavar="TAG...")], home: HomeOption = None
) -> None:
    """Add tags."""
    from datadream.home.labels import tag

    opened, subject = subject_of(home, id_)
    _print_tags(tag(opened, subject, add=words).tags)


@app.command("rm")
def remove(
    id_: IdArgument, words: Annotated[list[str], typer.Argument(metavar="TAG...")], home: HomeOption = None
) -> None:
    """Remove tags."""
    from datadream.home.labels import tag

    opened, subject = subject_of(home, id_)
    _print_tags(tag(opened, subject, remove=words).tags)


@app.command("ls")
def list_(json: JsonOption = False, home: HomeOption = None) -> None:
    """List all tags and what carries them."""
    from datadream.cli.listing import registry_of
    from datadream.home.layout import open_home
    from datadream.text import json_text, shown
    from store import queries

    registry = registry_of(open_home(home))
    found = queries.tags(registry)
    registry.close()
    if json:
        typer.echo(json_text(found, indent=2))
        return
    for label, subjects in found.items():
        typer.echo(shown(f"{label}  {' '.join(subjects)}"))
    if not found:
        typer.echo("no tags yet: `datadream tag add ID WORD` adds one")


def note(
    id_: IdArgument,
    text: Annotated[str | None, typer.Argument(help="Text of the note; omit it to print the note.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the note.")] = False,
    home: HomeOption = None,
) -> None:
    """Write or print a note on anything with an id."""
    from datadream.home import labels
    from datadream.text import shown

    opened, subject = subject_of(home, id_)
    if text is not None or clear:
        labels.note(opened, subject, "" if clear else text or "")
        return
    found = labels.read_labels(opened, subject).note
    typer.echo("\n".join(shown(line) for line in found.split("\n")) if found else "no note")


def subject_of(home: Path | None, text: str) -> tuple[Home, str]:
    """The home, and the id of what `text` begins the id of, or names."""
    from datadream.canonical import short_id
    from datadream.cli.listing import registry_of
    from datadream.home.layout import open_home
    from datadream.home.sets import read_name
    from store import queries

    opened = open_home(home)
    named = read_name(opened.set_name(short_id(text)))
    if named is not None:
        return opened, str(named["id"])
    if opened.experiment(short_id(["experiment", text])).exists():
        return opened, short_id(["experiment", text])
    registry = registry_of(opened)
    try:
        return opened, queries.resolve(registry, text, NOUNS)[1]
    finally:
        registry.close()


def _print_tags(tags: tuple[str, ...]) -> None:
    from datadream.text import shown

    typer.echo(" ".join(shown(word) for word in tags) or "no tags")
