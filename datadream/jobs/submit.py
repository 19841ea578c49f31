"""Asking for jobs, and asking things of them: each is a file in the job's folder, so it works with no runner alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.errors import UserError
from datadream.jobs import room, state, trash, variables
from datadream.jobs.home import Home
from datadream.jobs.launchers import resources_for
from datadream.jobs.lease import lease, lock
from datadream.jobs.provenance import describe_code
from datadream.jobs.spec import JobSpec
from datadream.jobs.state import Control, Request
from datadream.locks import LockHeld
from datadream.models.environment import device_asked
from datadream.models.makes import resolution_of

CONTROL_LOCK = "control.lock"
RESERVE_BYTES = 64 << 10


def missing(home: Home, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Those without a finished artifact, once each, in order."""
    found = {spec.id: spec for spec in specs if not home.has(spec.kind, spec.id)}
    return list(found.values())


def check(
    home: Home, specs: Sequence[JobSpec], launcher: str = "local", resources: Mapping[str, Any] | None = None
) -> None:
    """Raise UserError, before anything is written, for what `submit` would: no room, wrong device or `cluster.toml`."""
    device_asked()
    sizes: dict[str, int] = {}
    for spec in specs:
        sizes[spec.kind] = sizes.get(spec.kind, 0) + bytes_needed(spec)
    for disk, size in room.by_disk(home, sizes):
        home.need(size, "this request", disk)
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

    A job that is queued already stays as it is, but reads its model where this request has it; one that is paused or
    being cancelled goes on; one that failed or was cancelled is tried again. The settings of this process that a job's
    worker reads go with the request (`variables`). Raises UserError when there isn't room for what is asked, or
    `cluster.toml` or DATADREAM_DEVICE is wrong.
    """
    todo = missing(home, specs)
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
    durable.mark(staged / CONTROL_LOCK)
    durable.write_json(staged / "request.json", request.model_dump(mode="json"))
    records.write(staged / "spec.json", spec.model_dump(mode="json"), f"the spec of the {spec.stage} job")
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
        with _alone(home, spec.id):
            found = None
            with suppress(UserError):
                found = state.derive(home, spec.id)
            if found is not None and not found.final:
                _put_place(home, spec.id, request.place)
                if found.paused or found.state == "cancelling":
                    _write_control(home, spec.id, {"cancel": False, "paused": False, "reason": ""})
                durable.mark(home.queue / spec.id)
                return True
            durable.write_json(folder / "request.json", request.model_dump(mode="json"))
            if found is not None:
                _retry(home, spec.id)
            else:  # nothing readable was asked for here
                durable.mark(home.queue / spec.id)
                records.write(folder / "spec.json", spec.model_dump(mode="json"), f"the spec of the {spec.stage} job")
            return True
    except FileNotFoundError:
        return False


def _put_place(home: Home, job_id: str, place: str) -> None:
    """Where an open job's model lies now; nothing else of its request changes."""
    request = state.read_request(home, job_id)
    if place != (request.place or getattr(state.read_spec(home, job_id).model, "location", "")):
        changed = request.model_copy(update={"place": place})
        durable.write_json(home.job(job_id) / "request.json", changed.model_dump(mode="json"))


def cancel(home: Home, job_id: str, reason: str = "") -> None:
    """Ask a job to stop, keep its checkpoint and not to go on. Nothing happens to one that is over.

    It works on a full disk: an empty file needs no room, and says the same.
    """
    if state.derive(home, job_id).final:
        return
    try:
        _control(home, job_id, lambda old: {"cancel": True, "reason": reason or old.reason})
    except (OSError, UserError) as error:
        if not durable.is_full(error):
            raise
        with suppress(OSError, UserError):
            durable.mark(home.job(job_id) / state.CANCEL)
        if not (home.job(job_id) / state.CANCEL).exists():  # not even that: give back what was held for this
            durable.remove_file(home.reserve)
            with suppress(OSError, UserError):
                durable.mark(home.job(job_id) / state.CANCEL)
        if not (home.job(job_id) / state.CANCEL).exists():
            raise


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
    state.read_spec(home, job_id)
    with _alone(home, job_id):
        _retry(home, job_id)


def _retry(home: Home, job_id: str) -> None:
    """As `retry`, by whoever is alone with the job."""
    found = state.derive(home, job_id)
    spec = state.read_spec(home, job_id)
    if not found.final and found.state != "lost":
        if not (home.queue / job_id).exists():  # whoever asked for it died before it was queued
            durable.mark(durable.make_dir(home.queue) / job_id)
            return
        raise UserError(f"job {job_id[:8]} is still {found.state}", hint="cancel it first, or let it finish")
    if found.state == "done" and home.has(spec.kind, spec.id):
        raise UserError(f"job {job_id[:8]} is done", hint="to recompute it, use `datadream run --force`")
    folder = home.job(job_id)
    request = state.read_request(home, job_id)
    asked = request.model_copy(update={"environment": variables.kept(), "noted": variables.noted()})
    if asked != request:
        durable.write_json(folder / "request.json", asked.model_dump(mode="json"))
    durable.remove_file(folder / "error.json")
    durable.remove_file(folder / "result.json")
    retries = state.read_control(home, job_id).retries + 1
    _write_control(home, job_id, {"cancel": False, "paused": False, "reason": "", "retries": retries})


def remove(home: Home, job_id: str) -> None:
    """Remove the folder of a job that is over, from one moment to the next; its artifact stays.

    Raises UserError while it is not over.
    """
    if not home.job(job_id).is_dir():
        raise UserError(f"no job {job_id}", at=home.path, hint="see `datadream job ls`")
    hint = f"cancel it first: `datadream job cancel {job_id[:8]}`"

    def over() -> bool:
        found = None
        with suppress(UserError):  # a folder without a readable spec can go, as long as nobody has it
            found = state.derive(home, job_id)
        if found is not None and not found.final and not found.hopeless:
            raise UserError(f"job {job_id[:8]} is still {found.state}", hint=hint)
        return True

    try:
        _take_away(home, job_id, over, durable.remove_dir)
    except LockHeld as error:
        raise UserError(f"job {job_id[:8]} is still held by a worker", hint=hint) from error


def discard(home: Home, job_id: str, free: Callable[[], bool]) -> bool:
    """Move a job's folder to the trash when `free` says so, asked when nobody can change it; whether it went.

    Raises LockHeld when a worker has it.
    """
    return _take_away(home, job_id, free, lambda folder: trash.discard(home, folder))


def _take_away(home: Home, job_id: str, free: Callable[[], bool], away: Callable[[Path], object]) -> bool:
    """With nobody else asking anything of the job, and no worker able to begin: `away` with its folder in one step.

    Its mark in the queue goes after that: a mark without a job is nothing, a job without one would be marked again.
    """
    folder = home.job(job_id)
    with _alone(home, job_id):
        if not free():
            return False
        with _unworked(folder):
            away(folder)
    if (home.queue / job_id).exists():
        durable.remove_file(home.queue / job_id)
        durable.touch_dir(home.queue)
    return True


@contextmanager
def _unworked(folder: Path) -> Iterator[None]:
    """No worker has the job, nor takes it. Raises LockHeld when one has."""
    if (folder / "lease").is_dir():  # nobody can ever have that
        yield
        return
    with lease(folder / "lease", seconds=0):
        yield


@contextmanager
def _alone(home: Home, job_id: str, seconds: float | None = None) -> Iterator[None]:
    """Nobody else asks anything of the job. Raises LockHeld when others do for `seconds`."""
    path = home.job(job_id) / CONTROL_LOCK
    if path.is_dir():
        yield
        return
    with lock(path, seconds=seconds):
        yield


def _open(home: Home, job_id: str, verb: str) -> None:
    found = state.derive(home, job_id)
    if found.final:
        raise UserError(f"can't {verb} job {job_id[:8]}: it is {found.state}", hint="see `datadream job ls`")


def _control(
    home: Home,
    job_id: str,
    change: Callable[[Control], dict[str, Any]],
    seconds: float | None = None,
) -> None:
    with _alone(home, job_id, seconds):
        _write_control(home, job_id, change(state.read_control(home, job_id)))


def _write_control(home: Home, job_id: str, changes: Mapping[str, Any]) -> None:
    """Change what is asked of a job; by whoever is alone with it."""
    folder = home.job(job_id)
    new = Control(**{**state.read_control(home, job_id).model_dump(), **changes})
    durable.write_json(folder / "control.json", new.model_dump(mode="json"))
    if not new.cancel:
        durable.remove_file(folder / state.CANCEL)
    durable.make_dir(home.queue)
    durable.mark(home.queue / job_id)


def bytes_needed(spec: JobSpec) -> int:
    """Disk for a job's images: their raw size at the resolution its model's folder states, else at 512."""
    side = resolution_of(spec.model) if spec.stage == "generate" and spec.model and spec.shard is None else None
    return spec.bytes_needed(side) if side else spec.bytes_needed()
