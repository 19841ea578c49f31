"""A stage without models: it counts, keeps checkpoints, tells its progress and leaves an artifact.

For trying out slots, clusters and interruptions in seconds: jobs of it go through everything real ones do.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from pathlib import Path

from datadream import durable, records
from datadream.canonical import digest
from datadream.errors import UserError
from datadream.stages.emit import Stopped, stopping
from datadream.stages.kept import owner_of
from datadream.stages.settings import RehearseSettings
from datadream.stages.task import Result, Task

CHECKPOINT = "count.json"


def rehearse(task: Task[RehearseSettings]) -> Result:
    """Write `count.json`: a hash chained over every step, so that a lost or repeated step shows.

    Raises UserError at `fail_at`.
    """
    settings, checkpoint, emit = task.settings, task.checkpoint, task.emit
    _hold_children(settings.children)
    step, chain = _resume(checkpoint / CHECKPOINT, task.seed)
    while step < settings.steps:
        if stopping.is_set():
            _keep(checkpoint / CHECKPOINT, step, chain)
            raise Stopped
        if step == settings.fail_at:
            raise UserError(f"error at step {step}, requested by --fail-at", hint="omit --fail-at")
        time.sleep(settings.step_seconds)
        chain = hashlib.sha256(f"{chain} {step}".encode()).hexdigest()
        step += 1
        emit({"kind": "metric", "step": step, "loss": int(chain[:8], 16) / 2**32})
        emit({"kind": "progress", "done": step, "total": settings.steps, "unit": "steps"})
        if step % settings.checkpoint_steps == 0:
            _keep(checkpoint / CHECKPOINT, step, chain)
    durable.write_json(task.out / CHECKPOINT, {"steps": step, "chain": chain})
    durable.write_bytes(task.out / "filling", b"\0" * settings.size)
    return {}


def _keep(path: Path, step: int, chain: str) -> None:
    durable.rotate(path)
    state = {"step": step, "chain": chain, "owner": owner_of(path.parent)}
    durable.write_json(path, {**state, "sha256": digest(state)})


def _resume(path: Path, seed: int) -> tuple[int, str]:
    """The newest checkpoint that can be read, is whole and is this job's; else the start."""
    owner = owner_of(path.parent)
    for found in (path, durable.previous(path)):
        try:
            state = records.read(found, {"step": int, "chain": str})
        except records.Unreadable:
            continue
        if state is None:
            continue
        checksum = state.pop("sha256", None)  # the first version wrote neither that nor an owner
        if (checksum is not None and checksum != digest(state)) or state.get("owner", owner) != owner:
            continue
        return int(state["step"]), str(state["chain"])
    return 0, str(seed)


def _hold_children(count: int) -> None:
    """Children that live on for a while if this process dies, as those of a data loader may."""
    for _ in range(count):
        multiprocessing.get_context("fork").Process(target=_child, args=(os.getpid(),), daemon=True).start()


def _child(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    time.sleep(3)
