"""`datadream synth mark` and `marks`: bad images, recorded, and left out by `run --without-marked`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli import complete
from datadream.cli.listing import registry_of
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from pathlib import Path

    from datadream.home.layout import Home

SynthArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id, or a unique prefix of it.", autocompletion=complete.synthetics)
]


def add_marks(app: typer.Typer) -> None:
    """Put both commands beside `synth ls` and `show`."""
    app.command()(mark)
    app.command()(marks)


def mark(
    id_: SynthArgument,
    images: Annotated[list[str], typer.Argument(metavar="CLASS[/INDEX]...", help="Classes, or images as CLASS/INDEX.")],
    undo: Annotated[bool, typer.Option("--undo", help="Remove the marks.")] = False,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    home: HomeOption = None,
) -> None:
    """Mark images or classes as bad; `run --without-marked` trains without them."""
    from datadream.home import marks as library
    from datadream.text import counted, shown

    opened, synth_id = _synthetic(home, id_)
    names = library.names_of(opened, synth_id, images)
    left = library.unmark(opened, synth_id, names) if undo else library.mark(opened, synth_id, names, reason)
    typer.echo(
        f"{'unmarked' if undo else 'marked'} {shown(', '.join(names))}: "
        f"{counted(len(left.images), 'image')} and {counted(len(left.classes), 'class')} marked"
    )


def marks(id_: SynthArgument, json: JsonOption = False, home: HomeOption = None) -> None:
    """List marks and their reasons."""
    from datadream.home.marks import read_marks
    from datadream.text import json_text, shown

    opened, synth_id = _synthetic(home, id_)
    found = read_marks(opened, synth_id)
    if json:
        content = {"id": synth_id, "classes": _ordered(found.classes), "images": _ordered(found.images)}
        typer.echo(json_text(dict(sorted(content.items())), indent=2))
        return
    for what, entries in (("class", found.classes), ("image", found.images)):
        for name, why in sorted(entries.items()):
            typer.echo(f"{what}  {shown(name)}  {shown(why)}".rstrip())
    if not found:
        typer.echo("no marks: `datadream synth mark ID CLASS/INDEX` marks an image")


def _ordered(reasons: dict[str, str]) -> dict[str, str]:
    return dict(sorted(reasons.items()))


def _synthetic(path: Path | None, text: str) -> tuple[Home, str]:
    from datadream.home.layout import open_home
    from store import queries

    opened = open_home(path)
    registry = registry_of(opened)
    try:
        return opened, queries.resolve(registry, text, ["synth"])[1]
    finally:
        registry.close()
