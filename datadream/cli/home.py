"""`datadream home`: where everything lies, and who may look."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import HomeOption, JsonOption
from datadream.text import shown

app = typer.Typer(no_args_is_help=True, help="The home: the folder that holds everything.")


@app.command()
def show(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show path, permissions, size and file system features."""
    import shutil
    import stat
    from dataclasses import asdict

    from datadream.home import mounts
    from datadream.home.layout import open_home
    from datadream.text import json_text, size

    opened = open_home(home)
    found = mounts.features(opened.registry_lock)
    locks = "kernel" if mounts.has_kernel_locks(opened.registry_lock) else "files"
    parts = {}
    for name in ("artifacts", "jobs", "runs", "trash"):
        files = [path for path in (opened.path / name).rglob("*") if not path.is_dir()]
        parts[name] = sum(path.lstat().st_size for path in files)
    mode = stat.filemode(opened.path.stat().st_mode)
    free = shutil.disk_usage(opened.path).free
    if json:
        storage = {**asdict(found), "locks": locks, "distrust": found.locks}
        content = {"path": str(opened.path), "mode": mode, "bytes": parts, "free": free, "storage": storage}
        typer.echo(json_text(content, indent=2))
        return
    typer.echo(f"{shown(str(opened.path))}  {mode}  {size(free)} free")
    for name, count in parts.items():
        typer.echo(f"{name:<10} {size(count)}")
    why = f" ({shown(found.locks)})" if found.locks else "" if locks == "kernel" else " (found by another host)"
    missing = [word for word, there in (("hard links", found.links), ("fsync", found.fsync)) if not there]
    lacks = f", without {' and '.join(missing)}" if missing else ""
    typer.echo(
        f"storage    {found.kind or 'unknown'}{lacks}, locks by {'the kernel' if locks == 'kernel' else 'files'}{why}"
    )


@app.command()
def init(
    shared: Annotated[bool, typer.Option("--shared", help="Share it with its group.")] = False,
    home: HomeOption = None,
) -> None:
    """Create a home: private (0700), or shared with its group."""
    from datadream.home.layout import init_home

    made = init_home(home, shared)
    typer.echo(f"{shown(str(made.path))}  {'shared with its group' if shared else 'private'}")
