"""`datadream experiment`: named grids of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli import complete
from datadream.cli.listing import add_list
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from datadream.home.experiments import Experiment
    from datadream.home.layout import Home

app = typer.Typer(no_args_is_help=True, help="Experiments: named grids of runs.")
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Experiment: name, or id prefix.", autocompletion=complete.experiments),
]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="Experiment name.")]
RunsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN...]", help="Runs, by id prefix.", autocompletion=complete.runs)
]


@app.command()
def make(name: NewName, runs: RunsArgument = None, home: HomeOption = None) -> None:
    """Create an experiment, optionally with runs."""
    from datadream.home.experiments import add_runs
    from datadream.home.layout import open_home
    from datadream.text import counted

    opened = open_home(home)
    made = add_runs(opened, name, _run_ids(opened, runs))
    typer.echo(f"{made.id}  {counted(len(made.runs), 'run')}")


add_list(
    app,
    "experiment",
    ("id", "name", "runs", "done", "created", "tags"),
    "List experiments, newest first.",
    "no experiments yet: `datadream run ... --experiment NAME`",
)


@app.command()
def show(name: NameArgument, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show an experiment's table."""
    from dataclasses import asdict

    from datadream.cli.compare import print_table
    from datadream.home.layout import open_home
    from datadream.text import counted, json_text, shown

    opened = open_home(home)
    found = _find(opened, name)
    if json:
        typer.echo(json_text(asdict(found), indent=2))
        return
    typer.echo(f"{found.id}  {shown(found.name)}  {counted(len(found.runs), 'run')}")
    print_table(opened, set(found.runs), "table")


@app.command()
def add(name: NameArgument, runs: RunsArgument = None, home: HomeOption = None) -> None:
    """Add runs to an experiment."""
    from datadream.home.experiments import add_runs
    from datadream.home.layout import open_home

    opened = open_home(home)
    add_runs(opened, _find(opened, name).name, _run_ids(opened, runs))


@app.command()
def drop(name: NameArgument, runs: RunsArgument = None, home: HomeOption = None) -> None:
    """Remove runs from an experiment; the runs are kept."""
    from datadream.home.experiments import add_runs
    from datadream.home.layout import open_home

    opened = open_home(home)
    add_runs(opened, _find(opened, name).name, (), remove=_run_ids(opened, runs))


@app.command("rm")
def remove(name: NameArgument, home: HomeOption = None) -> None:
    """Delete an experiment; its runs are kept."""
    from datadream.home.experiments import remove_experiment
    from datadream.home.layout import open_home

    opened = open_home(home)
    remove_experiment(opened, _find(opened, name).id)


def _find(home: Home, name: str) -> Experiment:
    from datadream.canonical import short_id
    from datadream.cli.listing import registry_of
    from datadream.errors import UserError
    from datadream.home.experiments import read_experiment
    from store import queries

    found = read_experiment(home, short_id(["experiment", name]))
    if found is None:
        registry = registry_of(home)
        try:
            found = read_experiment(home, queries.resolve(registry, name, ["experiment"])[1])
        finally:
            registry.close()
    if found is None:
        raise UserError(f"no experiment {name!r}", hint="see `datadream experiment ls`")
    return found


def _run_ids(home: Home, runs: list[str] | None) -> list[str]:
    from datadream.cli.listing import registry_of
    from store import queries

    if not runs:
        return []
    registry = registry_of(home)
    try:
        return [queries.resolve(registry, run, ["run"])[1] for run in runs]
    finally:
        registry.close()
