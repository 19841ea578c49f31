"""`datadream gc`: what can go, what it frees, and how to bring it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream.cli.options import HomeOption, JsonOption
from datadream.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datadream.home.layout import Home
    from datadream.home.trash import Entry

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def gc(
    apply: Annotated[bool, typer.Option("--apply", help="Move to the trash; the default is to list only.")] = False,
    jobs: Annotated[bool, typer.Option("--jobs", help="Include folders of finished jobs.")] = False,
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="TIME", help="Keep anything changed within this time, e.g. 30m, 1h, 2d or 0."),
    ] = "1h",
    trash: Annotated[bool, typer.Option("--trash", help="List the trash.")] = False,
    restore: Annotated[
        str | None, typer.Option("--restore", metavar="ID", help="Restore an entry of the trash to its place.")
    ] = None,
    empty_trash: Annotated[
        bool, typer.Option("--empty-trash", help="Empty the trash; with --apply, delete without using the trash.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List garbage: leftovers, and artifacts that no run, name, tag, note or mark keeps."""
    from datadream.home import trash as library_trash
    from datadream.home.layout import open_home
    from datadream.text import shown

    kept = _seconds(grace)
    opened = open_home(home)
    if restore is not None:
        entry = library_trash.restore(opened, restore)
        typer.echo(f"restored {shown(entry.origin)}")
        return
    if trash:
        _list_trash(library_trash.entries(opened), json)
        return
    if apply or not empty_trash:
        _collect(opened, apply, jobs, kept, json, quiet=json and empty_trash)
    if empty_trash:
        _report_emptied(library_trash.empty(opened), json)
    elif apply:
        library_trash.empty(opened, library_trash.expired())


def _collect(home: Home, apply: bool, jobs: bool, grace: float, json: bool, quiet: bool) -> None:
    """List what can go, or move it to the trash."""
    from dataclasses import asdict

    from datadream.home import gc as library_gc
    from datadream.home.trash import KEPT
    from datadream.text import json_text, shown, size

    everything = library_gc.plan(home, jobs)
    found = library_gc.plan(home, jobs, grace) if grace else everything
    young = len(everything) - len(found)
    if apply:
        found = library_gc.apply(home, found, grace)
    total = sum(item.size for item in found)
    if quiet:
        return
    if json:
        content = {"applied": apply, "bytes": total, "young": young, "items": [asdict(item) for item in found]}
        typer.echo(json_text(content, indent=2))
        return
    for item in found:
        typer.echo(f"{size(item.size):>10}  {shown(item.path)}: {shown(item.why)}")
    if found and apply:
        typer.echo(
            f"{size(total)} moved to the trash, kept {KEPT.days} days: `datadream gc --restore ID` "
            "restores an entry, `datadream gc --empty-trash` frees the space now"
        )
    elif found:
        typer.echo(f"{size(total)} can be freed with --apply")
    else:
        typer.echo("nothing to remove")
    if young:
        typer.echo(f"{young} more kept: changed within the grace time (--grace)", err=True)


def _list_trash(entries: Sequence[Entry], json: bool) -> None:
    from datadream.text import json_text, shown, size

    rows: list[dict[str, Any]] = [
        {
            "id": entry.id,
            "origin": entry.origin,
            "since": entry.since.isoformat(timespec="seconds"),
            "size": entry.size,
            "path": str(entry.path),
        }
        for entry in entries
    ]
    if json:
        typer.echo(json_text(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['since'][:19]}  {size(row['size']):>10}  {shown(row['origin'])}")
    if not rows:
        typer.echo("the trash is empty")


def _report_emptied(gone: Sequence[Entry], json: bool) -> None:
    from datadream.text import json_text

    if json:
        typer.echo(json_text({"emptied": [entry.origin for entry in gone]}, indent=2))
    else:
        typer.echo(f"trash emptied: {len(gone)} entr{'ies' if len(gone) != 1 else 'y'} deleted")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise UserError(f"invalid --grace {text!r}", hint="e.g. 30m, 1h, 2d or 0")
    return float(found[1]) * UNITS[found[2]]
