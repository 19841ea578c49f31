"""What a job ran on: code, packages, machine, command; never a secret."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from datadream import __version__

PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft", "open_clip_torch", "accelerate", "safetensors"),
    *("numpy", "pillow", "pydantic", "scikit-learn", "sqlmodel"),
)
# Settings that can change a result. Whatever may open something (tokens, proxies, addresses) is not among them.
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF"),
    *("DATADREAM_DEVICE", "DATADREAM_HOME", "HF_HUB_OFFLINE", "LANG", "LC_ALL", "TZ", "PYTHONHASHSEED"),
    *("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"),
)
USERINFO = re.compile(r"//[^/@\s]+@")


def describe_environment() -> dict[str, Any]:
    """For a job's environment.json."""
    return {
        "code": describe_code(),
        "python": platform.python_version(),
        "packages": _packages(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "command": [USERINFO.sub("//***@", word) for word in sys.argv],
        "variables": {name: USERINFO.sub("//***@", os.environ[name]) for name in VARIABLES if name in os.environ},
    }


@cache
def describe_code() -> dict[str, str]:
    """Version, and of a checkout its commit and a hash of what is changed in it."""
    root = Path(__file__).resolve().parent.parent.parent
    found = {"version": __version__}
    if not (root / ".git").exists() or not (git := shutil.which("git")):
        return found
    commit = _git(git, root, "rev-parse", "HEAD")
    if commit:
        found["commit"] = commit.decode().strip()
        changes = _git(git, root, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--", "datadream", "store")
        if changes:
            found["changes"] = hashlib.sha256(changes).hexdigest()
    return found


def _git(git: str, root: Path, *arguments: str) -> bytes:
    """What git says, nothing when it can't."""
    try:
        command = [git, "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, timeout=10, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


@cache
def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
