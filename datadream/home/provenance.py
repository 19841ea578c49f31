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
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from datadream import __version__, durable
from datadream.canonical import Stamp, sha256_known, stamp
from datadream.methods import plugs
from datadream.text import log_text

PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "peft", "open_clip_torch", "accelerate", "safetensors"),
    *("numpy", "pillow", "pydantic", "scikit-learn", "sqlmodel"),
)
ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("datadream", "store")  # what a worker or a runner is made of
SETTLED_NS = 2_000_000_000
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
        """Write it, masked, and without what would steer a terminal that shows the log."""
        self._stream.write(log_text(masked(text)))
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


class Code:
    """The code this process runs, from the moment it is made; and whether that is still what lies on the disk."""

    def __init__(self) -> None:
        self._stamps, self._digest = _source_stamps(), describe_code()["source"]
        self._places, self._packages = _package_places(), _packages()

    def changed(self) -> bool:
        """Whether our files, or the packages that can change a result, are others now; touching them is no change."""
        places = _package_places()
        if places != self._places and self._packages != _packages():
            return True
        self._places = places
        now = _source_stamps()
        if now == self._stamps:
            return False
        if _source_digest() != self._digest:
            return True
        self._stamps = now
        return False

    def settled(self) -> bool:
        """Whether the files have been as they are for a moment: no update is at work on them."""
        now = time.time_ns()
        return all(abs(now - found.changed) > SETTLED_NS for found in _source_stamps().values())


def _source() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".toml"))


def _source_stamps() -> dict[Path, Stamp]:
    found = {}
    for path in _source():
        with suppress(OSError):  # an editor's file that came and went
            found[path] = stamp(path)
    return found


def _source_digest() -> str:
    """sha256 over the names and contents of our files."""
    total = hashlib.sha256()
    for path in _source():
        with suppress(OSError):
            total.update(f"{path.relative_to(ROOT).as_posix()}\0{sha256_known(path)}\n".encode())
    return total.hexdigest()


@cache
def describe_code() -> dict[str, str]:
    """Version, a hash of our files, and of a checkout its commit and a hash of what is changed in it.

    As of the first call in this process.
    """
    root = ROOT
    found = {"version": __version__, "source": _source_digest()}
    if not (root / ".git").exists() or not (git := shutil.which("git")):
        return found
    commit = _git(git, root, "rev-parse", "HEAD")
    if commit:
        found["commit"] = commit.decode().strip()
        changes = _git(git, root, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--", "datadream", "store")
        if changes:
            found["changes"] = hashlib.sha256(changes).hexdigest()
    return found


def name_of(code: Mapping[str, str]) -> str:
    """A version of the code for people: `version 0.1.0, commit 1234567 with changes`."""
    commit = f", commit {code['commit'][:7]}{' with changes' if 'changes' in code else ''}" if "commit" in code else ""
    source = f", files {code['source'][:8]}" if "source" in code else ""
    return f"version {code.get('version', 'unknown')}{commit}{source}"


def _git(git: str, root: Path, *arguments: str) -> bytes:
    """What git says, nothing when it can't."""
    try:
        trusted = f"safe.directory={root}"  # its code runs already, whoever owns the checkout (a container's other uid)
        command = [git, "-c", trusted, "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, timeout=10, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def _package_places() -> tuple[tuple[str, int], ...]:
    """When anything was last installed or removed in each folder of packages, whose folders are named by versions."""
    return tuple((place, durable.changed_at(place)) for place in sys.path if place)


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, **plugs.installed()}
