"""Run what is missing: write job folders, start a worker for them, follow their events.

The detached scheduler of a home will live here; today the command that asked waits for its worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from datadream import durable
from datadream.errors import UserError
from datadream.jobs.events import Tail
from datadream.jobs.home import Home
from datadream.jobs.spec import JobSpec
from datadream.jobs.worker import EXIT_FULL, read_error
from datadream.models.environment import ENVIRONMENT
from datadream.stages.emit import Event

POLL_SECONDS = 0.1
STOP_SECONDS = 5.0
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV")
PASSED_ON_PREFIXES = (
    *("LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "LD_LIBRARY_", "OMP_", "GOMP_", "MKL_", "TORCH", "PYTORCH_"),
    *("HF_", "HUGGINGFACE_", "DATADREAM_", "PYTHON", "SSL_", "REQUESTS_CA", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
OnEvent = Callable[[JobSpec, Event], None]


class WorkerFailed(Exception):
    """A worker met a programming error; the log has its traceback."""


def missing(home: Home, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Those without a finished artifact, once each, in order."""
    found = {spec.id: spec for spec in specs if not home.has(spec.kind, spec.id)}
    return list(found.values())


def execute(home: Home, specs: Sequence[JobSpec], on_event: OnEvent) -> int:
    """Make every missing artifact of `specs` (inputs before users); returns how many were made.

    Raises UserError for what the user can mend, WorkerFailed otherwise. Interrupting stops the worker; finished
    jobs stay and the current one resumes from its checkpoint.
    """
    todo = missing(home, specs)
    if not todo:
        return 0
    home.need(sum(_bytes_needed(spec) for spec in todo), "what is asked")
    tails: dict[str, Tail] = {}
    for spec in todo:
        folder = durable.make_dir(home.job(spec.id))
        if not (folder / "spec.json").exists():
            durable.write_json(folder / "spec.json", spec.model_dump(mode="json"))
        (folder / "error.json").unlink(missing_ok=True)
        tails[spec.id] = Tail(folder / "events.jsonl")
        tails[spec.id].skip()
    worker = _start(home, todo)
    try:
        _follow(worker, todo, tails, on_event)
    finally:
        _stop(worker)
    if worker.returncode:
        raise _failure(home, todo, worker.returncode)
    return len(todo)


def _bytes_needed(spec: JobSpec) -> int:
    """Disk for a job's images: their raw size at the resolution its model's folder states, else at 512."""
    import json
    from pathlib import Path

    unet, vae = (Path(spec.model.location) / part / "config.json" for part in ("unet", "vae"))
    if spec.stage != "generate" or not (unet.is_file() and vae.is_file()):
        return spec.bytes_needed()
    factor = 2 ** (len(json.loads(vae.read_text(encoding="utf-8"))["block_out_channels"]) - 1)
    return spec.bytes_needed(int(json.loads(unet.read_text(encoding="utf-8"))["sample_size"]) * factor)


def worker_environment() -> dict[str, str]:
    """The variables a worker gets: an allow-list, and quiet libraries."""
    kept = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    return {**ENVIRONMENT, **kept, **quiet}


def _start(home: Home, todo: Sequence[JobSpec]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "datadream", "worker", "--home", str(home.path), *(spec.id for spec in todo)]
    log = (home.job(todo[0].id) / "log.txt").open("ab")
    with log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=worker_environment(),
            start_new_session=True,
        )


def _follow(
    worker: subprocess.Popen[bytes], todo: Sequence[JobSpec], tails: dict[str, Tail], on_event: OnEvent
) -> None:
    """Hand on events, job by job, until the worker is gone and everything it wrote was read."""
    while True:
        ended = worker.poll() is not None
        for spec in todo:
            for event in tails[spec.id].read():
                on_event(spec, event)
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """End the worker's process group, if it still runs."""
    if worker.poll() is not None:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(worker.pid, sign)
            worker.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def _failure(home: Home, todo: Sequence[JobSpec], status: int) -> Exception:
    for spec in todo:
        folder = home.job(spec.id)
        error = read_error(folder)
        if error and error["kind"] == "user":
            return UserError(error["message"])
        if error:
            return WorkerFailed(f"{spec.stage} failed: {error['message']} (traceback in {folder / 'log.txt'})")
    if status == EXIT_FULL:
        return durable.no_space(home.path)
    current = next((spec for spec in todo if not home.has(spec.kind, spec.id)), todo[-1])
    log = home.job(current.id) / "log.txt"
    if status < 0:
        name = signal.Signals(-status).name
        return UserError(
            f"the worker was ended by {name} during {current.stage}",
            at=log,
            hint="run the same command again to resume"
            + (" (if memory was short, lower batch_size)" if name == "SIGKILL" else ""),
        )
    return WorkerFailed(f"the worker left with status {status} during {current.stage} (see {log})")
