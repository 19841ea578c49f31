"""Asking for jobs, and asking things of them: each is a file in the job's folder, so it works with no runner alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import state, variables
from datadream.jobs.home import Home
from datadream.jobs.launchers import resources_for
from datadream.jobs.lease import is_held, lease
from datadream.jobs.spec import JobSpec
from datadream.jobs.state import Control, Request
from datadream.models.environment import device_asked
from datadream.models.makes import resolution_of


def missing(home: Home, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Those without a finished artifact, once each, in order."""
    found = {spec.id: spec for spec in specs if not home.has(spec.kind, spec.id)}
    return list(found.values())


def check(
    home: Home, specs: Sequence[JobSpec], launcher: str = "local", resources: Mapping[str, Any] | None = None
) -> None:
    """Raise UserError, before anything is written, for what `submit` would: no room, wrong device or `cluster.toml`."""
    device_asked()
    if specs:
        home.need(sum(bytes_needed(spec) for spec in specs), "what is asked")
    if launcher != "local":
        for stage in {spec.stage for spec in specs}:
            resources_for(home, launcher, stage, resources or {})


def submit(
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

    A job that is queued already stays as it is; one that is paused or being cancelled goes on; one that failed or
    was cancelled is tried again. The settings of this process that a job's worker reads go with the request
    (`variables`). Raises UserError when there isn't room for what is asked, or `cluster.toml` or DATADREAM_DEVICE is
    wrong.
    """
    todo = missing(home, specs)
    check(home, todo, launcher, resources)
    durable.make_dir(home.queue)
    base = time.time_ns()
    for number, spec in enumerate(todo):
        folder = durable.make_dir(home.job(spec.id))
        if (folder / "spec.json").exists():
            found = None
            with suppress(UserError):
                found = state.derive(home, spec.id)
            if found is not None and not found.final:
                if found.paused or found.state == "cancelling":
                    _control(home, spec.id, lambda _: {"cancel": False, "paused": False, "reason": ""})
                durable.mark(home.queue / spec.id)
                continue
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
            environment=variables.kept(),
            noted=variables.noted(),
        )
        durable.write_json(folder / "request.json", request.model_dump(mode="json"))
        if (folder / "spec.json").exists():
            retry(home, spec.id)
        else:
            durable.mark(home.queue / spec.id)  # first: what dies in between leaves no job that nobody looks at
            durable.write_json(folder / "spec.json", spec.model_dump(mode="json"))
    return [spec.id for spec in todo]


def cancel(home: Home, job_id: str, reason: str = "") -> None:
    """Ask a job to stop, keep its checkpoint and not to go on. Nothing happens to one that is over."""
    if not state.derive(home, job_id).final:
        _control(home, job_id, lambda old: {"cancel": True, "reason": reason or old.reason})


def pause(home: Home, job_id: str, reason: str = "", seconds: float | None = None) -> None:
    """Ask a job to stop at its next checkpoint and to wait. Raises LockHeld when others ask it things for `seconds`."""
    _open(home, job_id, "pause")
    _control(home, job_id, lambda _: {"paused": True, "reason": reason}, seconds)


def resume(home: Home, job_id: str) -> None:
    """Let a paused job go on."""
    _open(home, job_id, "resume")
    _control(home, job_id, lambda _: {"paused": False, "reason": ""})


def set_priority(home: Home, job_id: str, priority: int) -> None:
    """Higher goes first."""
    _open(home, job_id, "set the priority of")
    _control(home, job_id, lambda _: {"priority": priority})


def retry(home: Home, job_id: str) -> None:
    """Try a failed or cancelled job again, from its checkpoint, with the settings of this process.

    Raises UserError when it is not over, or done.
    """
    device_asked()
    found = state.derive(home, job_id)
    spec = state.read_spec(home, job_id)
    if not found.final and found.state != "lost":
        if not (home.queue / job_id).exists():  # whoever asked for it died before it was queued
            durable.mark(durable.make_dir(home.queue) / job_id)
            return
        raise UserError(f"the job {job_id[:8]} is {found.state}, not over", hint="cancel it first, or let it be")
    if found.state == "done" and home.has(spec.kind, spec.id):
        raise UserError(f"the job {job_id[:8]} is done", hint="to make it anew beside the old, use `run --force`")
    folder = home.job(job_id)
    request = state.read_request(home, job_id)
    asked = request.model_copy(update={"environment": variables.kept(), "noted": variables.noted()})
    if asked != request:
        durable.write_json(folder / "request.json", asked.model_dump(mode="json"))
    durable.remove_file(folder / "error.json")
    durable.remove_file(folder / "result.json")
    _control(home, job_id, lambda old: {"cancel": False, "paused": False, "reason": "", "retries": old.retries + 1})


def remove(home: Home, job_id: str) -> None:
    """Remove the folder of a job that is over; its artifact stays. Raises UserError while it is not."""
    folder = home.job(job_id)
    if not folder.is_dir():
        raise UserError(f"no job {job_id}", at=home.path, hint="see `datadream job ls`")
    hint = f"first `datadream job cancel {job_id[:8]}`"
    found = None
    with suppress(UserError):  # a folder without a readable spec can go, as long as nobody has it
        found = state.derive(home, job_id)
    if found is not None and not found.final and not found.hopeless:
        raise UserError(f"the job {job_id[:8]} is {found.state}", hint=hint)
    if is_held(folder / "lease"):
        raise UserError(f"a worker has the job {job_id[:8]}", hint=hint)
    durable.remove_file(home.queue / job_id)
    durable.remove_dir(folder)
    if home.queue.is_dir():
        durable.touch_dir(home.queue)


def _open(home: Home, job_id: str, verb: str) -> None:
    found = state.derive(home, job_id)
    if found.final:
        raise UserError(f"can't {verb} the job {job_id[:8]}: it is {found.state}", hint="see `datadream job ls`")


def _control(
    home: Home,
    job_id: str,
    change: Callable[[Control], dict[str, Any]],
    seconds: float | None = None,
) -> None:
    folder = home.job(job_id)
    with lease(folder / "control.lock", seconds=seconds):
        old = state.read_control(home, job_id)
        new = Control(**{**old.model_dump(), **change(old)})
        durable.write_json(folder / "control.json", new.model_dump(mode="json"))
        durable.make_dir(home.queue)
        durable.mark(home.queue / job_id)


def bytes_needed(spec: JobSpec) -> int:
    """Disk for a job's images: their raw size at the resolution its model's folder states, else at 512."""
    side = resolution_of(spec.model) if spec.stage == "generate" and spec.model and spec.shard is None else None
    return spec.bytes_needed(side) if side else spec.bytes_needed()
