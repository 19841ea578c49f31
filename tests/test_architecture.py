"""Rules of the design that nothing else would notice being broken."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LISTING = (["--help"], ["recipe", "ls"], ["recipe", "show", "datadream-cls"], ["set", "ls"], ["compare"])

# room: rooms of ours it may import
ALLOWED = {
    "datadream.data": {"datadream.data"},
    "datadream.models": {"datadream.models"},
    "datadream.stages": {"datadream.stages", "datadream.models", "datadream.data"},
    "datadream.recipes": {"datadream.recipes", "datadream.stages", "datadream.models"},
    "datadream.jobs": {
        *("datadream.jobs", "datadream.stages", "datadream.data", "datadream.models", "datadream.recipes", "store"),
    },
    "datadream.report": {"datadream.report", "datadream.jobs"},
    "store": {"store"},
    "tui": {"tui", "store", "datadream.jobs", "datadream.report"},
}
SHARED = {"datadream", "datadream.errors", "datadream.canonical", "datadream.durable"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_the_design_allows(room: str) -> None:
    files = sorted((ROOT / room.replace(".", "/")).rglob("*.py"))
    assert files
    for path in files:
        ours = {name for name in imports(path) if name.split(".")[0] in ("datadream", "store", "tui")}
        for name in ours:
            allowed = any(name == base or name.startswith(base + ".") for base in ALLOWED[room])
            shared = any(name == base or name.startswith(base + ".") for base in SHARED - {"datadream"})
            assert allowed or shared or name in ("datadream", "datadream.durable", "datadream.__version__"), (
                f"{path.relative_to(ROOT)} imports {name}"
            )


def test_only_the_worker_reaches_stage_code_from_jobs() -> None:
    heavy = {f"datadream.stages.{name}" for name in ("adapt", "generate", "classify", "loop", "pixels")}
    for path in (ROOT / "datadream" / "jobs").glob("*.py"):
        if path.name != "worker.py":
            assert not heavy & imports(path), path.name


def test_no_branch_on_a_backbone_by_name() -> None:
    for path in (ROOT / "datadream").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)]
                assert "mini" not in words, f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize("arguments", LISTING, ids=" ".join)
def test_listing_commands_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom datadream.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'open_clip', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "DATADREAM_HOME": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr


def test_help_imports_nothing_heavier_than_typer(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom datadream.cli.main import main\nsys.argv = ['datadream', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'pydantic', 'numpy', 'PIL', 'torch', 'textual', 'sqlmodel'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
