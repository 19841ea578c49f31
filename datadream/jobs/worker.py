"""The child process that runs jobs, one after another.

It reads specs and finished inputs, writes only its jobs' folders and their staging folders, knows no database,
and leaves at the first failure. Imports and the loaded backbone stay between jobs; each job has its own lease,
events and result, and no state of one reaches the next.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.home import identity, room, state, variables
from datadream.home.artifacts import open_artifact, publish, read_manifest
from datadream.home.events import Journal
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.lease import Held, Lost, lease
from datadream.home.provenance import Code, Masked, describe_code, describe_environment, name_of
from datadream.home.sets import load_set
from datadream.home.spec import JobSpec
from datadream.home.state import Request
from datadream.jobs.checkpoints import claim_checkpoint
from datadream.jobs.failures import write_failure
from datadream.jobs.losses import differences
from datadream.jobs.pool import READY
from datadream.jobs.wishes import loading, watched
from datadream.methods import plugs
from datadream.models.environment import prepare_environment
from datadream.models.verify import check_unchanged
from datadream.stages.emit import Emit, Event, Stopped, stopping
from datadream.stages.table import ROLES, function_of
from datadream.stages.task import AnyTask, Input, Task

EXIT_STOPPED = 4
ROOM_SECONDS = 2.0  # between two looks at the free space
ROOM_BYTES = 16 << 20
CODE_CHANGED = "the code on disk changed since this worker started; a new worker takes the job"


@dataclass(frozen=True)
class Turn:
    """A job to run; `attempt` is None when no runner has claimed one."""

    job: str
    attempt: int | None = None


class Worker:
    """Runs jobs in this process until one fails or a signal asks to stop."""

    def __init__(self, home: Home, told: int | None = None) -> None:
        """`told` is a descriptor that hears `ready 0` when it takes jobs, and `JOB STATUS` when one is over.

        After any STATUS but 0 it leaves.
        """
        self._home, self._told = home, told
        self._busy = False
        self._code = Code()
        prepare_environment()
        sys.stdout, sys.stderr = Masked(sys.stdout), Masked(sys.stderr)  # type: ignore[assignment]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal stops nothing
        os.register_at_fork(after_in_child=_end_when_asked)

    def work(self, turns: Iterable[Turn]) -> int:
        """Run the jobs in order; 0 when all succeeded.

        2 on something the user can mend, 3 when the disk failed, 4 when asked to stop, 1 on anything else.
        """
        self._tell(READY, 0)
        try:
            for turn in turns:
                self._busy = True
                status = self._run_safely(turn) or (EXIT_STOPPED if stopping.is_set() else 0)
                self._tell(turn.job, status)
                if status:
                    return status
                self._busy = False
        except Stopped:
            return EXIT_STOPPED
        return 0

    def _tell(self, what: str, status: int) -> None:
        if self._told is not None:
            with suppress(BrokenPipeError):  # the runner is gone: no more jobs will come, and that is all
                os.write(self._told, f"{what} {status}\n".encode())

    def _stop(self, *_: object) -> None:
        stopping.set()
        if not self._busy or loading.is_set():
            loading.clear()  # once: what it then writes down isn't interrupted
            raise Stopped

    def _run_safely(self, turn: Turn) -> int:
        folder = self._home.job(turn.job)
        attempt = turn.attempt
        try:
            _redirect(JobFiles(folder).log)
            loading.set()
            _settle(folder, attempt)
            with watched(self._home, turn.job), lease(JobFiles(folder).lease, print_line, seconds=math.inf) as held:
                if attempt is None:
                    attempt = _claim(self._home, turn.job)
                durable.remove_file(JobFiles(folder).error)
                durable.reserve(JobFiles(folder).reserve)
                _run(self._home, turn.job, attempt, held, self._code)
                durable.remove_file(JobFiles(folder).reserve)
            return 0
        except Stopped as stopped:
            print_line(f"stopped{f': {stopped}' if str(stopped) else ''}; the checkpoint is kept")
            return EXIT_STOPPED
        except Lost:
            print_line("another worker took the job, as this one was silent for too long; exiting")
            return EXIT_STOPPED
        except UserError as error:
            failure: Exception = error
        except Exception as error:  # noqa: BLE001 - the edge of the process: everything is written down, then it leaves
            failure = error
        finally:
            loading.clear()
        return write_failure(folder, failure, state.attempts(folder) if attempt is None else attempt)


def _end_when_asked() -> None:
    """In a child: a signal ends it. With our handlers it would live on, and keep the slot for ever."""
    with suppress(ValueError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)


def _settle(folder: Path, attempt: int | None) -> None:
    """Take on the settings a cluster's job was asked for with; of one that is started by hand say which are others."""
    request = state.read_model(JobFiles(folder).request, state.Request)
    if attempt is not None and state.read_attempt(folder, attempt).get("launcher", "local") != "local":
        variables.adopt(request.environment, request.noted)
        prepare_environment()
    elif attempt is None and request.environment is not None:
        told = differences(request.environment, variables.kept())
        if told:
            print_line(f"running with the settings of this shell, which differ from those requested: {told}")


def print_line(text: str) -> None:
    """One line into the job's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _claim(home: Home, job_id: str) -> int:
    """The next attempt, made ours. Only under the job's lease."""
    while True:
        number = state.attempts(home.job(job_id)) + 1
        if state.claim(home, job_id, number, {"worker": identity.myself().to_json(), "slot": "", "launcher": "local"}):
            return number


def _redirect(log: Path) -> None:
    """This process's output goes to the job's log from here on."""
    try:
        fd = durable.open_file(log, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise durable.user_error(error, log) from error
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _run(home: Home, job_id: str, attempt: int, held: Held, code: Code) -> None:
    """One job, under its lease, to its result. A finished artifact is not made twice."""
    folder = home.job(job_id)
    spec, request = state.read_spec(home, job_id), state.read_request(home, job_id)
    if spec.model is not None and request.place:
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"location": request.place})})
    journal = Journal(JobFiles(folder).events, attempt)
    try:
        if not home.has(spec.kind, spec.id):
            stage = function_of(spec.stage)  # now: later it may be another version's
            if code.changed():
                raise Stopped(CODE_CHANGED)
            journal.emit({"kind": "started", "stage": spec.stage})
            _write_environment(folder)
            origin = _origin(home, spec, request)
            checkpoint = claim_checkpoint(home, spec, origin)
            staged = durable.make_dir(home.staging(spec.kind, spec.id))
            emit = _with_room(home, spec, held, journal.emit)
            plugs.check_used(spec.settings, spec.plugs)
            result = stage(_task(home, spec, request, staged, checkpoint, emit))
            loading.clear()
            _check_after(home, spec)
            held.check()
            origin |= {"job": job_id, "seconds": round(journal.seconds, 2), **_device(), **result}
            publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), origin)
        if not journal.done:
            journal.emit({"kind": "done"})
        durable.write_json(JobFiles(folder).result, {"artifact": spec.id, "kind": spec.kind, "attempt": attempt})
        durable.remove_dir(JobFiles(folder).checkpoint)
    except Stopped as stopped:
        journal.emit({"kind": "stopped", **({"reason": str(stopped)} if str(stopped) else {})})
        raise
    finally:
        journal.close()


def _origin(home: Home, spec: JobSpec, request: Request) -> dict[str, Any]:
    """What the job is made from, read and compared with its hashes: the contents of its inputs, and the code."""

    def between() -> None:
        if stopping.is_set():
            raise Stopped

    shards = {f"shard {number}": shard for number, shard in enumerate(request.shards)}
    contents = {}
    for role, parent in {**spec.inputs, **shards}.items():
        kind = ROLES[role.split()[0]]
        open_artifact(home, kind, parent, between)
        contents[role] = str(read_manifest(home, kind, parent)["content"])
    mine = describe_code()
    if request.code and request.code.get("source") != mine["source"]:
        print_line(f"requested with {name_of(request.code)}, made with {name_of(mine)}")
    return {"code": mine, "inputs": contents}


def _check_after(home: Home, spec: JobSpec) -> None:
    """Raise UserError when something the job read was written to while it ran; only what changed is read again."""
    if spec.model is not None:
        check_unchanged(spec.model)
    for role, parent in spec.inputs.items():
        if home.has(ROLES[role], parent):
            open_artifact(home, ROLES[role], parent)


def _with_room(home: Home, spec: JobSpec, held: Held, emit: Emit) -> Emit:
    """`emit`, as long as the lease is ours, and now and then a look at the free space: better to stop early than to
    fill a disk.
    """
    looked = time.monotonic()

    def checked(event: Event) -> None:
        nonlocal looked
        loading.clear()
        held.check()
        emit(event)
        if time.monotonic() - looked > ROOM_SECONDS:
            looked = time.monotonic()
            free = room.least(home, spec.kind)
            if free.size < ROOM_BYTES:
                raise durable.no_space(free.at) from OSError(errno.ENOSPC, "nearly full")

    return checked


def _write_environment(folder: Path) -> None:
    durable.write_json(JobFiles(folder).environment, {**describe_environment(), **variables.recorded()})


def _device() -> dict[str, str | int]:
    """What computed it; a stage without torch says so."""
    if "torch" not in sys.modules:
        return {"device": "cpu"}
    from datadream.models import runtime

    return runtime.describe()


def _task(home: Home, spec: JobSpec, request: Request, staged: Path, checkpoint: Path, emit: Emit) -> AnyTask:
    """What the stage is given; every input is a finished artifact, and has been looked at."""
    inputs = {}
    for role, parent in spec.inputs.items():
        kind = ROLES[role]
        if kind != "set":
            made = JobSpec.model_validate(read_manifest(home, kind, parent)["spec"])
            inputs[role] = Input(parent, home.artifact(kind, parent), made.image_folders)
    known: dict[str, str] = {}
    for shard in request.shards:
        durable.link_tree(home.artifact("shard", shard) / "data", staged / "data")
        files = read_manifest(home, "shard", shard)["files"]
        known |= {name: str(entry["sha256"]) for name, entry in files.items()}
    return Task(
        settings=spec.parsed(),
        out=staged,
        checkpoint=checkpoint,
        emit=emit,
        seed=spec.seed,
        model=spec.model,
        shots=load_set(home, spec.inputs["set"]) if "set" in spec.inputs else None,
        inputs=inputs,
        classes=spec.classes,
        prompts=spec.prompts,
        folders=spec.folders,
        shard=spec.shard,
        known=known,
        data=spec.data or "none",
        images_per_class=spec.images_per_class or 0,
        excluded=spec.excluded,
    )


def fed() -> Iterable[Turn]:
    """Turns from standard input, a line `JOB ATTEMPT` each, until it is closed."""
    for line in sys.stdin:
        job, attempt = line.split()
        yield Turn(job, int(attempt))
