"""Flux, by the commands of its manual pages flux-submit(1), flux-jobs(1) and flux-cancel(1).

PSI/J's own executor of Flux needs Flux's Python and knows only the jobs of its own process; ours outlive the runner.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import IO

from psij import Job, JobState, JobStatus, ResourceSpecV1, SubmitException
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

# RFC 21; a job that is over is INACTIVE, whatever came of it: that stands in its folder.
STATES = {
    "NEW": JobState.NEW,
    "DEPEND": JobState.QUEUED,
    "PRIORITY": JobState.QUEUED,
    "SCHED": JobState.QUEUED,
    "RUN": JobState.ACTIVE,
    "CLEANUP": JobState.ACTIVE,
    "INACTIVE": JobState.COMPLETED,
}
FORMAT = "{id.f58} {state}"


class FluxExecutor(BatchSchedulerExecutor):  # type: ignore[misc] # PSI/J has no types
    """PSI/J's batch executor with Flux's commands. Flux gives cores and GPUs; memory is not its to give."""

    _NAME_ = "flux"

    def generate_submit_script(self, job: Job, context: dict[str, object], submit_file: IO[str]) -> None:
        """Not needed by Flux, which runs the command itself; left to be read."""
        del context
        submit_file.write(shlex.join(self.get_submit_command(job, Path())) + "\n")

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        """`flux submit` of the job's own command, not of a script: a signal then reaches the worker."""
        del submit_file_path
        spec = job.spec
        assert spec is not None and spec.executable is not None and spec.attributes is not None
        assert isinstance(spec.resources, ResourceSpecV1)
        asked, attributes = spec.resources, spec.attributes
        command = ["flux", "submit", "--nodes=1", "--ntasks=1", f"--cores-per-task={asked.cpu_cores_per_process}"]
        if asked.gpu_cores_per_process:
            command.append(f"--gpus-per-task={asked.gpu_cores_per_process}")
        command.append(f"--time-limit={int(attributes.duration.total_seconds() // 60)}m")
        command.append(f"--job-name={spec.name}")
        if attributes.queue_name:
            command.append(f"--queue={attributes.queue_name}")
        if attributes.account:
            command.append(f"--setattr=system.bank={json.dumps(attributes.account)}")
        command += [f"--output={spec.stdout_path}", f"--error={spec.stderr_path}"]
        for key, value in (attributes.custom_attributes or {}).items():
            command.append(f"--{key.removeprefix('flux.')}={value}")
        return [*command, spec.executable, *(spec.arguments or [])]

    def job_id_from_submit_output(self, out: str) -> str:
        """The id, as `flux submit` prints it on a line of its own."""
        for line in out.splitlines():
            if found := _plain(line.strip()):
                return found
        raise SubmitException(out)

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:
        """One line per job that Flux still knows."""
        return ["flux", "jobs", "-n", f"--format={FORMAT}", *native_ids]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """States by id. An id that Flux has forgotten is an error of the command's, but of no other id."""
        found: dict[str, JobStatus] = {}
        for words in map(str.split, out.splitlines()):
            if len(words) == 2 and words[1] in STATES and (native := _plain(words[0])):
                found[native] = JobStatus(STATES[words[1]])
        if exit_code != 0 and not found and "unknown" not in out.lower():
            raise SubmitException(out)
        return found

    def get_cancel_command(self, native_id: str) -> list[str]:
        """SIGTERM, then SIGKILL after Flux's `kill-timeout`."""
        return ["flux", "cancel", native_id]

    def process_cancel_command_output(self, exit_code: int, out: str) -> None:
        """A job that is over needs no cancelling."""
        del exit_code
        if "inactive" not in out:
            raise SubmitException(out)

    def get_list_command(self) -> list[str]:
        """The ids of this user's jobs."""
        return ["flux", "jobs", "-n", "--format={id.f58}"]


def _plain(word: str) -> str:
    """An id in Flux's base 58 with a plain f, which every locale can write and Flux reads as well; "" for no id."""
    rest = word[1:]
    return f"f{rest}" if word[:1] in ("f", "ƒ") and rest.isascii() and rest.isalnum() else ""
