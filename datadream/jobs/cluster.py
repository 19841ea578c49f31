"""Slurm, PBS, LSF and Flux through PSI/J, which writes the batch script and knows each scheduler's commands.

PSI/J keeps threads that poll; ours asks when the runner asks, by the same commands, so that ids are all it needs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    ResourceSpecV1,
    SubmitException,
)
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor, BatchSchedulerExecutorConfig

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import spawn
from datadream.jobs.flux import FluxExecutor
from datadream.jobs.home import Home
from datadream.jobs.launchers import NativeState, Resources

ASK_SECONDS = 30
WAITING = (JobState.NEW, JobState.QUEUED)
REQUEUE = {"SBATCH_REQUEUE": "1"}  # an empty custom attribute would become `--requeue=`, which Slurm refuses


class Cluster:
    """One scheduler, as this machine's commands reach it."""

    def __init__(self, name: str, home: Home) -> None:
        self._name = name
        folder = durable.make_dir(home.runner / "psij")
        config = BatchSchedulerExecutorConfig(work_directory=folder, queue_polling_interval=3600)
        if name == "flux":
            self._executor: BatchSchedulerExecutor = FluxExecutor(config=config)
            return
        try:
            found = JobExecutor.get_instance(name, config=config)
        except ValueError as error:
            raise UserError(f"PSI/J can't reach {name} here: {error}", hint="see docs/cluster.md") from error
        assert isinstance(found, BatchSchedulerExecutor)
        self._executor = found

    def submit(self, home: Path, job_id: str, attempt: int, resources: Resources, title: str) -> str:
        """Submit `datadream worker` on one attempt of a job; the scheduler's own id of it."""
        job = Job(describe(self._name, home, job_id, attempt, resources, title))
        os.environ.update(REQUEUE)
        try:
            self._executor.submit(job)
        except (SubmitException, InvalidJobException, OSError) as error:
            hint = f"see that {self._name}'s commands work here, and docs/cluster.md"
            said = " ".join(str(error).split())
            raise UserError(f"{self._name} takes no job: {said}", hint=hint) from error
        return str(job.native_id)

    def poll(self, native_ids: Collection[str]) -> dict[str, NativeState]:
        """How these stand. Raises UserError when the scheduler doesn't answer."""
        status, said = self._ask(self._executor.get_status_command(list(native_ids)))
        if self._name == "slurm":  # PSI/J stumbles over reasons of several words, and over those it doesn't know
            lines = [line.split() for line in said.splitlines() if len(line.split()) >= 2]
            said = "\n".join(f"{words[0]} {words[1]} NonZeroExitCode" for words in lines)
        try:
            found = self._executor.parse_status_output(status, said)
        except Exception as error:  # PSI/J raises what it likes on output it doesn't know
            raise UserError(f"{self._name} doesn't answer: {said.strip()[:200]}", hint="it is asked again") from error
        return {native: _state(found[native].state) if native in found else "gone" for native in native_ids}

    def cancel(self, native_id: str) -> None:
        """End it. One that is over already is fine."""
        self._ask(self._executor.get_cancel_command(native_id))

    def _ask(self, command: list[str]) -> tuple[int, str]:
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            hint = "see docs/cluster.md"
            raise UserError(f"can't run {command[0]}: {error}", hint=hint) from error
        return result.returncode, result.stdout + result.stderr


def describe(name: str, home: Path, job_id: str, attempt: int, resources: Resources, title: str) -> JobSpec:
    """The command and what it needs, as PSI/J has it. `title` may hold anything: it becomes a plain word."""
    python, *arguments = spawn.command("worker", "--home", str(home), "--attempt", str(attempt), job_id)
    custom: dict[str, object] = {f"{name}.{key}": value for key, value in resources.extra.items()}
    word = (re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-") or "job")[:60]
    if name == "slurm":
        custom["slurm.job-name"] = word
        if resources.gpus:
            custom["slurm.gres"] = f"gpu:{resources.gpus}"
    said = home / "jobs" / job_id / "launcher.txt"
    return JobSpec(
        executable=python,
        arguments=arguments,
        name=word,  # and no directory: PSI/J quotes one with a space twice; our paths are absolute
        environment={},
        stdout_path=said,
        stderr_path=said,
        launcher="single",
        resources=ResourceSpecV1(
            node_count=1,
            processes_per_node=1,
            cpu_cores_per_process=resources.cpus,
            gpu_cores_per_process=resources.gpus if resources.gpus and name != "slurm" else None,
            memory=int(resources.memory_gb * 2**30) if resources.memory_gb else None,
        ),
        attributes=JobAttributes(
            duration=timedelta(minutes=resources.minutes),
            queue_name=resources.queue,
            account=resources.account,
            custom_attributes=custom,
        ),
    )


def _state(state: JobState) -> NativeState:
    if state.final:
        return "gone"
    return "pending" if state in WAITING else "running"
