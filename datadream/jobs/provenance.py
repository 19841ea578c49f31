"""What a job ran on: code, packages, machine, command; never a secret."""

from __future__ import annotations

import hashlib
import io
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
from typing import Any, TextIO

from datadream import __version__

PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft", "open_clip_torch", "accelerate", "safetensors"),
    *("numpy", "pillow", "pydantic", "scikit-learn", "sqlmodel"),
)
USERINFO = re.compile(r"//[^/@\s]+@")
SECRET = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
SECRET_LENGTH = 8


def masked(text: str) -> str:
    """`text` without what opens something: users and passwords in addresses, and the values of secret variables."""
    for value in _secrets():
        text = text.replace(value, "***")
    return USERINFO.sub("//***@", text)


def _secrets() -> list[str]:
    found = {value for name, value in os.environ.items() if SECRET.search(name) and len(value) >= SECRET_LENGTH}
    return sorted(found, key=len, reverse=True)


class Masked(io.TextIOBase):
    """A text stream that says nothing secret; for what libraries print."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, masked; whole lines are masked whole."""
        self._stream.write(masked(text))
        return len(text)

    def flush(self) -> None:
        """As the stream below does."""
        self._stream.flush()

    def fileno(self) -> int:
        """Of the stream below."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream below."""
        return self._stream.encoding


def describe_environment() -> dict[str, Any]:
    """For a job's environment.json, but for its variables."""
    return {
        "code": describe_code(),
        "python": platform.python_version(),
        "packages": _packages(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "command": [masked(word) for word in sys.argv],
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
        trusted = f"safe.directory={root}"  # its code runs already, whoever owns the checkout (a container's other uid)
        command = [git, "-c", trusted, "-C", str(root), *arguments]
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
