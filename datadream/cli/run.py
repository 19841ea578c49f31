"""`datadream run`: make what is missing for some methods on some sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli.options import (
    BackboneOption,
    ClipOption,
    DiffusionOption,
    HomeOption,
    OverrideOption,
    QuietOption,
    numbers,
    words,
)
from datadream.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datadream.jobs.home import Home
    from datadream.jobs.plan import Run
    from datadream.jobs.sets import NamedSet


def run(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Methods: built-in names or .toml files.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="A few-shot set, by name or id. Repeatable.")] = None,
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
    quiet: QuietOption = False,
    home: HomeOption = None,
) -> None:
    """Run methods on few-shot sets: executes what is missing, reuses what exists, then prints the table."""
    from datadream.jobs.home import open_home
    from datadream.jobs.plan import plan_all
    from datadream.models.presets import load_backbone
    from datadream.recipes.recipe import DATA, check_overrides, load_recipe

    if bool(sets) == bool(source):
        raise UserError("say which images to use", hint="give either --set NAME or --source digits (or a folder)")
    mixes = words(data, "--data", DATA) if data else None
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
    runs = plan_all(methods, found, loaded, mixes)  # type: ignore[arg-type]
    made = execute(opened, runs, quiet)
    if not quiet:
        typer.echo(f"{made} jobs run, the rest reused", err=True)
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


def execute(home: Home, runs: Sequence[Run], quiet: bool) -> int:
    """Run the jobs that `runs` lack, with progress, and record the runs; returns how many jobs ran."""
    from datadream.cli.progress import following
    from datadream.jobs.plan import record
    from datadream.jobs.runner import execute as execute_jobs
    from datadream.jobs.runner import missing

    specs = [spec for entry in runs for spec in entry.jobs.values()]
    titles: dict[str, str] = {}
    for entry in runs:
        for stage, spec in entry.jobs.items():
            detail = f" {entry.data}" if stage == "classify" else ""
            where = f"{entry.set.shots.shots} shots, seed {entry.set.shots.seed}"
            titles.setdefault(spec.id, f"{entry.recipe.name}: {stage}{detail} ({where})")
    todo = {spec.id: titles[spec.id] for spec in missing(home, specs)}
    try:
        with following(todo, quiet) as follow:
            return execute_jobs(home, specs, follow)
    finally:  # what is finished is in the table, whatever happened to the rest
        for entry in runs:
            if home.has("classifier", entry.jobs["classify"].id):
                record(home, entry)


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
