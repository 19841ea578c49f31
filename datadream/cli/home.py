"""`datadream home`: where everything lies, and who may look."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import HomeOption, JsonOption
from datadream.text import shown

app = typer.Typer(no_args_is_help=True, help="The home: the folder everything is in.")


@app.command()
def show(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show its path, rights and size."""
    import shutil
    import stat

    from datadream.jobs.home import open_home
    from datadream.text import json_text, size

    opened = open_home(home)
    parts = {}
    for name in ("artifacts", "jobs", "runs"):
        files = [path for path in (opened.path / name).rglob("*") if not path.is_dir()]
        parts[name] = sum(path.lstat().st_size for path in files)
    mode = stat.filemode(opened.path.stat().st_mode)
    free = shutil.disk_usage(opened.path).free
    if json:
        typer.echo(json_text({"path": str(opened.path), "mode": mode, "bytes": parts, "free": free}, indent=2))
        return
    typer.echo(f"{shown(str(opened.path))}  {mode}  {size(free)} free")
    for name, count in parts.items():
        typer.echo(f"{name:<10} {size(count)}")


@app.command()
def init(
    shared: Annotated[bool, typer.Option("--shared", help="For everybody in its group, not for you alone.")] = False,
    home: HomeOption = None,
) -> None:
    """Make a home: private (0700), or shared with its group."""
    from datadream.jobs.home import init_home

    made = init_home(home, shared)
    typer.echo(f"{shown(str(made.path))}  {'shared with its group' if shared else 'private'}")
