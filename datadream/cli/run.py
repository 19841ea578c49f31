"""`datadream run`: make what is missing for some methods on some sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli import complete
from datadream.cli.options import (
    BackboneOption,
    ClipOption,
    DiffusionOption,
    HomeOption,
    JsonOption,
    OverrideOption,
    PriorityOption,
    QuietOption,
    numbers,
    words,
)
from datadream.text import json_text, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datadream.home.layout import Home
    from datadream.jobs.watch import Watch
    from datadream.plans.ask import Plan


def run(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...", help="Methods: built-in names or .toml files.", autocompletion=complete.recipes
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A few-shot set, by name or id. Repeatable.", autocompletion=complete.sets),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Instead of --set: digits or a folder; draws the sets it needs.")
    ] = None,
    shots: Annotated[str, typer.Option(help="With --source: shots per class, e.g. 1,4,16.")] = "16",
    seeds: Annotated[str | None, typer.Option(help="Seeds of the draw and of all training, e.g. 1,5,10.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Training data of methods with synthetic images: synth,real+synth.")
    ] = None,
    backbone: BackboneOption = "mini",
    diffusion: DiffusionOption = None,
    clip: ClipOption = None,
    override: OverrideOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Queue the jobs and return immediately.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, its time and its disk space; start nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Recompute everything; existing results are kept.")] = False,
    without_marked: Annotated[
        bool, typer.Option("--without-marked", help="Exclude synthetic images marked as bad.")
    ] = False,
    experiment: Annotated[str, typer.Option(help="Experiment to add the runs to.")] = "",
    priority: PriorityOption = 0,
    launcher: Annotated[str, typer.Option(help="local; slurm, pbs or lsf need datadream[cluster].")] = "local",
    shards: Annotated[int, typer.Option(min=1, help="Split each synthetic set into this many jobs.")] = 1,
    json: JsonOption = False,
    quiet: QuietOption = False,
    home: HomeOption = None,
) -> None:
    """Run methods on few-shot sets: compute missing results, reuse existing ones, print the table."""
    from datadream.home.layout import open_home
    from datadream.plans import ask
    from datadream.plans import request as requests
    from datadream.recipes.recipe import DATA
    from datadream.text import counted

    request = requests.Request(
        recipes=tuple(recipes),
        sets=tuple(sets or ()),
        source=source,
        shots=tuple(numbers(shots, "--shots", 1)) if source else (),
        seeds=tuple(numbers(seeds, "--seeds", 0)) if seeds else (),
        data=tuple(words(data, "--data", DATA)) if data else (),
        backbone=backbone,
        diffusion=diffusion,
        clip=clip,
        overrides=tuple(override or ()),
        experiment=experiment,
        priority=priority,
        launcher=launcher,
        shards=shards,
        force=force,
        without_marked=without_marked,
    )
    methods = requests.check(request, dry=dry_run)
    if dry_run:
        planned = ask.plan(peek_home(home), request, methods, dry=True)
        print_told(ask.told(peek_home(home), planned))
        print_plan(planned, peek_home(home), json)
        return
    opened = open_home(home)
    planned = ask.plan(opened, request, methods)
    told = ask.told(opened, planned)
    print_told(told)
    jobs = ask.submit(opened, planned)
    runs = planned.runs
    watch = begin(opened, jobs)
    if detach:
        if json:
            typer.echo(json_text({"jobs": jobs, "runs": [entry.id for entry in runs]}))
        elif jobs:
            typer.echo(f"{counted(len(jobs), 'job')} queued; `datadream job watch` follows them")
        else:
            typer.echo("nothing to do: all results already exist; see `datadream compare`")
        return
    follow_jobs(opened, jobs, quiet or json, watch=watch, told=told)
    if json:
        typer.echo(json_text({"jobs": jobs, "runs": [entry.id for entry in runs]}))
        return
    if not quiet:
        typer.echo(f"{counted(len(jobs), 'job')} finished; other results reused", err=True)
    from datadream.cli.compare import print_table

    print_table(opened, {entry.id for entry in runs}, "table")


def print_told(lines: Sequence[str]) -> None:
    """Notes and warnings, beside the output."""
    for line in lines:
        typer.echo(shown(line), err=True)


def peek_home(path: Path | None) -> Home:
    """The home as `open_home` has it, but one that isn't there yet isn't made."""
    from datadream.home.layout import Home, open_home, place

    found = Home(place(path))
    return open_home(path) if found.path.exists() else found


def print_plan(planned: Plan, home: Home, json: bool) -> None:
    """How many jobs a plan has, what it reuses, and what it may take, as text or JSON."""
    from datadream.plans.ask import models_of
    from datadream.plans.estimate import estimate

    found = estimate(home, planned)
    if json:
        content = {
            "runs": len(planned.runs),
            "jobs": len(planned.missing),
            "reused": planned.reused,
            "stages": found.stages,
            "seconds": found.seconds,
            "unknown": found.unknown,
            "bytes": found.bytes,
            "at_most": found.at_most,
        }
        typer.echo(json_text(content))
        return
    listed = ", ".join(f"{count} {stage}" for stage, count in found.stages.items())
    typer.echo(f"jobs    {len(planned.missing)} to run{f' ({listed})' if listed else ''}, {planned.reused} reused")
    for label, text in models_of(planned):
        typer.echo(f"{label:<8}{shown(text)}")
    typer.echo(f"time    {found.time_text()}")
    typer.echo(f"disk    {found.disk_text()}")


class Detached(Exception):
    """Ctrl-C, and the jobs are to go on."""


class Cancelled(Exception):
    """Ctrl-C, and the answer that the jobs are to be cancelled."""


def begin(home: Home, jobs: Sequence[str]) -> Watch:
    """See to it that somebody works on `jobs`, and say which settings of this shell they go without.

    The watch is for `follow_jobs`.
    """
    from datadream.jobs.losses import losses
    from datadream.jobs.watch import Watch
    from datadream.text import shown

    watch = Watch(home)
    for text in losses(home, jobs):
        typer.echo(f"warning: {shown(text)}", err=True)
    return watch


def follow_jobs(
    home: Home,
    jobs: Sequence[str],
    quiet: bool,
    asks: bool = True,
    watch: Watch | None = None,
    told: Sequence[str] = (),
) -> None:
    """Show the jobs' progress until they are over; warnings among `told` aren't repeated. Raises what the first failure
    says.

    Ctrl-C raises Detached and the jobs go on; where it `asks`, on a terminal, they may be cancelled, which raises
    Cancelled.
    """
    from datadream.cli.progress import following
    from datadream.home import control, state
    from datadream.jobs import follow, spawn

    if not jobs:
        return
    titles = {job_id: state.read_request(home, job_id).title for job_id in jobs}
    while True:
        try:
            with following(titles, quiet, told) as on_event:
                failure = follow.failure(home, follow.follow(home, jobs, on_event, watch=watch))
            break
        except KeyboardInterrupt:
            answer = _ask() if asks else "detach"
            if answer == "follow":
                continue
            if answer == "cancel":
                for job_id in jobs:
                    control.cancel(home, job_id)
                spawn.ensure_runner(home)
                raise Cancelled from None
            raise Detached from None
    if failure is not None:
        raise failure


def _ask() -> str:
    """What Ctrl-C meant; without a terminal to ask on, to look away."""
    import sys

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "detach"
    while True:
        sys.stderr.write("\nJobs keep running after detach. [d]etach, [c]ancel jobs, or [f]ollow? ")
        sys.stderr.flush()
        try:
            answer = sys.stdin.readline().strip().lower() or "d"
        except KeyboardInterrupt:
            answer = "d"
        for word in ("detach", "cancel", "follow"):
            if answer in (word, word[0]):
                return word
