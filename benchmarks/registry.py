"""Speed of the registry at 100,000 runs and 1,000,000 metric points: `python -m benchmarks.registry [RUNS]`.

Rows are made up, but shaped as real ones. Each question is asked several times; the median is shown, and the same answer
is computed in Python as a check.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import insert

from store import queries
from store.registry import Registry
from store.tables import Artifact, ClassifierRow, Job, Metric, Run, ShotSetRow, Tag, Trait
from store.where import parse_where

METHODS = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
POINTS = 10  # metric points a run
TIMES = 7


def traits(number: int) -> dict[str, object]:
    """As long as real ones."""
    recipe = {f"classify.setting_{i}": str(i) for i in range(35)}
    about = {
        "classes": '"a", "b", "c", ... (10, 6edb4978)',
        "test images": "720 (7f08f692)",
        "frame": f"data{number % 10}",
    }
    return {"overrides": f"a={number % 40}", "recipe": recipe, "models": {"clip": "bdfcafb2 mini/clip"}, "set": about}


def fill(registry: Registry, runs: int) -> None:
    """`runs` runs, each with its classifier and job, ten points of a curve each."""
    numbers = range(runs)
    ids = [f"{(i + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}" for i in numbers]
    sets = [f"{i:016x}" for i in range(60)]
    with registry.writing() as session:
        connection = session.connection()

        def put(table: type, rows: list[dict[str, object]]) -> None:
            connection.execute(insert(table), rows)

        moment = [
            f"2026-{i * 11 // runs + 1:02}-{i % 28 + 1:02}T{i % 24:02}:00:00.{i % 10**6:06}+00:00" for i in numbers
        ]
        base = {"present": True, "files": 3, "content": "c" * 64, "device": "cpu", "version": "0.1.0"}
        put(Artifact, [{**base, "id": s, "kind": "set", "created": moment[0], "bytes": 1, "spec": {}} for s in sets])
        put(
            ShotSetRow,
            [
                {"id": s, "source": f"data{i % 10}", "shots": (1, 4, 16)[i % 3], "seed": i % 5, "split_seed": 0,
                 "num_classes": 10, "train": 40, "val": 40, "test": 719}
                for i, s in enumerate(sets)
            ],
        )  # fmt: skip
        put(
            Artifact,
            [
                {**base, "id": ids[i], "kind": "classifier", "created": moment[i], "bytes": i, "spec": {}}
                for i in numbers
            ],
        )
        put(
            ClassifierRow,
            [
                {
                    "id": ids[i],
                    "set_id": sets[i % 60],
                    "data": "real",
                    "split": "test",
                    "correct": i % 720,
                    "total": 719 + 1,
                }
                for i in numbers
            ],
        )
        put(
            Run,
            [
                {"id": f"{(i + 1) * 0xD1B54A32D192ED03 % 2**64:016x}", "method": METHODS[i % 5], "settings": f"a={i % 40}", "data": "real",
                 "source": f"data{i % 10}", "shots": (1, 4, 16)[i % 3], "seed": i % 5, "split_seed": 0, "backbone": "mini",
                 "created": moment[i], "set_id": sets[i % 60], "classifier_id": ids[i], "split": "test",
                 "accuracy": i % 720 / 7.2, "correct": i % 720, "total": 720, "row_key": f"{i % 120:016x}", "place": f"{i % 10:016x}",
                 "draw": f"{i % 30:016x}", "traits": f"{i % 120:016x}", "image_passes": 640, "steps": 10, "classify_seconds": 1.5}
                for i in numbers
            ],
        )  # fmt: skip
        put(Trait, [{"id": f"{i:016x}", "content": traits(i)} for i in range(120)])
        put(
            Job,
            [
                {"id": ids[i], "stage": "classify", "kind": "classifier", "state": "done" if i % 50 else "failed",
                 "submitted": moment[i], "title": f"job {i}"}
                for i in numbers
            ],
        )  # fmt: skip
        for start in range(0, runs, 10_000):
            put(
                Metric,
                [
                    {"job": ids[i], "name": "loss", "step": step, "value": 1.0 / (step + 1)}
                    for i in range(start, min(start + 10_000, runs))
                    for step in range(POINTS)
                ],
            )
        put(Tag, [{"subject": ids[i], "label": f"t{i % 100}"} for i in range(0, runs, 10)])


def ask(name: str, question: Callable[[], object], check: object = None) -> None:
    """Print the median time of a question, and see that its answer is right."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = question()
        times.append(1000 * (time.perf_counter() - began))
    assert check is None or answer == check, (name, answer, check)
    print(f"{name:<52} {statistics.median(times):7.1f} ms  [{min(times):.1f}, {max(times):.1f}]")


def main(runs: int) -> None:
    """Fill a registry and ask."""
    with tempfile.TemporaryDirectory() as folder:
        path, lock = Path(folder) / "registry.db", Path(folder) / "registry.lock"
        registry = Registry.open(path, lock)
        began = time.perf_counter()
        fill(registry, runs)
        registry.close()
        print(
            f"{runs:,} runs, {runs * POINTS:,} points, {path.stat().st_size >> 20} MiB, {time.perf_counter() - began:.0f} s"
        )
        ask("open", lambda: Registry.open(path, lock).close())
        registry = Registry.open(path, lock)
        dset = sum(1 for i in range(runs) if i % 5 == 3 and i % 3 > 0)
        ask("first page of runs", lambda: len(queries.page(registry, "run")), 50)
        ask("page 1,000 of runs", lambda: len(queries.page(registry, "run", offset=min(50_000, runs - 50))), 50)
        ask("runs by accuracy", lambda: len(queries.page(registry, "run", sort="-accuracy")), 50)
        ask("runs by settings", lambda: len(queries.page(registry, "run", sort="settings")), 50)
        where = parse_where("method=datadream-dset shots>=4")
        ask("runs of a method with 4 shots or more", lambda: len(queries.page(registry, "run", where)), 50)
        ask("how many those are", lambda: queries.count(registry, "run", where), dset)
        ask(
            "runs whose settings contain a word",
            lambda: len(queries.page(registry, "run", parse_where("settings~a=7"))),
            50,
        )
        ask("classifiers by tag", lambda: len(queries.page(registry, "classifier", parse_where("tag=t10"))), 50)
        ask("failed jobs", lambda: len(queries.page(registry, "job", parse_where("state=failed"))), 50)
        ask("jobs by progress (no index)", lambda: len(queries.page(registry, "job", sort="progress")), 50)
        ask("comparison of one source", lambda: bool(queries.comparison(registry, parse_where("source=data3"))), True)
        ask("comparison of everything", lambda: bool(queries.comparison(registry)), True)
        job = queries.page(registry, "job")[0]["id"]
        ask("a job's curve", lambda: len(queries.metrics(registry, job)["loss"]), POINTS)
        ask("an id from its start", lambda: queries.resolve(registry, job[:8], ["job"])[1], job)
        registry.close()
        code = (
            "import sys; from pathlib import Path; from store import queries; from store.registry import Registry;"
            "p = Path(sys.argv[1]); r = Registry.open(p, p.with_name('l'));"
            "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]);"
            "queries.page(r, 'run'); a = peak();"
            "[queries.page(r, 'run', offset=i * 50) for i in range(200)];"
            "print((peak() - a) // 1024)"
        )
        grown = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout
        print(f"{'memory grown over 200 pages':<52} {int(grown):7} MiB")
        print(f"{'peak memory of this benchmark':<52} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:7} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
