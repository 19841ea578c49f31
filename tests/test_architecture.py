"""Rules of the design that nothing else would notice being broken."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from datadream.home import jobfiles
from datadream.stages.table import TABLE

ROOT = Path(__file__).parent.parent
LISTING = (
    *(["--help"], ["recipe", "ls"], ["recipe", "show", "datadream-cls"], ["set", "ls"], ["compare"], ["job", "ls"]),
    *(["adapter", "ls"], ["synth", "ls"], ["classifier", "ls"], ["runs", "ls"], ["experiment", "ls"], ["tag", "ls"]),
    *(["queue", "show"], ["registry", "check"], ["gc"], ["home", "show"], ["job", "wait"], ["rehearse", "--detach"]),
)

# room: rooms, or modules, of ours that it may import besides itself
PAPER = {"datadream.data", "datadream.models", "datadream.methods"}
TOLD = {"datadream.recipes", "datadream.stages.settings", "datadream.stages.table", "datadream.methods.plugs"}
ALLOWED = {
    "datadream.data": set(),
    "datadream.models": set(),
    "datadream.methods": {"datadream.models", "datadream.data"},
    "datadream.stages": PAPER,
    "datadream.recipes": {"datadream.models", "datadream.stages.settings", "datadream.stages.table"},
    "datadream.home": {"datadream.data", "datadream.models", *TOLD},
    "datadream.plans": {"datadream.home", "datadream.data", "datadream.models", *TOLD},
    "datadream.jobs": {"datadream.home", "datadream.models", "datadream.stages", "datadream.methods.plugs", "store"},
    "datadream.report": {"datadream.home", "datadream.plans"},
    "store": {"datadream.home", "datadream.stages.table"},
    "tui": {
        *("store", "datadream.home", "datadream.plans", "datadream.jobs", "datadream.report", "datadream.recipes"),
        *("datadream.data", "datadream.models.presets", "datadream.stages.table"),
    },
}
SHARED = {
    *("datadream", "datadream.canonical", "datadream.cores", "datadream.durable", "datadream.errors"),
    *("datadream.locks", "datadream.paths", "datadream.records", "datadream.storage", "datadream.text"),
}


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
        for name in {name for name in imports(path) if name.split(".")[0] in ("datadream", "store", "tui")}:
            allowed = any(name == base or name.startswith(base + ".") for base in {room, *ALLOWED[room], *SHARED})
            parent = any(base.startswith(name + ".") for base in {room, *ALLOWED[room]})  # `from datadream import ...`
            assert allowed or parent, f"{path.relative_to(ROOT)} imports {name}"


def test_stage_code_is_reached_by_its_table_alone() -> None:
    """So that nothing but a worker, which calls `function_of`, imports torch."""
    functions = {row.function.partition(":")[0] for row in TABLE.values()}
    for room in ("datadream", "store", "tui"):
        for path in (ROOT / room).rglob("*.py"):
            if path.parent.name != "stages":
                assert not functions & imports(path), path.relative_to(ROOT)


def test_no_module_imports_one_that_imports_it() -> None:
    """Not even for its types."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for room in ("datadream", "store", "tui")
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: sorted(imports(path) & (set(modules) - {name})) for name, path in modules.items()}
    circle: list[str] = []
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert not circle, " -> ".join(circle)


@pytest.mark.parametrize(("stage", "without"), [("classify", "diffusers"), ("generate", "open_clip")])
def test_a_stage_imports_the_one_model_that_it_runs(stage: str, without: str) -> None:
    """The other costs a worker seconds before its first step."""
    code = f"import sys, datadream.stages.{stage}; assert {without!r} not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_stage_without_models_imports_no_torch() -> None:
    code = "import sys; from datadream.stages.table import function_of; function_of('rehearse')"
    done = subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=False)
    assert done.returncode == 0


def test_a_jobs_files_are_named_in_one_place() -> None:
    names = {value for name, value in vars(jobfiles).items() if name.isupper() and isinstance(value, str)}
    names -= {
        jobfiles.CHECKPOINT,
        jobfiles.ATTEMPTS,
        jobfiles.LEASE,
        jobfiles.CANCEL,
        jobfiles.RESERVE,
    }  # words of other things too
    assert "spec.json" in names
    for room in ("datadream", "store", "tui"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "jobfiles.py":
                found = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
                assert not names & {value for value in found if isinstance(value, str)}, path.relative_to(ROOT)


def test_names_that_textual_keeps_to_itself_are_used_in_one_place() -> None:
    ours = {
        name
        for path in (ROOT / "tui").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            *([node.name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []),
            *([node.attr] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else []),
            *([node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []),
            *([node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []),
        )
    }
    allowed = {"private.py", "graphics.py"}  # of Textual, and of textual-image
    for path in (ROOT / "tui").rglob("*.py"):
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        found = {name for name in used - ours - {"_exit"} if name.startswith("_") and not name.startswith("__")}
        assert path.name in allowed or not found, f"{path.relative_to(ROOT)}: {found}"


def test_only_the_runner_knows_the_registry_among_jobs() -> None:
    """And it by its registrar, a thread of its own: whoever holds the registry up holds up no job."""
    rooms = [path for room in ("home", "plans", "jobs", "stages") for path in (ROOT / "datadream" / room).rglob("*.py")]
    knowing = {path.name: {n for n in imports(path) if n.split(".")[0] == "store"} for path in rooms}
    assert {name: found for name, found in knowing.items() if found} == {
        "runner.py": {"store.registrar", "store.registrar.Registrar"}
    }


def test_no_sql_outside_the_store() -> None:
    words = ("SELECT ", "INSERT ", "DELETE FROM", "UPDATE ")
    for room in ("datadream", "tui"):
        for path in (ROOT / room).rglob("*.py"):
            texts = [
                n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)
            ]
            assert not [text for text in texts if isinstance(text, str) and text.startswith(words)], path


def test_files_below_a_home_are_written_by_one_module() -> None:
    """Nothing else renames, or opens for writing; logs and locks, which are no data, are opened by their owners, and `probe` tries what renaming does."""
    allowed = {"durable.py", "lease.py", "queue.py", "spawn.py", "worker.py", "registry.py", "index.py", "probe.py"}
    for path in [*(ROOT / "datadream").rglob("*.py"), *(ROOT / "store").rglob("*.py")]:
        if path.name in allowed or "weights" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in ("rename", "unlink", "rmtree", "mkdir"), f"{path}: {ast.unparse(node)}"


def test_nothing_is_unpickled_and_no_shell_is_used() -> None:
    for path in [*(ROOT / "datadream").rglob("*.py"), *(ROOT / "store").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]:
        assert not {"pickle", "shelve", "dill", "marshal"} & {name.split(".")[0] for name in imports(path)}, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path} uses a shell")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "os.system",
                "os.popen",
                "eval",
                "exec",
                "torch.load",
            ):
                raise AssertionError(f"{path}: {ast.unparse(node)}")


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
