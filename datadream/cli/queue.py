"""`datadream queue`: slots, and holding everything back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream.cli.job import open_statuses
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from datadream.home.layout import Home

app = typer.Typer(no_args_is_help=True, help="The queue: device slots, pause and resume.")


@app.command()
def show(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show slots, their jobs, and what waits."""
    from datadream.home import queue
    from datadream.home.layout import open_home
    from datadream.jobs import devices, leader, orphans, watch
    from datadream.text import json_text, shown

    opened = open_home(home)
    settings, wrong = queue.look(opened)
    statuses = open_statuses(opened)
    by_slot = {status.slot: status.id for status in statuses if status.state in ("running", "cancelling")}
    slots = [
        {"slot": slot, "job": by_slot.get(slot), "taken": _is_taken(opened, slot)}
        for slot in devices.shown(opened, settings)
    ]
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status.state] = counts.get(status.state, 0) + 1
    why = watch.look(opened).why
    if json:
        kept = {**settings.model_dump(mode="json"), "slots": slots, "jobs": counts, "reason": why}
        typer.echo(json_text({"runner": leader.is_led(opened), **kept}, indent=2))
        return
    at_rest = "stopped (`datadream job watch` starts it)" if statuses and not settings.paused else "idle"
    open_ = "unusable" if wrong else "paused" if settings.paused else "open"
    typer.echo(f"runner {'running' if leader.is_led(opened) else at_rest}; queue {open_}")
    if why and not (settings.paused and not wrong):
        typer.echo(shown(why))
    for slot in slots:
        holder = slot["job"] or "free"
        if slot["taken"] and not slot["job"]:
            holder = orphans.in_words(opened, str(slot["slot"]), bool(leader.is_led(opened)))
        typer.echo(shown(f"{slot['slot']:<10} {holder}"))
    typer.echo(", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no open jobs")


def _is_taken(home: Home, slot: str) -> bool:
    """Whether anybody has the slot; one whose file can't be used has nobody."""
    from datadream.errors import UserError
    from datadream.home import queue

    try:
        return queue.is_taken(home, slot)
    except (OSError, UserError):
        return False


@app.command()
def free(
    slot: Annotated[str, typer.Argument(help="Slot, as `datadream queue show` names it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    home: HomeOption = None,
) -> None:
    """End processes that hold a slot without a running job."""
    import sys

    from datadream import locks
    from datadream.errors import UserError
    from datadream.home import queue
    from datadream.home.layout import open_home
    from datadream.jobs import orphans

    opened = open_home(home)
    settings = queue.read_settings(opened)
    if not opened.slot(slot).exists():
        raise UserError(f"no such slot: {slot!r}", hint="see `datadream queue show`")
    found = orphans.keepers(opened, slot)
    if not found:
        taken = "is held by a process that this user can't see" if _is_taken(opened, slot) else "is free"
        typer.echo(f"slot {slot} {taken}")
        raise typer.Exit(int(taken != "is free"))
    orphans.check_unneeded(opened, slot, found)
    for process in found:
        typer.echo(f"{locks.process(process.pid)}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("these processes would be ended", hint="confirm with --yes")
        typer.confirm(f"End {'it' if len(found) == 1 else 'them'}?", abort=True, err=True)
    ended = orphans.free(opened, slot, found, settings.grace_seconds)
    if len(ended) < len(found) or _is_taken(opened, slot):
        left = ", ".join(str(process.pid) for process in found if process not in ended) or "a new process"
        raise UserError(f"slot {slot} is still held by {left}", hint="see `datadream queue show`")
    typer.echo(f"slot {slot} is free: {len(ended)} ended")


@app.command()
def pause(home: HomeOption = None) -> None:
    """Stop starting jobs; running ones continue."""
    _change(home, paused=True)


@app.command()
def resume(home: HomeOption = None) -> None:
    """Resume starting jobs."""
    from datadream.jobs import spawn

    spawn.ensure_runner(_change(home, paused=False))


@app.command()
def restart(home: HomeOption = None) -> None:
    """Restart the runner with the tokens and proxies of this shell; running jobs continue."""
    from datadream.home.layout import open_home
    from datadream.jobs import spawn

    spawn.restart_runner(open_home(home))


@app.command("set")
def set_(
    slots: Annotated[
        str | None, typer.Option(help="e.g. cuda:0,cuda:1; cuda:0/0,cuda:0/1 for two jobs on one GPU; auto.")
    ] = None,
    reboot: Annotated[
        str | None, typer.Option(help="After a reboot: hold (jobs silent for over an hour) or resume.")
    ] = None,
    grace_seconds: Annotated[
        float | None, typer.Option(help="Seconds from SIGTERM to SIGKILL when a job is cancelled.")
    ] = None,
    retry_seconds: Annotated[
        float | None, typer.Option(help="Seconds before the first retry; doubles each time.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Change the queue's settings."""
    given = {"reboot": reboot, "grace_seconds": grace_seconds, "retry_seconds": retry_seconds}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if slots is not None:
        changes["slots"] = [] if slots == "auto" else [part.strip() for part in slots.split(",") if part.strip()]
    _change(home, **changes)


def _change(home: Path | None, **changes: Any) -> Home:
    from datadream.home import queue
    from datadream.home.layout import open_home

    opened = open_home(home)
    wrong = queue.look(opened)[1]
    queue.change(opened, **changes)
    if wrong:
        typer.echo(f"datadream: {wrong.partition(': ')[0]}: kept as queue.json.previous and rewritten", err=True)
    return opened
