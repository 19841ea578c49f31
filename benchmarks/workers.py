"""Twenty tiny real jobs through one fed worker against a process for each: `python -m benchmarks.workers`.

Parity: both leave the same artifacts, byte for byte.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from datadream.data.shots import make_shot_set
from datadream.data.source import open_source
from datadream.home.artifacts import read_manifest
from datadream.home.layout import Home, open_home
from datadream.home.sets import add_set
from datadream.home.spec import JobSpec
from datadream.jobs import spawn
from datadream.jobs.follow import follow
from datadream.models.presets import load_backbone
from datadream.plans.enqueue import enqueue
from datadream.plans.grid import plan
from datadream.recipes.recipe import load_recipe

JOBS = 20


def prepare(folder: Path) -> tuple[Home, list[JobSpec]]:
    """A home with classifiers of one step each to train."""
    mini, home = load_backbone("mini"), open_home(folder)
    specs = []
    for seed in range(JOBS):
        shots = add_set(home, make_shot_set(open_source("digits"), 1, seed, check="used"), None)
        recipe = load_recipe("real-only", mini, ["classify.steps=1", "classify.batch_size=8", "classify.evaluate=val"])
        specs.append(plan(recipe, shots, mini, "real").jobs["classify"])
    enqueue(home, specs, {})
    return home, specs


def main() -> None:
    """Time both, one after the other, and compare what they left."""
    with tempfile.TemporaryDirectory() as folder:
        apart, specs = prepare(Path(folder) / "apart")
        began = time.perf_counter()
        for spec in specs:
            command = spawn.command("worker", "--home", str(apart.path), spec.id)
            subprocess.run(command, env=spawn.environment(), check=True)
        separate = time.perf_counter() - began
        fed, _ = prepare(Path(folder) / "fed")
        began = time.perf_counter()
        follow(fed, [spec.id for spec in specs], lambda *_: None)
        together = time.perf_counter() - began
        for spec in specs:
            left, right = (read_manifest(home, spec.kind, spec.id)["content"] for home in (apart, fed))
            assert left == right
        print(
            f"{JOBS} tiny jobs: a process each {separate:.1f} s, one worker {together:.1f} s, {separate / together:.1f}x, same bytes"
        )


if __name__ == "__main__":
    main()
