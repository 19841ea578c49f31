"""`datadream gc`: what can go, and what it frees."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import HomeOption, JsonOption


def gc(
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; without this, it is only listed.")] = False,
    jobs: Annotated[bool, typer.Option("--jobs", help="The folders of jobs that are over, too.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what nothing needs: leftovers, and artifacts that no run, name, tag or note keeps."""
    from dataclasses import asdict

    from datadream.jobs import gc as library_gc
    from datadream.jobs.home import open_home
    from datadream.text import json_text, shown, size

    opened = open_home(home)
    found = library_gc.plan(opened, jobs)
    if apply:
        found = library_gc.apply(opened, found)
    if json:
        content = {"applied": apply, "bytes": sum(item.size for item in found), "items": [asdict(i) for i in found]}
        typer.echo(json_text(content, indent=2))
        return
    for item in found:
        typer.echo(shown(f"{size(item.size):>10}  {item.path}: {item.why}"))
    total = size(sum(item.size for item in found))
    typer.echo(f"{total} {'freed' if apply else 'would be freed; --apply does it'}" if found else "nothing can go")
