"""Experiments: named grids of runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from datadream import durable, records
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.home import state
from datadream.home.layout import Home
from datadream.home.lease import lock


@dataclass(frozen=True)
class Experiment:
    """A name and the runs under it. The id is the name's hash."""

    id: str
    name: str
    created: str
    runs: tuple[str, ...]


def make_experiment(home: Home, name: str) -> Experiment:
    """The experiment of that name, made if need be."""
    return add_runs(home, name, ())


def add_runs(home: Home, name: str, runs: Iterable[str], remove: Iterable[str] = ()) -> Experiment:
    """Put runs under `name`, take others away; makes the experiment if need be. Raises UserError for an empty name."""
    if not name.strip():
        raise UserError("an experiment needs a name with a visible character")
    experiment_id = short_id(["experiment", name])
    path = home.experiment(experiment_id)
    with lock(durable.make_dir(path.parent) / ".lease"):
        old = read_experiment(home, experiment_id)
        kept = [run for run in (old.runs if old else ()) if run not in set(remove)]
        new = Experiment(experiment_id, name, old.created if old else state.now(), tuple(dict.fromkeys([*kept, *runs])))
        content = {"id": new.id, "name": new.name, "created": new.created, "runs": list(new.runs)}
        records.write(path, content, f"the experiment {name}")
    return new


def read_experiment(home: Home, experiment_id: str) -> Experiment | None:
    """The experiment with this id, None when there is none. Raises Unreadable for a damaged record."""
    path = home.experiment(experiment_id)
    what, hint = "this experiment", "restore that file, or remove it"
    found = records.read(path, {"name": str, "created": str, "runs": list}, what=what, hint=hint)
    if found is None:
        return None
    if not all(isinstance(run, str) for run in found["runs"]):
        raise records.Unreadable(path, "lists a run that is not text", hint, what)
    return Experiment(experiment_id, found["name"], found["created"], tuple(dict.fromkeys(found["runs"])))


def remove_experiment(home: Home, experiment_id: str) -> None:
    """Forget the grid; its runs stay."""
    path = home.experiment(experiment_id)
    with lock(durable.make_dir(path.parent) / ".lease"):
        durable.remove_file(path)
        durable.touch_dir(path.parent)
