"""What is asked of a job after it was submitted: each is a file in its folder, so it works with no runner alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.home import state, trash, variables
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.lease import lease, lock
from datadream.home.state import Control
from datadream.locks import LockHeld
from datadream.models.environment import device_asked


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
        said = home.files(job_id).cancel
        with suppress(OSError, UserError):
            durable.mark(said)
        if not said.exists():  # not even that: give back what was held for this
            durable.remove_file(home.reserve)
            with suppress(OSError, UserError):
                durable.mark(said)
        if not said.exists():
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
    with alone(home, job_id):
        retry_alone(home, job_id)


def retry_alone(home: Home, job_id: str) -> None:
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
    files, request = home.files(job_id), state.read_request(home, job_id)
    asked = request.model_copy(update={"environment": variables.kept(), "noted": variables.noted()})
    if asked != request:
        durable.write_json(files.request, asked.model_dump(mode="json"))
    durable.remove_file(files.error)
    durable.remove_file(files.result)
    retries = state.read_control(home, job_id).retries + 1
    write(home, job_id, {"cancel": False, "paused": False, "reason": "", "retries": retries})


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
    with alone(home, job_id):
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
    if JobFiles(folder).lease.is_dir():  # nobody can ever have that
        yield
        return
    with lease(JobFiles(folder).lease, seconds=0):
        yield


@contextmanager
def alone(home: Home, job_id: str, seconds: float | None = None) -> Iterator[None]:
    """Nobody else asks anything of the job. Raises LockHeld when others do for `seconds`."""
    path = home.files(job_id).control_lock
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
    with alone(home, job_id, seconds):
        write(home, job_id, change(state.read_control(home, job_id)))


def write(home: Home, job_id: str, changes: Mapping[str, Any]) -> None:
    """Change what is asked of a job; by whoever is alone with it."""
    files = home.files(job_id)
    new = Control(**{**state.read_control(home, job_id).model_dump(), **changes})
    durable.write_json(files.control, new.model_dump(mode="json"))
    if not new.cancel:
        durable.remove_file(files.cancel)
    durable.make_dir(home.queue)
    durable.mark(home.queue / job_id)
