"""`datadream queue`: slots, and holding everything back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream.cli.job import open_statuses
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from datadream.jobs.home import Home

app = typer.Typer(no_args_is_help=True, help="The queue: device slots, pause and resume.")


@app.command()
def show(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show slots, what has them, and what waits."""
    import json as library

    from datadream.jobs import devices, leader, queue
    from datadream.jobs.home import open_home

    opened = open_home(home)
    settings = queue.read_settings(opened)
    statuses = open_statuses(opened)
    by_slot = {status.slot: status.id for status in statuses if status.state in ("running", "cancelling")}
    slots = [
        {"slot": slot, "job": by_slot.get(slot), "taken": queue.is_taken(opened, slot)}
        for slot in devices.shown(opened, settings)
    ]
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status.state] = counts.get(status.state, 0) + 1
    if json:
        content = {"runner": leader.is_led(opened), **settings.model_dump(mode="json"), "slots": slots, "jobs": counts}
        typer.echo(library.dumps(content, indent=2))
        return
    away = "away, `datadream job watch` starts it" if statuses and not settings.paused else "not needed"
    typer.echo(f"runner {'alive' if leader.is_led(opened) else away}; queue {'paused' if settings.paused else 'open'}")
    for slot in slots:
        holder = slot["job"] or ("held by a process that outlives its job" if slot["taken"] else "free")
        typer.echo(f"{slot['slot']:<10} {holder}")
    typer.echo(", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no open jobs")


@app.command()
def pause(home: HomeOption = None) -> None:
    """Start no more jobs; running ones go on."""
    _change(home, paused=True)


@app.command()
def resume(home: HomeOption = None) -> None:
    """Start jobs again."""
    from datadream.jobs import spawn

    spawn.ensure_runner(_change(home, paused=False))


@app.command()
def restart(home: HomeOption = None) -> None:
    """Start the runner again with the tokens and proxies of this shell; running jobs go on."""
    from datadream.jobs import spawn
    from datadream.jobs.home import open_home

    spawn.restart_runner(open_home(home))


@app.command("set")
def set_(
    slots: Annotated[
        str | None, typer.Option(help="As cuda:0,cuda:1; cuda:0/0,cuda:0/1 for two jobs on one GPU; auto.")
    ] = None,
    reboot: Annotated[str | None, typer.Option(help="After a reboot: hold jobs older than an hour, or resume.")] = None,
    grace_seconds: Annotated[float | None, typer.Option(help="Between asking a worker to stop and ending it.")] = None,
    retry_seconds: Annotated[float | None, typer.Option(help="Before the second try; doubles each time.")] = None,
    home: HomeOption = None,
) -> None:
    """Change the queue's settings."""
    given = {"reboot": reboot, "grace_seconds": grace_seconds, "retry_seconds": retry_seconds}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if slots is not None:
        changes["slots"] = [] if slots == "auto" else [part.strip() for part in slots.split(",") if part.strip()]
    _change(home, **changes)


def _change(home: Path | None, **changes: Any) -> Home:
    from pydantic import ValidationError

    from datadream.errors import UserError
    from datadream.jobs import queue
    from datadream.jobs.home import open_home

    opened = open_home(home)
    try:
        settings = queue.QueueSettings(**{**queue.read_settings(opened).model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {first['msg']}", hint="see `datadream queue set --help`") from error
    queue.write_settings(opened, settings)
    return opened
