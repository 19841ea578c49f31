"""Experiments: named grids of runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from datadream import durable
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.jobs import state
from datadream.jobs.home import Home
from datadream.jobs.lease import lease


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
    with lease(durable.make_dir(path.parent) / ".lease"):
        old = read_experiment(home, experiment_id)
        kept = [run for run in (old.runs if old else ()) if run not in set(remove)]
        new = Experiment(experiment_id, name, old.created if old else state.now(), tuple(dict.fromkeys([*kept, *runs])))
        content = {"id": new.id, "name": new.name, "created": new.created, "runs": list(new.runs)}
        durable.write_json(path, content)
    return new


def read_experiment(home: Home, experiment_id: str) -> Experiment | None:
    """The experiment with this id."""
    found = state.read_dict(home.experiment(experiment_id))
    if found is None or not isinstance(found.get("runs"), list):
        return None
    runs = tuple(dict.fromkeys(str(run) for run in found["runs"]))
    return Experiment(experiment_id, str(found.get("name", "")), str(found.get("created", "")), runs)


def remove_experiment(home: Home, experiment_id: str) -> None:
    """Forget the grid; its runs stay."""
    durable.remove_file(home.experiment(experiment_id))
    durable.touch_dir(home.experiment(experiment_id).parent)
