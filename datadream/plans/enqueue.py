"""Asking for jobs: each becomes a folder and a mark in the queue, so it works with no runner alive."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import control, room, state, variables
from datadream.home.jobfiles import JobFiles
from datadream.home.launchers import resources_for
from datadream.home.layout import Home
from datadream.home.provenance import describe_code
from datadream.home.spec import JobSpec
from datadream.home.state import Request
from datadream.models.environment import device_asked
from datadream.models.makes import resolution_of
from datadream.stages.table import TABLE

RESERVE_BYTES = 64 << 10


def missing(home: Home, specs: Sequence[JobSpec], shards: Mapping[str, Sequence[str]] | None = None) -> list[JobSpec]:
    """Those without a finished artifact, once each, in order; of a whole that is finished, no shard is missing."""
    found = {spec.id: spec for spec in specs if not home.has(spec.kind, spec.id)}
    served = {part for whole, parts in (shards or {}).items() if whole not in found for part in parts}
    return [spec for spec in found.values() if spec.id not in served]


def check(
    home: Home, specs: Sequence[JobSpec], launcher: str = "local", resources: Mapping[str, Any] | None = None
) -> None:
    """Raise UserError, before anything is written, for what `enqueue` would: no room, bad device or `cluster.toml`."""
    device_asked()
    sizes: dict[str, int] = {}
    for spec in specs:
        sizes[spec.kind] = sizes.get(spec.kind, 0) + bytes_needed(spec)
    for disk, size in room.by_disk(home, sizes):
        home.need(size, "this request", disk)
    if launcher != "local":
        for stage in {spec.stage for spec in specs}:
            resources_for(home, launcher, stage, resources or {})


def enqueue(
    home: Home,
    specs: Sequence[JobSpec],
    titles: Mapping[str, str],
    *,
    experiment: str = "",
    priority: int = 0,
    launcher: str = "local",
    max_attempts: int = 3,
    resources: Mapping[str, Any] | None = None,
    shards: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Queue every missing artifact of `specs` (inputs before users); the ids of their jobs.

    A job that is queued already stays as it is, but reads its model where this request has it; one that is paused or
    being cancelled goes on; one that failed or was cancelled is tried again. The settings of this process that a job's
    worker reads go with the request (`variables`). Raises UserError when there isn't room for what is asked, or
    `cluster.toml` or DATADREAM_DEVICE is wrong.
    """
    todo = missing(home, specs, shards)
    check(home, todo, launcher, resources)
    durable.make_dir(home.queue)
    with suppress(UserError):  # for a cancel on a disk that has become full
        durable.reserve(home.reserve, RESERVE_BYTES)
    base = time.time_ns()
    code = describe_code() if todo else {}
    for number, spec in enumerate(todo):
        request = Request(
            title=titles.get(spec.id, spec.stage),
            experiment=experiment,
            priority=priority,
            submitted=state.now(),
            order=base + number,
            max_attempts=max_attempts,
            launcher=launcher,
            resources=dict(resources or {}),
            shards=tuple((shards or {}).get(spec.id, ())),
            place=spec.model.location if spec.model else "",
            code=code,
            environment=variables.kept(),
            noted=variables.noted(),
        )
        while not (_ask_first(home, spec, request) or _ask_again(home, spec, request)):
            pass  # it came, or was removed, between the two
    return [spec.id for spec in todo]


def _ask_first(home: Home, spec: JobSpec, request: Request) -> bool:
    """Queue a job that has no folder: that appears whole, or not at all. False when there is one."""
    folder = home.job(spec.id)
    if folder.exists():
        return False
    staged = durable.make_dir(durable.scratch(folder))
    durable.mark(JobFiles(staged).control_lock)
    durable.write_json(JobFiles(staged).request, request.model_dump(mode="json"))
    records.write(JobFiles(staged).spec, spec.model_dump(mode="json"), f"the spec of the {spec.stage} job")
    durable.mark(home.queue / spec.id)  # first: what dies in between leaves no job that nobody looks at
    try:
        durable.move(staged, folder)
    except FileExistsError:
        durable.remove_dir(staged)
        return False
    return True


def _ask_again(home: Home, spec: JobSpec, request: Request) -> bool:
    """Queue a job that has a folder, if it isn't at work; False when that is gone."""
    folder = home.job(spec.id)
    try:
        with control.alone(home, spec.id):
            found = None
            with suppress(UserError):
                found = state.derive(home, spec.id)
            if found is not None and not found.final:
                _put_place(home, spec.id, request.place)
                if found.paused or found.state == "cancelling":
                    control.write(home, spec.id, {"cancel": False, "paused": False, "reason": ""})
                durable.mark(home.queue / spec.id)
                return True
            durable.write_json(JobFiles(folder).request, request.model_dump(mode="json"))
            if found is not None:
                control.retry_alone(home, spec.id)
            else:  # nothing readable was asked for here
                durable.mark(home.queue / spec.id)
                records.write(JobFiles(folder).spec, spec.model_dump(mode="json"), f"the spec of the {spec.stage} job")
            return True
    except FileNotFoundError:
        return False


def _put_place(home: Home, job_id: str, place: str) -> None:
    """Where an open job's model lies now; nothing else of its request changes."""
    request = state.read_request(home, job_id)
    if place != (request.place or getattr(state.read_spec(home, job_id).model, "location", "")):
        changed = request.model_copy(update={"place": place})
        durable.write_json(home.files(job_id).request, changed.model_dump(mode="json"))


def bytes_needed(spec: JobSpec) -> int:
    """Disk for a job's images: their raw size at the resolution its model's folder states, else at 512."""
    side = resolution_of(spec.model) if TABLE[spec.stage].draws and spec.model and spec.shard is None else None
    return spec.bytes_needed(side) if side else spec.bytes_needed()
