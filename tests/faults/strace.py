"""System calls that fail, or are the last: strace puts faults behind every durable write, without root."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datadream.canonical import sha256_file
from datadream.home import state
from datadream.home.artifacts import read_manifest
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.jobs import spawn

# What durable writes are made of. Python itself makes none of these before our code runs, but for a few `write`s.
CALLS = ("rename", "link", "unlink", "fsync", "mkdir", "rmdir", "write", "openat", "utimensat", "ftruncate")


def available() -> None:
    """Skip where strace can't trace."""
    strace = shutil.which("strace")
    if not strace or subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no strace that may trace on this machine")


def worker(home: Home, job: str, call: str = "", fault: str = "", place: Path | None = None) -> int:
    """A worker on one job, whose `call` suffers `fault` (as `signal=SIGKILL:when=3`); its exit status."""
    command = [sys.executable, "-m", "datadream", "worker", "--home", str(home.path), job]
    if call:
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
        command = [*trace, *(["-P", str(place)] if place else []), *command]
    environment = {**spawn.environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False).returncode


def check_old_or_new(home: Home, spec: JobSpec) -> bool:
    """Artifact and result are whole or absent, the result never before the artifact; whether the artifact is there."""
    final = home.artifact(spec.kind, spec.id)
    if final.exists():
        files = read_manifest(home, spec.kind, spec.id)["files"]
        assert {p.relative_to(final).as_posix() for p in final.rglob("*") if p.is_file()} == {*files, "manifest.json"}
        assert all(sha256_file(final / name) == entry["sha256"] for name, entry in files.items())
    result = home.job(spec.id) / "result.json"
    if result.exists():
        assert state.read_dict(result) is not None
        assert final.exists()
    return final.exists()


def command(home: Home, words: list[str], call: str, fault: str) -> int:
    """Any command on a home, whose `call` suffers `fault`; its exit status."""
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    full = [*traced, sys.executable, "-m", "datadream", *words, "--home", str(home.path)]
    environment = {**spawn.environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(full, capture_output=True, env=environment, timeout=300, check=False).returncode
