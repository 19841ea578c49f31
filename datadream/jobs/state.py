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
from datadream.canonical import ID_LENGTH, parse_json
from datadream.errors import UserError
from datadream.jobs import identity, room
from datadream.jobs.home import Home, Kind
from datadream.jobs.lease import is_held, may_start
from datadream.jobs.spec import JobSpec
from datadream.models.presets import ModelRef

M = TypeVar("M", bound=BaseModel)
State = Literal["queued", "blocked", "running", "cancelling", "done", "failed", "cancelled", "lost"]
STATES: tuple[State, ...] = get_args(State)
ROOM_BYTES = 24 << 20  # nothing starts with less free
CANCEL = "cancel"  # an empty file that says so where there is no room to write it
PAUSED = "paused"  # how the reason of a paused job begins
QUEUE_PAUSED, NO_ROOM = "the queue is paused", "waits for disk space"
FINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})
ROLES: dict[str, Kind] = {"set": "set", "adapter": "adapter", "synthetic": "synthetic", "shard": "shard"}


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

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.state in FINAL

    @property
    def hopeless(self) -> bool:
        """Whether it waits for something that won't come unless somebody asks."""
        return self.state == "blocked" and any(
            word in self.reason for word in ("failed", "cancelled", "gone", "no readable")
        )


def now() -> str:
    """This moment, UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def read_spec(home: Home, job_id: str) -> JobSpec:
    """A job's spec. Raises UserError when there is none that can be read."""
    path = home.job(job_id) / "spec.json"
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
            f"the spec.json of the job {job_id} is another's or was changed: its hash is not the job's id",
            at=path,
            hint="remove the job with `datadream job rm`, then run the same command again",
        )
    return spec


def _no_spec(job_id: str, path: Path) -> UserError:
    hint = "it is left alone; ask for the same run again, or remove it with `datadream job rm`"
    return UserError(f"the job {job_id} has no readable spec.json", at=path, hint=hint)


def read_request(home: Home, job_id: str) -> Request:
    """How a job was asked for; defaults when that file is missing or garbage."""
    return read_model(home.job(job_id) / "request.json", Request)


def read_control(home: Home, job_id: str) -> Control:
    """What was asked of a job since."""
    folder = home.job(job_id)
    found = read_model(folder / "control.json", Control)
    return found.model_copy(update={"cancel": True}) if (folder / CANCEL).exists() else found


def read_model(path: Path, model: type[M]) -> M:
    """What the file at `path` holds; the defaults when it is missing or garbage, which `flaws` tells."""
    try:
        return load_model(path, model)
    except records.Unreadable:
        return model()


def load_model(path: Path, model: type[M]) -> M:
    """What the file at `path` holds; the defaults when it is missing. Raises Unreadable when it is garbage."""
    try:
        return model.model_validate(records.read(path) or {})
    except ValidationError as error:
        raise records.Unreadable(path, invalid(error)) from error


def invalid(error: ValidationError) -> str:
    """What is wrong first, in words that go on from "the file ..."."""
    first = error.errors()[0]
    return f"has a {'.'.join(map(str, first['loc']))!r} that can't be: {first['msg'].lower()}"


def read_dict(path: Path, most: int = records.MOST_BYTES) -> dict[str, Any] | None:
    """A JSON object's file; None when missing, torn or something else, which `records.read` tells apart."""
    try:
        return records.read(path, most=most)
    except records.Unreadable:
        return None


def attempts(folder: Path) -> int:
    """The number of the last attempt that was claimed; 0 before the first."""
    try:
        names = [path.stem for path in (folder / "attempts").iterdir()]
    except OSError:
        return 0
    return max((int(name) for name in names if name.isdecimal()), default=0)


def claim(home: Home, job_id: str, number: int, note: dict[str, Any]) -> bool:
    """Make attempt `number` ours; False when another runner or worker has it. One start per attempt, whoever asks.

    Raises UserError when the job is gone: a claim never brings back a folder that was removed.
    """
    folder = home.job(job_id) / "attempts"
    if not (folder.parent / "spec.json").exists() or not durable.make_child(folder):
        raise UserError(f"no job {job_id}", at=home.path, hint="it was removed; ask for the same run again")
    text = json.dumps({"attempt": number, "at": now(), "home": identity.place(home.path), **note}, sort_keys=True)
    return durable.create(folder / f"{number}.json", text.encode())


def read_attempt(folder: Path, number: int) -> dict[str, Any]:
    """What was written at the claim; empty when unreadable."""
    return read_dict(folder / "attempts" / f"{number}.json") or {}


def history(folder: Path) -> list[dict[str, Any]]:
    """Changes of state, oldest first; lines that aren't one are left out."""
    return [line for line in durable.read_jsonl(folder / "history.jsonl")[0] if is_change(line)]


def is_change(line: Mapping[str, Any]) -> bool:
    """Whether a record is a change of state, as `write_history` leaves it."""
    try:
        records.check(line, {"seq": int, "at": str, "state": str, "reason": str, "attempt": int})
    except ValueError:
        return False
    return line["state"] in STATES


def write_history(home: Home, job_id: str, state: State, reason: str, attempt: int, **more: Any) -> None:
    """Add a change of state with its reason. Only the runner writes here."""
    folder = home.job(job_id)
    lines = history(folder)
    seq = lines[-1]["seq"] + 1 if lines else 1
    appender = durable.Appender(folder / "history.jsonl")
    try:
        appender.append({"seq": seq, "at": now(), "state": state, "reason": reason, "attempt": attempt, **more})
    finally:
        appender.close()


def last_events(folder: Path, size: int = 16384) -> list[dict[str, Any]]:
    """The records in the last `size` bytes of a job's events."""
    try:
        with durable.open_regular(folder / "events.jsonl") as file:
            file.seek(max(0, file.seek(0, 2) - size))
            text = file.read()
    except OSError:
        return []
    found = []
    for line in text.split(b"\n"):
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def derive(home: Home, job_id: str) -> Status:
    """The job's status. Raises UserError when its folder can't be read."""
    try:
        return _derive(home, job_id)
    except OSError as error:
        if durable.is_storage(error):
            raise
        hint = "it is left alone; remove it with `datadream job rm`"
        raise UserError(f"the job {job_id} can't be read: {error.strerror}", at=error.filename, hint=hint) from error
    except RecursionError as error:  # an input of its own, by a forged spec
        raise _no_spec(job_id, home.job(job_id) / "spec.json") from error


def _derive(home: Home, job_id: str) -> Status:
    spec = read_spec(home, job_id)
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
    )
    state, reason = _state(home, spec, folder, request, control, count, attempt, lines)
    if state in ("queued", "cancelled") and attempt.get("launcher", "local") != "local":
        settled = any(line.get("attempt") == count and line.get("state") == "lost" for line in lines)
        base = replace(base, native="" if settled else read_native(folder, count))
    if state == "queued" and not reason:
        reason = f"waits in {request.launcher} as {base.native}" if base.native else _held_up(home, spec)
    return replace(base, state=state, reason=reason)


def read_native(folder: Path, count: int) -> str:
    """The cluster's id of attempt `count`; "" when there is none, or it is the job of a home that this is a copy of."""
    found = read_dict(folder / "native.json") or {}
    ours = found.get("attempt") == count and identity.is_of_here_or_elsewhere(found, folder.parent.parent)
    return str(found.get("native", "")) if ours else ""


def _held_up(home: Home, spec: JobSpec) -> str:
    """Why it doesn't start though nothing of its own is in the way, or ""."""
    if (read_dict(home.queue_settings) or {}).get("paused"):
        return QUEUE_PAUSED
    return no_room(home, spec.kind, spec.model)


def no_room(home: Home, kind: str, model: ModelRef | None) -> str:
    """Why a job that makes `kind` with `model` waits for disk space, "" when there is enough on every disk it needs."""
    free = room.least(home, kind, model)
    if free.size >= ROOM_BYTES:
        return ""
    at = "" if free.at == home.path else f" on the disk of {free.at}"
    return f"{NO_ROOM}: {free.size >> 20} MiB are free{at}"


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
        raise UserError(f"{prefix!r} begins the ids of {len(names)} jobs", hint=f"say more of it: {listed}")
    raise UserError(f"no job {prefix!r}", at=home.path, hint="see `datadream job ls`")


def is_id(name: str) -> bool:
    """Whether `name` looks like the id of a job or artifact."""
    return len(name) == ID_LENGTH and all(character in "0123456789abcdef" for character in name)


def failed_by_storage(home: Home, job_id: str) -> bool:
    """Whether the disk ended the job's last attempt."""
    return (read_dict(home.job(job_id) / "error.json") or {}).get("kind") == "storage"


def _state(
    home: Home,
    spec: JobSpec,
    folder: Path,
    request: Request,
    control: Control,
    count: int,
    attempt: dict[str, Any],
    lines: list[dict[str, Any]],
) -> tuple[State, str]:
    waits = (home.queue / spec.id).exists()
    result, there = read_dict(folder / "result.json") is not None, home.has(spec.kind, spec.id)
    if result and (there or not waits):
        return "done", "" if there else _what_became(home, spec)
    last = lines[-1] if lines else {}
    settled = any(line.get("attempt") == count and line.get("state") not in ("running", "cancelling") for line in lines)
    given = count and not settled and may_start(folder / "attempts" / f"{count}.json", attempt)
    if is_held(folder / "lease") or given:
        if control.cancel:
            return "cancelling", "asked to stop"
        if control.paused:
            return "running", "stops at its next checkpoint, to pause"
        told = last.get("state") == "running" and last.get("attempt") == count
        return "running", str(last.get("reason", "")) if told else ""
    if there and not waits:
        return "done", "its result.json is missing; the artifact is there"
    if control.cancel:
        return "cancelled", control.reason or "asked to stop"
    error = read_dict(folder / "error.json") or {}
    current = _whole(error.get("attempt", count)) >= count
    if error.get("kind") in ("user", "unexpected") and current:
        return "failed", str(error.get("message", "it left no message"))
    if last.get("state") == "failed" and _whole(last.get("retries")) >= control.retries:
        return "failed", str(last.get("reason", ""))
    if control.paused:
        return "queued", f"{PAUSED}{': ' + control.reason if control.reason else ''}"
    if error.get("kind") == "storage" and current:
        return "queued", f"{_first(error)}; goes on by itself when it can write again"
    if count and not settled and attempt.get("launcher", "local") == "local":
        return "lost", _first(error) if error and current else "its worker is gone without a word"
    waiting = _inputs(home, spec, request)
    if waiting:
        return "blocked", waiting
    told = str(last.get("reason", "")) if last.get("state") == "queued" else ""
    return "queued", "" if told.startswith((PAUSED, QUEUE_PAUSED, NO_ROOM)) else told  # these pass without a line


def _what_became(home: Home, spec: JobSpec) -> str:
    """Why the artifact of a job that made one isn't there."""
    ruin = home.artifact(spec.kind, spec.id).exists()
    return f"its {spec.kind} is no longer whole" if ruin else f"its {spec.kind} was removed since"


def _first(error: dict[str, Any]) -> str:
    return (str(error.get("message", "")).splitlines() or ["it left no message"])[0]


def _inputs(home: Home, spec: JobSpec, request: Request) -> str:
    """Why a job can't start yet, or "" when every input is there."""
    for role, parent in sorted([*spec.inputs.items(), *(("shard", shard) for shard in request.shards)]):
        if home.has(ROLES[role], parent):
            continue
        what = "make that set again" if role == "set" else "ask for the same run again"
        gone = f"its {role} {parent[:8]} is gone: {what}"
        if not (home.job(parent) / "spec.json").exists():
            return gone
        try:
            status = derive(home, parent)
        except UserError:
            return f"its {role} {parent[:8]} has no readable job"
        if status.state == "done":
            if home.has(ROLES[role], parent):  # published since we looked
                continue
            return gone
        if status.state in ("failed", "cancelled"):
            return f"its {role} {parent[:8]} {'has failed' if status.state == 'failed' else 'was cancelled'}"
        if status.hopeless:
            return status.reason
        return f"waits for its {role} {parent[:8]}"
    return ""


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(events: list[dict[str, Any]]) -> float | None:
    value = next((event["seconds"] for event in reversed(events) if "seconds" in event), None)
    return float(value) if isinstance(value, int | float) else None
