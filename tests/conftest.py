"""One real home, the real mini models, the real commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many at once as there are cores: more threads each only wait for others
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "120"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a thousand processes are started: let each find what one compiled
os.environ["DATADREAM_HOME"] = "/dev/null/home"  # a test that forgets its own home must not find the user's

import pytest
from filelock import FileLock

from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.home.layout import Home, open_home
from datadream.jobs import leader
from datadream.models.presets import Backbone, load_backbone
from tests.runners import has_runner, until

# A shell in the background lets its children ignore Ctrl-C, and nohup a hang-up; tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

Cli = Callable[..., subprocess.CompletedProcess[str]]

# Settings that keep every stage real but short.
TINY = {
    "adapt.steps": 6,
    "adapt.batch_size": 4,
    "adapt.warmup_steps": 2,
    "generate.images_per_class": 3,
    "generate.num_inference_steps": 2,
    "generate.batch_size": 2,
    "classify.steps": 4,
    "classify.batch_size": 16,
}
TINY_OPTIONS = [part for key, value in TINY.items() for part in ("-o", f"{key}={value}")]


# Files of minutes, which pytest-xdist hands out in this order: begun last, one would be waited for alone.
LONG = (
    *("faults/test_kills.py", "tui/test_compare.py", "test_old_home.py", "test_runner.py", "test_commands.py"),
    *("faults/test_locks.py", "test_bad_input.py", "test_marks.py", "test_cli.py", "tui/test_snapshots.py"),
    *("faults/test_full.py", "test_environment.py", "tui/test_marks.py", "faults/test_storage.py", "tui/test_app.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    places = {root / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def mini() -> Backbone:
    return load_backbone("mini")


@pytest.fixture(scope="session")
def two_shots() -> ShotSet:
    return make_shot_set(open_source("digits"), 2, 1, check="used")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


def run_cli(*arguments: object, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    found = {**os.environ, **environment}
    if home is not None:
        found["DATADREAM_HOME"] = str(home)
    command = [sys.executable, "-m", "datadream", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=found, timeout=500, check=False)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`datadream ...` on a home of the test's own."""

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_cli(*arguments, home=tmp_path / "home", **environment)

    return call


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which all five methods ran, tiny, on a two-shot set. Copy it before you change it.

    Made once for all of pytest-xdist's workers, of which each has its own copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made, done = shared / "ran-first" / "home", shared / "ran-first" / "done"
    with FileLock(shared / "ran-first.lock"):
        if not done.exists():
            shutil.rmtree(made, ignore_errors=True)
            _run_all(made)
            done.touch()
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("ran") / "home"))


def _run_all(home: Path) -> None:
    made = run_cli("set", "make", "digits", "--shots", 2, "--seed", 1, "--name", "d2", "--json", home=home)
    assert made.returncode == 0, made.stderr
    result = run_cli(
        *("run", "zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls", "--set", "d2"),
        *("--data", "synth,real+synth", *TINY_OPTIONS),
        home=home,
    )
    assert result.returncode == 0, result.stderr
    until(lambda: not leader.is_led(Home(home)) and not has_runner(home))


@pytest.fixture
def ran_copy(ran: Path, tmp_path: Path) -> Path:
    """The same, to be changed at will."""
    return Path(shutil.copytree(ran, tmp_path / "ran", ignore=shutil.ignore_patterns("hf")))


def contents(home: Path) -> dict[str, str]:
    """The content digest of every artifact of a home, by kind and id."""
    found = {}
    for path in home.glob("artifacts/*/*/manifest.json"):
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found[f"{manifest['kind']}/{manifest['id']}"] = str(manifest["content"])
    return found
