"""Runs the fault tests in full and writes docs/reliability.md from what they counted: `make reliability`."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from datadream.home.provenance import describe_code

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "reliability.md"
HEAD = """# What it survives, measured

Written by `make reliability`, which runs every fault test of `tests/faults/` in full; `make test` runs their short
forms. A row is one test, or one parameter of it: what was done, how often, with which seeds, and what held. A test
that fails has no row and is named at the end.

What is promised: a start is **at least once** (an attempt may be cut short and made again, at most `max_attempts`
times in a row without progress), a result is published **exactly once** (one rename), and every event is written
once, in order of its number.

"""


def main() -> int:
    """Run, then write; the status is pytest's."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        figures.touch()
        environment = {**os.environ, "DATADREAM_SOAK": "1", "DATADREAM_FIGURES": str(figures)}
        command = [sys.executable, "-m", "pytest", "tests/faults", "-rsf", "-q", "--timeout", "2400"]
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(result.stdout)
        rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(render(rows, result.stdout, time.monotonic() - began), encoding="utf-8")
    return result.returncode


def render(rows: list[dict[str, object]], said: str, seconds: float) -> str:
    """The page: one table row a figure, then what pytest said of skips and failures."""
    code = describe_code()
    commit = code.get("commit", "no checkout")[:12] + (" with changes" if "changes" in code else "")
    lines = [
        HEAD + f"Last run: {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} minutes, code {commit}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} "
        f"{platform.release()}, {os.cpu_count()} cores.\n",
        "| fault | figures | what held |",
        "| --- | --- | --- |",
    ]
    for row in rows:
        shown = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("name", "outcome"))
        lines.append(f"| {row['name']} | {shown} | {row.get('outcome', '')} |")
    summary = [line for line in said.splitlines() if line.startswith(("SKIPPED", "FAILED", "ERROR"))]
    last = said.strip().splitlines()[-1:]
    return "\n".join([*lines, "", "```", *summary, *last, "```", ""])


if __name__ == "__main__":
    sys.exit(main())
