"""What can't be read of a job's folder and of the home's own settings, while the job, or the home, is still of use.

A reader that goes on with a default where a file is damaged would be silent about it; this names those files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from datadream import durable, records
from datadream.canonical import parse_json
from datadream.errors import UserError
from datadream.home import state
from datadream.home.events import is_event
from datadream.home.jobfiles import CONTROL, ENVIRONMENT, ERROR, REQUEST, RESULT, JobFiles
from datadream.home.launchers import Resources, read_cluster
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings
from datadream.records import Unreadable

HEAD_BYTES = 1 << 16  # of an append-only file; beyond them torn lines are counted by who reads it all
PARTS: dict[str, records.Shape] = {
    RESULT: {"artifact": str, "kind": str},
    ERROR: {"kind": str, "message": str},
    "native.json": {"native": str},
    ENVIRONMENT: {},
}
ATTEMPT: records.Shape = {"attempt": int, "at": str}
MODELS: dict[str, type[BaseModel]] = {REQUEST: state.Request, CONTROL: state.Control}


def of_job(home: Home, job_id: str) -> list[Unreadable]:
    """Every file of a job but its spec that is there and can't be read, or not as what it is."""
    folder, found = home.job(job_id), []
    reads: list[Callable[[], Any]] = []
    reads += [partial(state.load_model, folder / name, model) for name, model in MODELS.items()]
    reads += [partial(records.read, folder / name, shape) for name, shape in PARTS.items()]
    reads.append(partial(_lines, JobFiles(folder).history, state.is_change))
    reads.append(partial(_lines, JobFiles(folder).events, is_event))
    try:
        attempts = records.entries(JobFiles(folder).attempts)
    except UserError as error:
        found.append(Unreadable(JobFiles(folder).attempts, f"can't be listed: {error.message}"))
        attempts = []
    reads += [partial(records.read, path, ATTEMPT) for path in attempts]
    for read in reads:
        try:
            read()
        except Unreadable as error:
            found.append(error)
    return found


def of_home(home: Home) -> list[Unreadable]:
    """The home's own settings that are there and can't be read."""
    found = []
    for read in (
        lambda: state.load_model(home.queue_settings, QueueSettings),
        lambda: records.read(home.path / "tui.json"),
        lambda: _cluster(home),
    ):
        try:
            read()
        except Unreadable as error:
            found.append(error)
    return found


def _cluster(home: Home) -> None:
    """`resources_for` says what is wrong with a stage's table when that stage is asked for."""
    found = read_cluster(home)
    try:
        Resources.model_validate({key: value for key, value in found.items() if not isinstance(value, dict)})
    except ValidationError as error:
        raise Unreadable(home.path / "cluster.toml", state.invalid(error)) from error


def _lines(path: Path, is_one: Callable[[dict[str, Any]], bool]) -> None:
    """Raise Unreadable for what is no file, and for one whose first line is not what its writer begins with.

    A later line may be torn: whoever wrote it lost its machine.
    """
    try:
        with durable.open_regular(path) as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        if path.is_symlink():
            raise Unreadable(path, "is a dangling link") from None
        return
    except OSError as error:
        raise Unreadable(path, f"can't be opened: {error.strerror}") from error
    first, end, _ = head.partition(b"\n")
    if not head or (not end and len(head) < HEAD_BYTES and first.startswith(b"{") and b"\0" not in first):
        return  # being written, or torn before its first line was whole
    try:
        found = parse_json(first)
    except ValueError as error:
        raise Unreadable(path, f"starts with a line that {error}") from error
    if not isinstance(found, dict) or not is_one(found):
        raise Unreadable(path, "starts with a line of another kind")
