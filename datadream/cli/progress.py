"""Live progress: bars with an ETA on a terminal, plain lines when piped, nothing when quiet. All on stderr."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from datadream.text import shown

if TYPE_CHECKING:
    from datadream.home.spec import JobSpec
    from datadream.stages.emit import Event

TOLD = ("queued", "lost", "failed", "cancelled")  # changes of state that are told, when they have a reason
Follow = Callable[["JobSpec", "Event"], None]


@contextmanager
def following(titles: Mapping[str, str], quiet: bool, told: Collection[str] = ()) -> Iterator[Follow]:
    """Yield a callback for job events; `titles` names each job that will run, by id.

    Each warning is shown once, and none of those `told` already (as `warning: ...`).
    """
    titles = {job_id: shown(title) for job_id, title in titles.items()}
    console = Console(stderr=True)
    known = {shown(line) for line in told}

    def warning(event: Event) -> str:
        line = shown(f"warning: {event.get('text', '')}") if event.get("kind") == "warning" else ""
        if line in known:
            return ""
        known.add(line)
        return line

    if quiet:
        yield lambda spec, event: tell_notice(event)
    elif console.is_terminal:
        yield from _bars(console, titles, warning)
    else:
        yield from _lines(console, titles, warning)


def tell_notice(event: Event) -> None:
    """Say why no job starts, on stderr; nothing of any other event."""
    if event.get("kind") == "notice":
        typer.echo(f"datadream: {shown(str(event['text']))}", err=True)


def _bars(console: Console, titles: Mapping[str, str], warning: Callable[[Event], str]) -> Iterator[Follow]:
    columns = (
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        whole = progress.add_task("[bold]all jobs", total=len(titles), note="")
        tasks: dict[str, TaskID] = {}
        losses: dict[str, str] = {}

        def follow(spec: JobSpec, event: Event) -> None:
            kind = event.get("kind")
            if kind == "notice":
                progress.console.print(f"[yellow]no job can start[/] {escape(shown(str(event['text'])))}")
                return
            if spec.id not in tasks:
                tasks[spec.id] = progress.add_task(escape(titles[spec.id]), total=None, note="")
            task = tasks[spec.id]
            if kind == "progress":
                note = losses.get(spec.id, "") if event["unit"] == "steps" else shown(str(event["unit"]))
                progress.update(task, completed=event["done"], total=event["total"], note=note)
            elif line := warning(event):
                progress.console.print(escape(line), style="yellow")
            elif kind == "metric" and isinstance(event.get("loss"), int | float):
                losses[spec.id] = f"loss {event['loss']:.3f}"
            elif kind == "state" and event["state"] in TOLD and event["reason"]:
                progress.console.print(
                    f"[yellow]{event['state']}[/] {escape(titles[spec.id])}: {escape(shown(event['reason']))}"
                )
            elif kind == "done":
                progress.update(task, visible=False)
                progress.advance(whole)
                progress.console.print(f"[green]done[/] {escape(titles[spec.id])}  [dim]{event['seconds']:.0f} s[/]")

        yield follow


def _lines(console: Console, titles: Mapping[str, str], warning: Callable[[Event], str]) -> Iterator[Follow]:
    """A line when a job starts, at each quarter, and when it is done."""
    quarter: dict[str, int] = {}
    finished = 0

    def follow(spec: JobSpec, event: Event) -> None:
        nonlocal finished
        kind, title = event.get("kind"), titles[spec.id]
        text = warning(event)
        if kind == "notice":
            tell_notice(event)
        elif kind == "started":
            text = f"start {title}"
        elif kind == "state" and event["state"] in TOLD and event["reason"]:
            text = f"{event['state']} {title}: {shown(event['reason'])}"
        elif kind == "progress" and event["unit"] != "images checked":
            now = 4 * int(event["done"]) // max(1, int(event["total"]))
            if quarter.get(spec.id, 0) < now < 4:
                quarter[spec.id] = now
                text = f"      {title}: {event['done']}/{event['total']} {shown(str(event['unit']))}"
        elif kind == "done":
            finished += 1
            text = f"done  {title} in {event['seconds']:.0f} s ({finished}/{len(titles)})"
        if text:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

    yield follow
