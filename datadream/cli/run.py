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
    QuietOption,
    numbers,
    words,
)
from datadream.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datadream.jobs.home import Home
    from datadream.jobs.plan import Run
    from datadream.jobs.sets import NamedSet


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
        str | None, typer.Option(help="Instead of --set: digits or a folder; makes the sets it needs.")
    ] = None,
    shots: Annotated[str, typer.Option(help="With --source: shots, as 1,4,16.")] = "16",
    seeds: Annotated[
        str | None, typer.Option(help="Draws of the set, each also the seed of every training, as 1,5,10.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Mixes of methods with synthetic images: synth,real+synth.")] = None,
    backbone: BackboneOption = "mini",
    diffusion: DiffusionOption = None,
    clip: ClipOption = None,
    override: OverrideOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Queue the jobs and return at once.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make everything anew, beside what is there.")] = False,
    experiment: Annotated[str, typer.Option(help="Name of the experiment these runs belong to.")] = "",
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    launcher: Annotated[str, typer.Option(help="local, or slurm, pbs, lsf, flux with datadream[cluster].")] = "local",
    shards: Annotated[int, typer.Option(min=1, help="Draw each synthetic set in this many jobs.")] = 1,
    json: JsonOption = False,
    quiet: QuietOption = False,
    home: HomeOption = None,
) -> None:
    """Run methods on few-shot sets: executes what is missing, reuses what exists, then prints the table."""
    import json as library

    from datadream.jobs import spawn
    from datadream.jobs.home import open_home
    from datadream.jobs.launchers import check_launcher
    from datadream.jobs.plan import plan_all
    from datadream.models.presets import load_backbone
    from datadream.recipes.recipe import DATA, check_overrides, load_recipe

    if bool(sets) == bool(source):
        raise UserError("say which images to use", hint="give either --set NAME or --source digits (or a folder)")
    mixes = words(data, "--data", DATA) if data else None
    check_launcher(launcher)
    loaded = load_backbone(backbone, diffusion, clip)
    methods = [load_recipe(name, loaded, override or []) for name in dict.fromkeys(recipes)]
    check_overrides(override or [], methods)
    opened = open_home(home)
    if sets:
        found = _named(opened, sets, numbers(seeds, "--seeds", 0) if seeds else None)
    else:
        assert source is not None
        asked = [(k, seed) for k in numbers(shots, "--shots", 1) for seed in numbers(seeds or "1", "--seeds", 0)]
        found = make_sets(opened, source, asked)
    repeat = next_repeat(opened, lambda n: plan_all(methods, found, loaded, mixes, n)) if force else 0  # type: ignore[arg-type]
    runs = plan_all(methods, found, loaded, mixes, repeat)  # type: ignore[arg-type]
    jobs = submit_runs(
        opened, runs, experiment=experiment, priority=priority, launcher=launcher, shards=shards if shards > 1 else 0
    )
    if detach:
        spawn.ensure_runner(opened)
        if json:
            typer.echo(library.dumps({"jobs": jobs, "runs": [entry.id for entry in runs]}))
        elif jobs:
            typer.echo(f"{len(jobs)} jobs queued; follow them with `datadream job watch`")
        else:
            typer.echo("nothing to do: everything is there; see `datadream compare`")
        return
    follow_jobs(opened, jobs, quiet or json)
    if json:
        typer.echo(library.dumps({"jobs": jobs, "runs": [entry.id for entry in runs]}))
        return
    if not quiet:
        typer.echo(f"{len(jobs)} jobs run, the rest reused", err=True)
    from datadream.cli.compare import print_table

    print_table(opened, {entry.id for entry in runs}, "table")


def make_sets(home: Home, source: str, asked: Sequence[tuple[int, int]]) -> list[NamedSet]:
    """The sets for every (shots, seed), reading and checking the source once."""
    from datadream.data.shots import make_shot_set
    from datadream.data.source import open_source
    from datadream.jobs.sets import add_set

    opened = open_source(source)
    made = []
    for number, (shots, seed) in enumerate(asked):
        drawn = make_shot_set(opened, shots, seed, check="used" if number else "all")
        made.append(add_set(home, drawn, None))
    return made


def submit_runs(
    home: Home,
    runs: Sequence[Run],
    *,
    experiment: str = "",
    priority: int = 0,
    launcher: str = "local",
    shards: int = 0,
) -> list[str]:
    """Record the runs and queue the jobs they lack, inputs first; the jobs' ids."""
    from datadream.jobs.plan import record, shards_of, titles_of
    from datadream.jobs.submit import missing, submit

    titles = titles_of(runs)
    specs, parts = [], {}
    for spec in missing(home, [spec for entry in runs for spec in entry.jobs.values()]):
        if shards and spec.stage == "generate":
            split = shards_of(spec, shards)
            parts[spec.id] = [part.id for part in split]
            titles |= {part.id: f"{titles[spec.id]} {i + 1}/{shards}" for i, part in enumerate(split)}
            specs += split
        specs.append(spec)
    jobs = submit(home, specs, titles, experiment=experiment, priority=priority, launcher=launcher, shards=parts)
    for entry in runs:
        record(home, entry)
    if experiment:
        from datadream.jobs.experiments import add_runs

        add_runs(home, experiment, [entry.id for entry in runs])
    return jobs


def follow_jobs(home: Home, jobs: Sequence[str], quiet: bool) -> None:
    """Show the jobs' progress until they are over. Raises what the first failure says.

    Ctrl-C asks on a terminal whether to cancel the jobs; they go on otherwise.
    """
    from datadream.cli.progress import following
    from datadream.jobs import follow, spawn, state, submit

    if not jobs:
        return
    titles = {job_id: state.read_request(home, job_id).title for job_id in jobs}
    while True:
        try:
            with following(titles, quiet) as on_event:
                failure = follow.failure(home, follow.follow(home, jobs, on_event))
            break
        except KeyboardInterrupt:
            answer = _ask()
            if answer == "follow":
                continue
            if answer == "cancel":
                for job_id in jobs:
                    submit.cancel(home, job_id)
                spawn.ensure_runner(home)
            raise
    if failure is not None:
        raise failure


def _ask() -> str:
    """What Ctrl-C meant; without a terminal to ask on, to look away."""
    import sys

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "detach"
    sys.stderr.write("\nThe jobs run on by themselves. [d]etach, [c]ancel them, or [f]ollow on? ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        answer = "d"
    return {"c": "cancel", "cancel": "cancel", "f": "follow", "follow": "follow"}.get(answer, "detach")


def next_repeat(home: Home, planned: Callable[[int], list[Run]]) -> int:
    """How often these runs were asked for already."""
    repeat = 1
    while any(home.run(entry.id).exists() for entry in planned(repeat)):
        repeat += 1
    return repeat


def _named(home: Home, names: list[str], seeds: list[int] | None) -> list[NamedSet]:
    from datadream.jobs.sets import find_set

    found = [find_set(home, name) for name in dict.fromkeys(names)]
    for entry in found:
        if seeds is not None and entry.shots.seed not in seeds:
            raise UserError(
                f"the set {entry.name!r} was drawn with seed {entry.shots.seed}, and serves that seed only",
                hint="leave out --seeds, or use --source and --shots to make a set for each seed",
            )
    missing = sorted(set(seeds or []) - {entry.shots.seed for entry in found})
    if missing:
        raise UserError(
            f"no given set has seed {missing[0]}",
            hint="add --set for it, or use --source and --shots to make a set for each seed",
        )
    return found
