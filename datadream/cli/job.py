"""`datadream job`: what is queued, running and over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream.cli import complete
from datadream.cli.listing import add_list
from datadream.cli.options import MOST_PRIORITY, HomeOption, JsonOption, QuietOption
from datadream.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datadream.home.layout import Home
    from datadream.home.state import Status

app = typer.Typer(no_args_is_help=True, help="Jobs: one stage of a run each, in a folder of its own.")
EXIT_TIME = 124
NONE_OPEN = "no open jobs; see `datadream job ls`"


Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID...]", help="Job ids, or unique prefixes of them.", autocompletion=complete.jobs),
]
OneId = Annotated[
    str, typer.Argument(metavar="ID", help="Job id, or a unique prefix of it.", autocompletion=complete.jobs)
]
AllOption = Annotated[bool, typer.Option("--all", help="All open jobs.")]


add_list(
    app,
    "job",
    ("id", "state", "stage", "progress", "attempts", "slot", "title", "reason"),
    "List jobs, newest first.",
    "no jobs yet: `datadream run ...` queues some",
)


@app.command()
def show(job: OneId, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a job: state, inputs, history and the end of its log."""
    from datadream.home import state, variables
    from datadream.home.layout import open_home
    from datadream.jobs import follow
    from datadream.text import json_text, shown

    opened = open_home(home)
    job_id = state.find_job(opened, job)
    status, spec = state.derive(opened, job_id), state.read_spec(opened, job_id)
    lines, asked = state.history(opened.job(job_id)), state.read_request(opened, job_id)
    if json:
        content = {
            **as_row(status),
            "spec": spec.model_dump(mode="json"),
            "history": lines,
            "asked": dict(asked.environment or {}),
            "environment": state.read_dict(opened.files(job_id).environment),
            "folder": str(opened.job(job_id)),
        }
        typer.echo(json_text(content, indent=2))
        return
    typer.echo(f"{job_id}  {shown(status.title)}")
    typer.echo(f"{status.state}{': ' + shown(status.reason) if status.reason else ''}")
    if asked.environment or asked.noted:
        typer.echo(f"settings {shown(variables.in_words(asked.environment or {}, asked.noted))}")
    progress = shown(f"{status.done}/{status.total} {status.unit}")
    typer.echo(f"makes {status.kind} {spec.id}; {progress}, attempt {status.attempts}")
    for role, parent in sorted(spec.inputs.items()):
        typer.echo(shown(f"from {role} {parent}"))
    for line in lines:
        reason = f"  {line['reason']}" if line.get("reason") else ""
        typer.echo(shown(f"{line['seq']:>4}  {str(line['at'])[:19]}  {line['state']}{reason}"))
    for text in follow.last_lines(opened, job_id):
        typer.echo(f"  | {shown(text)}")
    typer.echo(shown(f"folder {opened.job(job_id)}"))


@app.command()
def log(
    job: OneId,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Print the last N lines; 0: all.")] = 0,
    home: HomeOption = None,
) -> None:
    """Print a job's log and events."""
    import time

    from datadream.home import state
    from datadream.home.layout import open_home
    from datadream.text import shown

    opened = open_home(home)
    job_id = state.find_job(opened, job)
    told = _log_lines(opened, job_id, lines)
    while True:
        over = not following or not (opened.queue / job_id).exists() or state.derive(opened, job_id).final
        for source in told:
            for line in source():
                typer.echo(shown(line))
        if over:
            return
        time.sleep(0.2)


@app.command()
def watch(jobs: Ids = None, quiet: QuietOption = False, home: HomeOption = None) -> None:
    """Follow jobs live (default: all open jobs). Ctrl-C detaches; jobs keep running."""
    from datadream.cli.run import follow_jobs
    from datadream.home.layout import open_home

    opened = open_home(home)
    found = _chosen(opened, jobs)
    if not found:
        typer.echo(NONE_OPEN)
        return
    follow_jobs(opened, found, quiet, asks=False)


@app.command()
def wait(
    jobs: Ids = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after this many seconds.")] = None,
    home: HomeOption = None,
) -> None:
    """Wait for jobs. Exit code: 0 done, 1 any failed, was cancelled or can't start, 2 none can start, 124 timed out."""
    from datadream.cli.progress import tell_notice
    from datadream.home.layout import open_home
    from datadream.jobs.follow import follow
    from datadream.text import shown

    if timeout is not None and math.isnan(timeout):
        raise UserError("--timeout nan never ends", hint="give a number of seconds")
    opened = open_home(home)
    found = _chosen(opened, jobs)
    if not found:  # a job that has failed already isn't open either: silence would pass for success
        typer.echo(NONE_OPEN, err=True)
        return
    statuses = follow(opened, found, lambda spec, event: tell_notice(event), timeout=timeout)
    for status in statuses:
        if status.hopeless:
            stays = f"it stays open until that is fixed, or until `datadream job cancel {status.id[:8]}`"
            typer.echo(f"{status.id[:8]} {status.state}: {shown(status.reason)}; {stays}", err=True)
        elif status.state != "done":
            typer.echo(f"{status.id[:8]} {status.state}: {shown(status.reason)}", err=True)
    if any((status.final and status.state != "done") or status.hopeless for status in statuses):
        raise typer.Exit(1)
    if any(not status.final for status in statuses):
        raise typer.Exit(EXIT_TIME)


@app.command()
def cancel(jobs: Ids = None, all_: AllOption = False, home: HomeOption = None) -> None:
    """Cancel jobs; checkpoints are kept for `datadream job retry`."""
    from datadream.home.control import cancel as act

    _each(home, jobs, all_, lambda opened, job_id: act(opened, job_id))


@app.command()
def retry(jobs: Ids = None, home: HomeOption = None) -> None:
    """Retry failed or cancelled jobs from their checkpoints, with the settings of this shell."""
    from datadream.cli.run import begin
    from datadream.home.control import retry as act
    from datadream.home.layout import open_home

    _each(home, jobs, False, act)
    opened = open_home(home)
    begin(opened, _chosen(opened, jobs))


@app.command()
def pause(jobs: Ids = None, all_: AllOption = False, home: HomeOption = None) -> None:
    """Pause jobs at their next checkpoint until `resume`."""
    from datadream.home.control import pause as act

    _each(home, jobs, all_, lambda opened, job_id: act(opened, job_id))


@app.command()
def resume(jobs: Ids = None, all_: AllOption = False, home: HomeOption = None) -> None:
    """Resume paused jobs."""
    from datadream.home.control import resume as act

    _each(home, jobs, all_, act)


@app.command()
def priority(
    job: OneId,
    value: Annotated[int, typer.Argument(min=-MOST_PRIORITY, max=MOST_PRIORITY, help="Higher runs first.")],
    home: HomeOption = None,
) -> None:
    """Set the priority of a job."""
    from datadream.home.control import set_priority

    _each(home, [job], False, lambda opened, job_id: set_priority(opened, job_id, value))


@app.command("rm")
def remove(jobs: Ids = None, home: HomeOption = None) -> None:
    """Remove folders of finished jobs: log, history and checkpoint. Results are kept."""
    from datadream.home.control import remove as act

    _each(home, jobs, False, act)


def as_row(status: Status) -> dict[str, Any]:
    """A status as JSON has it; `progress` from 0 to 1."""
    from dataclasses import asdict

    part = 1.0 if status.state == "done" else round(status.done / status.total, 4) if status.total else 0.0
    first = {"id": status.id, "state": status.state, "stage": status.stage, "progress": part, "reason": status.reason}
    return {**first, **asdict(status), "progress": part, "asked": dict(status.asked or ())}


def open_statuses(home: Home) -> list[Status]:
    """The jobs that are queued, in the order they were asked for; one without a readable spec is told and left out."""
    from datadream.home import state
    from datadream.jobs import follow
    from datadream.text import shown

    found = []
    for job_id in follow.open_jobs(home):
        try:
            found.append(state.derive(home, job_id))
        except UserError as error:
            typer.echo(f"datadream: {shown(str(error))}", err=True)
    return found


def _chosen(home: Home, jobs: list[str] | None) -> list[str]:
    from datadream.home import state

    return [state.find_job(home, job) for job in jobs] if jobs else [status.id for status in open_statuses(home)]


def _each(home: Any, jobs: list[str] | None, all_: bool, act: Callable[[Home, str], None]) -> None:
    """Do `act` to each job, then see to it that somebody notices. One that refuses keeps no other from it.

    Raises the last refusal, after the others were told.
    """
    from datadream.home.layout import open_home
    from datadream.jobs import spawn
    from datadream.text import shown

    if not jobs and not all_:
        raise UserError("no jobs given", hint="give id prefixes, see `datadream job ls`")
    opened = open_home(home)
    refused: dict[str, UserError] = {}
    chosen = _chosen(opened, jobs)
    try:
        for job_id in dict.fromkeys(chosen):
            try:
                act(opened, job_id)
            except UserError as error:
                if jobs or not _is_over(opened, job_id):  # of all that are open, one may end at any moment
                    refused[str(error)] = error
    finally:
        spawn.ensure_runner(opened)
    for text in list(refused)[:-1]:
        typer.echo(f"datadream: {shown(text)}", err=True)
    if refused:
        raise list(refused.values())[-1]


def _is_over(home: Home, job_id: str) -> bool:
    from datadream.home import state

    try:
        return state.derive(home, job_id).final
    except UserError:
        return False


def _log_lines(home: Home, job_id: str, last: int) -> list[Callable[[], Iterator[str]]]:
    """Two sources of new lines: log.txt as it is, events.jsonl in words; with `last` only the last so many of both."""
    from datadream.durable import size_of
    from datadream.home.events import in_words
    from datadream.home.lines import Lines, Tail, start_of_last

    paths = home.files(job_id).log, home.files(job_id).events
    starts = [0, 0]
    if last:
        starts[1], found = start_of_last(paths[1], last)
        starts[0] = start_of_last(paths[0], last - found)[0] if found < last else size_of(paths[0])
    text, events = Lines(paths[0], starts[0]), Tail(paths[1], starts[1])
    return [text.texts, lambda: (in_words(event) for event in events.records())]
