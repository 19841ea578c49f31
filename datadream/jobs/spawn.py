"""Starting our own processes: never through a shell, in a session of their own, with an allow-listed environment."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datadream import durable
from datadream.jobs import leader
from datadream.jobs.home import Home
from datadream.models.environment import ENVIRONMENT

PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV")
PASSED_ON_PREFIXES = (
    *(
        "LC_",
        "XDG_",
        "LD_PRELOAD",
        "CUDA_",
        "NVIDIA_",
        "NCCL_",
        "LD_LIBRARY_",
        "OMP_",
        "GOMP_",
        "MKL_",
        "TORCH",
        "PYTORCH_",
    ),
    *("HF_", "HUGGINGFACE_", "DATADREAM_", "PYTHON", "SSL_", "REQUESTS_CA", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "COVERAGE_"),
    *("SLURM_CONF", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "LSF_", "FLUX_URI"),  # how a cluster's commands find it
)


def environment() -> dict[str, str]:
    """The variables a runner or worker gets: an allow-list, and quiet libraries."""
    kept = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    return {**ENVIRONMENT, **kept, **quiet}


def command(*arguments: str) -> list[str]:
    """`datadream ARGUMENTS` by this very interpreter; -P: a module planted in the working directory isn't imported."""
    return [sys.executable, "-P", "-m", "datadream", *arguments]


def ensure_runner(home: Home) -> subprocess.Popen[bytes] | None:
    """See to it that somebody works on the queue; what was queued before this call won't be overlooked.

    Returns the runner it has started, None when there is one. Raises UserError where a runner couldn't write.
    """
    if leader.is_led(home) and not leader.seems_stopped(home):
        durable.touch_dir(durable.make_dir(home.queue))
        return None
    log = durable.make_dir(home.runner) / "runner.log"
    for folder in (home.runner, home.queue, home.path / "jobs", home.path / "slots", home.path / "artifacts"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):  # it would end at once, where nobody looks
            raise durable.user_error(PermissionError(errno.EACCES, "Permission denied"), folder)
    return start(home, ["runner", "--home", str(home.path)], log)


def start(
    home: Home,
    arguments: Sequence[str],
    log: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
    extra: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A `datadream` process that no terminal, signal of ours or hang-up reaches; its output goes to `log`.

    `keep` are descriptors it inherits, `extra` variables it gets besides.
    """
    try:
        out = durable.open_file(log, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise durable.user_error(error, log) from error
    try:
        return subprocess.Popen(
            command(*arguments),
            stdin=stdin,
            stdout=out,
            stderr=out,
            env={**environment(), **(extra or {})},
            cwd=home.path,
            start_new_session=True,
            pass_fds=keep,
        )
    finally:
        os.close(out)
