"""Slurm, PBS, LSF and Flux through PSI/J, which knows each scheduler's directives and commands.

PSI/J keeps threads that poll; ours asks when the runner asks, by the same commands, so that ids are all it needs.
Its scripts run nothing below a path with a space, and run what a path quotes as a command; so of a script only the
directives are PSI/J's, and the one command below them is ours.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from psij import (
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
from datadream.home import quoting
from datadream.home.launchers import NativeState, Resources
from datadream.home.layout import Home
from datadream.jobs import spawn
from datadream.jobs.clusters.flux import FluxExecutor

ASK_SECONDS = 30
WAITING = (JobState.NEW, JobState.QUEUED)
REQUEUE = {"SBATCH_REQUEUE": "1"}  # an empty custom attribute would become `--requeue=`, which Slurm refuses
DIRECTIVES = {"slurm": "#SBATCH ", "pbs": "#PBS ", "lsf": "#BSUB "}
SLURM_SAID = re.compile(r"batch job (\d+)")  # in a federation, more words follow the id


class Cluster:
    """One scheduler, as this machine's commands reach it."""

    def __init__(self, name: str, home: Home) -> None:
        self._name = name
        self._folder = durable.make_dir(home.runner / "psij" / name)
        config = BatchSchedulerExecutorConfig(work_directory=self._folder.parent, queue_polling_interval=3600)
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
        if self._name == "flux" and "{{" in str(home):
            hint = "choose another --home"
            raise UserError("flux rejects the job: it expands {{ in output paths", at=home, hint=hint)
        os.environ.update(REQUEUE)
        path = self._folder / f"{job_id}.job"
        durable.write_text(path, self.script(job))
        command = self._executor.get_submit_command(job, path)
        status, out, err = self._run(command[:1] if self._name == "lsf" else command, path)
        said = " ".join(f"{out}\n{err}".split())
        try:
            if status != 0:
                raise SubmitException(said)
            found = SLURM_SAID.search(out) if self._name == "slurm" else None
            native = found[1] if found else str(self._executor.job_id_from_submit_output(out))
            if native.startswith("-") or not quoting.is_word(native):
                raise SubmitException(f"no job id in its output {said!r}")
        except (SubmitException, IndexError) as error:
            hint = f"check that {self._name}'s commands work here; see docs/cluster.md"
            raise UserError(f"{self._name} rejected the job: {said or f'exit code {status}'}", hint=hint) from error
        return native

    def script(self, job: Job) -> str:
        """The batch script: what it asks for, and the job's command in place of the shell, so that signals reach it."""
        text = io.StringIO()
        if self._name == "flux":
            self._executor.generate_submit_script(job, {}, text)
            return text.getvalue()
        spec = job.spec
        assert spec is not None and spec.executable is not None and spec.attributes is not None
        custom = spec.attributes.custom_attributes or {}
        context: dict[str, object] = {
            "job": job,
            "custom_attributes": {
                self._name: [{"key": key.partition(".")[2], "value": value} for key, value in custom.items()]
            },
            "formatted_job_duration": self._executor._format_duration(spec.attributes.duration),
            "psij": {
                "launch_command": [],
                "script_dir": "",
            },  # no path of ours: a line of it might pass for a directive
        }
        # PSI/J quotes once more what stands in quotes; `Resources` has seen to it that nothing needs that
        self._executor.generator.renderer.escape = str
        self._executor.generate_submit_script(job, context, text)
        lines = [line for line in text.getvalue().splitlines() if line.startswith(DIRECTIVES[self._name])]
        command = quoting.command_line([str(spec.executable), *(spec.arguments or [])])
        said = quoting.bash_word(str(spec.stdout_path))
        return "\n".join(["#!/bin/bash", *lines, "", f"exec {command} </dev/null >>{said} 2>&1", ""])

    def poll(self, native_ids: Collection[str]) -> dict[str, NativeState]:
        """How these stand. Raises UserError when the scheduler doesn't answer."""
        status, said = self._ask(self._executor.get_status_command(list(native_ids)))
        if self._name == "slurm":  # PSI/J stumbles over reasons of several words, and over those it doesn't know
            lines = [line.split() for line in said.splitlines() if len(line.split()) >= 2]
            said = "\n".join(f"{words[0]} {words[1]} NonZeroExitCode" for words in lines)
        try:
            found = self._executor.parse_status_output(status, said)
        except Exception as error:  # PSI/J raises what it likes on output it doesn't know
            raise UserError(
                f"{self._name} does not answer: {said.strip()[:200]}", hint="it will be asked again"
            ) from error
        return {native: _state(found[native].state) if native in found else "gone" for native in native_ids}

    def cancel(self, native_id: str) -> None:
        """End it. One that is over already is fine."""
        self._ask(self._executor.get_cancel_command(native_id))

    def _ask(self, command: list[str]) -> tuple[int, str]:
        status, out, err = self._run(command, Path(os.devnull))
        return status, out + err

    def _run(self, command: list[str], stdin: Path) -> tuple[int, str, str]:
        """Status, output and errors. bsub reads a script it is given by name as a command line: it gets it as input."""
        try:
            with stdin.open("rb") as file:
                result = subprocess.run(
                    command,
                    stdin=file,
                    capture_output=True,
                    timeout=ASK_SECONDS,
                    check=False,
                    encoding="utf-8",
                    errors="replace",
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            hint = "see docs/cluster.md"
            raise UserError(f"can't run {command[0]}: {error}", hint=hint) from error
        return result.returncode, result.stdout, result.stderr


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
