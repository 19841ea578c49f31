"""A job's state, derived from its folder: result > live lease > what was asked > failure > inputs > spec.

Nothing here is stored as truth; `history.jsonl` only tells how a job came to where it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from datadream import durable, records
from datadream.canonical import ID_LENGTH
from datadream.errors import UserError
from datadream.home import identity, outlook, trouble, variables
from datadream.home.causes import CLEAR, PASSING, Cause, Why, why_of
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.lease import is_held, may_start
from datadream.home.lines import from_end
from datadream.home.spec import JobSpec
from datadream.home.variables import Asked
from datadream.stages.table import ROLES

M = TypeVar("M", bound=BaseModel)
State = Literal["queued", "blocked", "running", "cancelling", "done", "failed", "cancelled", "lost"]
STATES: tuple[State, ...] = get_args(State)
HISTORY_BYTES = 1 << 20  # of changes of state, the newest: some five thousand
TAIL_BYTES = 16384
STOP_REQUESTED, PAUSE_REQUESTED = "stop requested", "pause requested"
FINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})


class Request(BaseModel):
    """Who asked for a job and how: nothing its result depends on."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    title: str = ""
    experiment: str = ""
    priority: int = 0
    submitted: str = ""
    order: int = 0
    max_attempts: int = 3
    launcher: str = "local"
    resources: dict[str, Any] = {}
    shards: tuple[str, ...] = ()
    place: str = ""  # where its model lay when it was last asked for; the spec's own place is that of the first time
    code: dict[str, str] = {}  # of who asked
    environment: dict[str, str] | None = None  # the settings of whoever asked; None of a version that kept none
    noted: tuple[str, ...] = ()  # what was set besides, and is not written: tokens, proxies


class Control(BaseModel):
    """What was asked of a job since."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    cancel: bool = False
    paused: bool = False
    priority: int | None = None
    retries: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """A job as its folder tells it. `done` of `total` in `unit`; times are UTC ISO 8601, "" when not yet."""

    id: str
    stage: str
    kind: str
    state: State
    reason: str
    title: str = ""
    experiment: str = ""
    launcher: str = "local"
    priority: int = 0
    paused: bool = False
    attempts: int = 0
    slot: str = ""
    native: str = ""
    order: int = 0
    done: int = 0
    total: int = 0
    unit: str = ""
    submitted: str = ""
    started: str = ""
    ended: str = ""
    seconds: float | None = None
    asked: Asked = None
    cause: Cause = Cause.NONE

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.state in FINAL

    @property
    def hopeless(self) -> bool:
        """Whether it waits for something that won't come unless somebody asks."""
        return self.state == "blocked" and self.cause is Cause.STUCK


def now() -> str:
    """This moment, UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def read_spec(home: Home, job_id: str) -> JobSpec:
    """A job's spec. Raises UserError when there is none that can be read."""
    path = home.files(job_id).spec
    try:
        found = records.read(path)
        spec = JobSpec.model_validate(found) if found is not None else None
    except (records.Unreadable, ValidationError, RecursionError) as error:
        raise _no_spec(job_id, path) from error
    if spec is None:
        raise UserError(f"no job {job_id}", at=home.path, hint="see `datadream job ls`")
    if set(spec.inputs) - set(ROLES):
        raise _no_spec(job_id, path)
    if spec.id != job_id:
        raise UserError(
            f"spec.json of job {job_id} does not match: its hash is not the job's id",
            at=path,
            hint="remove the job with `datadream job rm`, then run the same command again",
        )
    return spec


def _no_spec(job_id: str, path: Path) -> UserError:
    hint = "the job is skipped; run the same command again, or remove it with `datadream job rm`"
    return UserError(f"job {job_id} has no readable spec.json", at=path, hint=hint)


def read_request(home: Home, job_id: str) -> Request:
    """How a job was asked for; defaults when that file is missing or garbage."""
    return read_model(home.files(job_id).request, Request)


def read_control(home: Home, job_id: str) -> Control:
    """What was asked of a job since."""
    folder = home.job(job_id)
    found = read_model(JobFiles(folder).control, Control)
    return found.model_copy(update={"cancel": True}) if JobFiles(folder).cancel.exists() else found


def read_model(path: Path, model: type[M]) -> M:
    """What the file at `path` holds; the defaults when it is missing or garbage, which `flaws` tells."""
    try:
        return load_model(path, model)
    except records.Unreadable:
        return model()


def load_model(path: Path, model: type[M]) -> M:
    """What the file at `path` holds; the defaults when it is missing. Raises Unreadable when it is garbage."""
    try:
        return model.model_validate(records.read(path, most=durable.RECORD_BYTES) or {})
    except ValidationError as error:
        raise records.Unreadable(path, invalid(error)) from error


def invalid(error: ValidationError) -> str:
    """What is wrong first, in words that go on from "the file ..."."""
    first = error.errors()[0]
    return f"has an invalid {'.'.join(map(str, first['loc']))!r}: {first['msg'].lower()}"


def read_dict(path: Path, most: int = records.MOST_BYTES) -> dict[str, Any] | None:
    """A JSON object's file; None when missing, torn, larger than `most` or something else, as `records.read` tells."""
    try:
        return records.read(path, most=most)
    except records.Unreadable:
        return None


def _small(path: Path) -> dict[str, Any]:
    """One of a job's own records; empty when there is none."""
    return read_dict(path, durable.RECORD_BYTES) or {}


def attempts(folder: Path) -> int:
    """The number of the last attempt that was claimed; 0 before the first."""
    try:
        names = [path.stem for path in JobFiles(folder).attempts.iterdir()]
    except OSError as error:
        if error.errno in durable.NO_RESOURCES:
            raise
        return 0
    return max((int(name) for name in names if name.isdecimal()), default=0)


def claim(home: Home, job_id: str, number: int, note: dict[str, Any]) -> bool:
    """Make attempt `number` ours; False when another runner or worker has it. One start per attempt, whoever asks.

    Raises UserError when the job is gone: a claim never brings back a folder that was removed.
    """
    files = home.files(job_id)
    if not files.spec.exists() or not durable.make_child(files.attempts):
        raise UserError(f"no job {job_id}", at=home.path, hint="it was removed; run the same command again")
    text = json.dumps({"attempt": number, "at": now(), "home": identity.place(home.path), **note}, sort_keys=True)
    return durable.create(files.attempt(number), text.encode())


def read_attempt(folder: Path, number: int) -> dict[str, Any]:
    """What was written at the claim; empty when unreadable."""
    return _small(JobFiles(folder).attempt(number))


def history(folder: Path) -> list[dict[str, Any]]:
    """Changes of state, oldest first, of the last HISTORY_BYTES; lines that aren't one are left out."""
    return [line for line in durable.read_jsonl(JobFiles(folder).history, HISTORY_BYTES)[0] if is_change(line)]


def is_change(line: Mapping[str, Any]) -> bool:
    """Whether a record is a change of state, as `write_history` leaves it."""
    try:
        records.check(line, {"seq": int, "at": str, "state": str, "reason": str, "attempt": int})
    except ValueError:
        return False
    return line["state"] in STATES


def last_change(folder: Path) -> dict[str, Any]:
    """The newest change of state; empty before the first."""
    for line in from_end(JobFiles(folder).history):
        record = durable.parse_record(line)
        if record is not None and is_change(record):
            return record
    return {}


def write_history(
    home: Home, job_id: str, state: State, reason: str, attempt: int, cause: Cause = Cause.NONE, **more: Any
) -> None:
    """Add a change of state with its reason and cause. Only the runner writes here."""
    folder = home.job(job_id)
    appender = durable.Appender(JobFiles(folder).history)  # first: it ends a line that was torn
    try:
        seq = int(last_change(folder).get("seq", 0)) + 1
        line = {"seq": seq, "at": now(), "state": state, "reason": reason, "attempt": attempt, "cause": str(cause)}
        appender.append({**line, **more})
    finally:
        appender.close()


def last_events(folder: Path, size: int = TAIL_BYTES) -> list[dict[str, Any]]:
    """The records in the last `size` bytes of a job's events."""
    try:
        with durable.open_regular(JobFiles(folder).events) as file:
            file.seek(max(0, file.seek(0, 2) - size))
            text = file.read(size)
    except OSError as error:
        if error.errno in durable.NO_RESOURCES:
            raise
        return []
    return [record for record in map(durable.parse_record, text.split(b"\n")) if record is not None]


def derive(home: Home, job_id: str, held: Why | None = None) -> Status:
    """The job's status. Raises UserError when its folder can't be read.

    `held` is why nothing starts at all, when the caller knows it; else it is looked up.
    """
    return look(home, job_id, held)[1]


def look(home: Home, job_id: str, held: Why | None = None) -> tuple[JobSpec, Status]:
    """The job's spec, and its status as `derive` has it."""
    try:
        spec = read_spec(home, job_id)
        return spec, _derive(home, job_id, spec, held)
    except OSError as error:
        if durable.is_storage(error) or error.errno in durable.NO_RESOURCES:
            raise
        hint = "the job is skipped; remove it with `datadream job rm`"
        raise UserError(f"job {job_id} can't be read: {error.strerror}", at=error.filename, hint=hint) from error
    except RecursionError as error:  # an input of its own, by a forged spec
        raise _no_spec(job_id, home.files(job_id).spec) from error


def _derive(home: Home, job_id: str, spec: JobSpec, held: Why | None) -> Status:
    folder = home.job(job_id)
    request, control = read_request(home, job_id), read_control(home, job_id)
    count = attempts(folder)
    attempt = read_attempt(folder, count) if count else {}
    events = last_events(folder)
    lines = history(folder)
    progress: dict[str, Any] = next((event for event in reversed(events) if event.get("kind") == "progress"), {})
    base = Status(
        id=job_id,
        stage=spec.stage,
        kind=spec.kind,
        state="queued",
        reason="",
        title=request.title,
        experiment=request.experiment,
        launcher=request.launcher,
        priority=request.priority if control.priority is None else control.priority,
        paused=control.paused,
        attempts=count,
        slot=str(attempt.get("slot", "")),
        order=request.order,
        done=_whole(progress.get("done")),
        total=_whole(progress.get("total")),
        unit=str(progress.get("unit", "")),
        submitted=request.submitted,
        started=str(read_attempt(folder, 1).get("at", "")) if count else "",
        ended=str(lines[-1].get("at", "")) if lines and lines[-1].get("state") in FINAL else "",
        seconds=_seconds(events),
        asked=variables.of_request(request.environment),
    )
    state, why = _state(home, spec, folder, request, control, count, attempt, lines)
    if state in ("queued", "cancelled") and attempt.get("launcher", "local") != "local":
        settled = any(line.get("attempt") == count and line.get("state") == "lost" for line in lines)
        base = replace(base, native="" if settled else read_native(folder, count))
    if state == "queued" and not why:
        if base.native:
            why = Why(_native_reason(home, request.launcher, base.native), Cause.SUBMITTED)
        elif held is None:
            why = outlook.held_up(home, request.launcher) or outlook.no_room(home, spec.kind, spec.model)
        else:
            why = held
    return because(replace(base, state=state), why)


def read_native(folder: Path, count: int) -> str:
    """The cluster's id of attempt `count`; "" when there is none, or it is the job of a home that this is a copy of."""
    found = _small(folder / "native.json")
    ours = found.get("attempt") == count and identity.is_of_here_or_elsewhere(found, folder.parent.parent)
    return str(found.get("native", "")) if ours else ""


def _native_reason(home: Home, launcher: str, native: str) -> str:
    """Where a submitted job waits, and that its cluster doesn't answer, when it doesn't."""
    said = trouble.read(home).launchers.get(launcher, "")
    return f"pending in {launcher} as {native}{f'; {said}' if said else ''}"


def find_job(home: Home, prefix: str) -> str:
    """The job whose id begins with `prefix`. Raises UserError when none does, or several do."""
    known = prefix if is_id(prefix) else ""
    if known and home.job(known).is_dir():
        return known
    try:
        names = sorted(path.name for path in (home.path / "jobs").iterdir() if path.name.startswith(prefix))
    except OSError:
        names = []
    if len(names) == 1 and prefix:
        return names[0]
    if len(names) > 1 and prefix:
        listed = ", ".join(name[: len(prefix) + 4] for name in names[:5])
        raise UserError(f"ambiguous id {prefix!r} ({len(names)} jobs); candidates: {listed}")
    raise UserError(f"no job {prefix!r}", at=home.path, hint="see `datadream job ls`")


def is_id(name: str) -> bool:
    """Whether `name` looks like the id of a job or artifact."""
    return len(name) == ID_LENGTH and all(character in "0123456789abcdef" for character in name)


def failed_by_storage(home: Home, job_id: str) -> bool:
    """Whether the disk ended the job's last attempt."""
    return _small(home.files(job_id).error).get("kind") == "storage"


def _state(
    home: Home,
    spec: JobSpec,
    folder: Path,
    request: Request,
    control: Control,
    count: int,
    attempt: dict[str, Any],
    lines: list[dict[str, Any]],
) -> tuple[State, Why]:
    waits = (home.queue / spec.id).exists()
    result, there = read_dict(JobFiles(folder).result) is not None, home.has(spec.kind, spec.id)
    if result and (there or not waits):
        return "done", CLEAR if there else Why(_what_became(home, spec))
    last = lines[-1] if lines else {}
    settled = any(line.get("attempt") == count and line.get("state") not in ("running", "cancelling") for line in lines)
    given = count and not settled and may_start(JobFiles(folder).attempt(count), attempt)
    if is_held(JobFiles(folder).lease) or given:
        said = last if last.get("attempt") == count else {}
        told = why_of(said)
        if control.cancel:
            reason = told.reason if said.get("state") == "cancelling" else STOP_REQUESTED
            return "cancelling", Why(reason, Cause.STOPPING)
        if said.get("state") != "running":
            told = CLEAR
        if control.paused:
            return "running", told if told.cause is Cause.PAUSING else Why(PAUSE_REQUESTED, Cause.PAUSING)
        return "running", told
    if there and not waits:
        return "done", Why("result.json is missing; the artifact exists")
    if control.cancel:
        return "cancelled", Why(control.reason or "cancel requested")
    error = _small(JobFiles(folder).error)
    current = _whole(error.get("attempt", count)) >= count
    if error.get("kind") in ("user", "unexpected") and current:
        return "failed", Why(str(error.get("message", "no error message")))
    if last.get("state") == "failed" and _whole(last.get("retries")) >= control.retries:
        return "failed", Why(str(last.get("reason", "")))
    if control.paused:
        return "queued", held(control.reason)
    if error.get("kind") == "storage" and current:
        return "queued", Why(f"{_first(error)}; resumes automatically once the disk is writable", Cause.STORAGE)
    if count and not settled and attempt.get("launcher", "local") == "local":
        return "lost", Why(_first(error) if error and current else "its worker died without a message")
    waiting = _inputs(home, spec, request)
    if waiting:
        return "blocked", waiting
    told = why_of(last) if last.get("state") == "queued" else CLEAR
    return "queued", CLEAR if told.cause is Cause.HELD or told.cause in PASSING else told  # these pass without a line


def because(status: Status, why: Why) -> Status:
    """The same status for that cause."""
    return replace(status, reason=why.reason, cause=why.cause)


def held(why: str) -> Why:
    """What is said of a paused job; `why` may be empty."""
    return Why(f"paused: {why}" if why else "paused", Cause.HELD)


def _what_became(home: Home, spec: JobSpec) -> str:
    """Why the artifact of a job that made one isn't there."""
    ruin = home.artifact(spec.kind, spec.id).exists()
    return f"its {spec.kind} is damaged" if ruin else f"its {spec.kind} was removed"


def _first(error: dict[str, Any]) -> str:
    return (str(error.get("message", "")).splitlines() or ["no error message"])[0]


def _inputs(home: Home, spec: JobSpec, request: Request) -> Why:
    """Why a job can't start yet; nothing when every input is there."""
    for role, parent in sorted([*spec.inputs.items(), *(("shard", shard) for shard in request.shards)]):
        if home.has(ROLES[role], parent):
            continue
        what = "make that set again" if role == "set" else "run the same command again"
        gone = f"{role} {parent[:8]} is missing: {what}"
        if not home.files(parent).spec.exists():
            return Why(gone, Cause.STUCK)
        try:
            status = derive(home, parent, held=CLEAR)
        except UserError:
            return Why(f"the job of {role} {parent[:8]} can't be read", Cause.STUCK)
        if status.state == "done":
            if home.has(ROLES[role], parent):  # published since we looked
                continue
            return Why(gone, Cause.STUCK)
        if status.state in ("failed", "cancelled"):
            became = "failed" if status.state == "failed" else "was cancelled"
            return Why(f"{role} {parent[:8]} {became}", Cause.STUCK)
        if status.hopeless:
            return Why(status.reason, status.cause)
        return Why(f"waiting for {role} {parent[:8]}", Cause.WAITS)
    return CLEAR


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(events: list[dict[str, Any]]) -> float | None:
    value = next((event["seconds"] for event in reversed(events) if "seconds" in event), None)
    return float(value) if isinstance(value, int | float) else None
