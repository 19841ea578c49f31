"""The child process that runs jobs, one after another: `datadream worker --home HOME JOB...`.

It reads specs and finished inputs, writes only its jobs' folders and their staging folders, knows no database,
and leaves at the first failure. Imports and the loaded backbone stay between jobs; each job has its own lease,
events and result.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.jobs.artifacts import open_artifact, publish
from datadream.jobs.home import Home
from datadream.jobs.lease import lease
from datadream.jobs.sets import load_set
from datadream.jobs.spec import JobSpec
from datadream.models.environment import prepare_environment
from datadream.stages.emit import Event
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings

EXIT_FAILED = 1
EXIT_USER = 2
EXIT_FULL = 3
EVENT_SECONDS = 0.2  # progress events closer together than this are dropped; metrics never are


def work(home: Home, job_ids: Sequence[str]) -> int:
    """Run the jobs in order; 0 when all succeeded.

    2 on something the user can mend, 3 when there was no room left even to write that down, 1 on anything else.
    """
    prepare_environment()
    for job_id in job_ids:
        status = _run_safely(home, job_id)
        if status:
            return status
    return 0


def _run_safely(home: Home, job_id: str) -> int:
    folder = home.job(job_id)
    try:
        _redirect(folder / "log.txt")
        (folder / "error.json").unlink(missing_ok=True)
        _run(home, job_id)
        return 0
    except UserError as error:
        failure: Exception = error
    except OSError as error:
        failure = durable.user_error(error, folder) if error.errno in durable.NO_SPACE else error
    except Exception as error:  # noqa: BLE001 - the edge of the process: everything is written down, then it leaves
        failure = _memory_error(error) or error
    kind = "user" if isinstance(failure, UserError) else "unexpected"
    text = str(failure) if kind == "user" else f"{type(failure).__name__}: {failure}"
    try:
        traceback.print_exception(failure)
        sys.stderr.flush()
        durable.write_json(folder / "error.json", {"kind": kind, "message": text})
    except (OSError, UserError):  # a full disk: the exit code is all that can be left
        return EXIT_FULL
    return EXIT_USER if kind == "user" else EXIT_FAILED


def _redirect(log: Path) -> None:
    """This process's output goes to the job's log from here on."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _memory_error(error: Exception) -> UserError | None:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or getattr(error, "errno", 0) == errno.ENOMEM:
        return UserError("out of memory", hint="lower that stage's batch_size with -o, then run the same command again")
    return None


def _run(home: Home, job_id: str) -> None:
    """One job, from its lease to its result. A finished artifact is not made twice."""
    folder = home.job(job_id)
    spec = JobSpec.model_validate_json((folder / "spec.json").read_bytes())
    before = _seconds_before(folder)
    began = time.monotonic()
    events = durable.Appender(folder / "events.jsonl")
    last = 0.0

    def emit(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        final = event.get("kind") != "progress" or event.get("done") == event.get("total")
        if final or now - last > EVENT_SECONDS:
            events.append({**event, "seconds": round(before + now - began, 3)})
            last = now

    try:
        with lease(folder / "lease", lambda holder: emit({"kind": "waiting", "for": holder})):
            if not home.has(spec.kind, spec.id):
                began = time.monotonic()
                emit({"kind": "started", "stage": spec.stage})
                staged = durable.make_dir(home.staging(spec.kind, spec.id))
                result = _stage(home, spec, staged, durable.make_dir(folder / "checkpoint"), emit)
                from datadream.models import runtime

                seconds = round(before + time.monotonic() - began, 2)
                origin = {"job": job_id, "seconds": seconds, **runtime.describe(), **result}
                publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), origin)
            durable.write_json(folder / "result.json", {"artifact": spec.id, "kind": spec.kind})
            durable.remove_dir(folder / "checkpoint")
            emit({"kind": "done"})
    finally:
        events.close()


def _stage(home: Home, spec: JobSpec, staged: Path, checkpoint: Path, emit: Any) -> dict[str, float | int]:
    """Dispatch; every input is a finished artifact."""
    settings = spec.parsed()
    if isinstance(settings, AdaptSettings):
        from datadream.stages.adapt import adapt

        adapt(settings, spec.model, load_set(home, spec.inputs["set"]), spec.seed, staged, checkpoint, emit)
    elif isinstance(settings, GenerateSettings):
        from datadream.stages.generate import generate

        adapter_id = spec.inputs.get("adapter")
        adapter = open_artifact(home, "adapter", adapter_id) if adapter_id else None
        generate(settings, spec.model, spec.classes, spec.prompts, adapter, adapter_id, spec.seed, staged, emit)
    elif isinstance(settings, ClassifySettings):
        from datadream.stages.classify import classify

        shots = load_set(home, spec.inputs["set"])
        synthetic_id = spec.inputs.get("synthetic")
        synthetic = open_artifact(home, "synthetic", synthetic_id) if synthetic_id else None
        images = spec.images_per_class or 0
        assert spec.data is not None
        return classify(settings, spec.model, shots, spec.data, synthetic, images, spec.seed, staged, checkpoint, emit)
    return {}


def _seconds_before(folder: Path) -> float:
    """Seconds that earlier, interrupted attempts worked; their last events say. A finished attempt starts anew."""
    records, _ = durable.read_jsonl(folder / "events.jsonl")
    interrupted = bool(records) and records[-1].get("kind") != "done"
    return float(records[-1].get("seconds", 0.0)) if interrupted else 0.0


def read_error(folder: Path) -> dict[str, str] | None:
    """What a failed job left behind."""
    path = folder / "error.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    assert isinstance(found, dict)
    return found
