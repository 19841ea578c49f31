"""Is everything as it was when it was made? Every artifact by its hashes, every record, and the registry itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datadream.canonical import sha256_file
from datadream.errors import UserError
from datadream.home import flaws, state
from datadream.home.artifacts import again as how_again
from datadream.home.evidence import check_logits
from datadream.home.layout import Home
from datadream.home.lease import is_held
from datadream.home.whole import read_manifest, what_is_wrong
from datadream.records import Unreadable
from datadream.stages.table import ROLES
from store import index, queries, rows
from store.registry import Registry
from store.tables import KINDS

Trouble = Literal["missing", "extra", "changed", "unreadable", "unfinished", "stale"]
AGAIN = "remove that folder, then run the same command again"
MADE_AGAIN = "remove it, or make it again"
READ_AGAIN = "fix its permissions, or bring its disk back; nothing needs to be removed"


@dataclass(frozen=True)
class Finding:
    """One thing that isn't as it should be, and what to do. `path` is relative to the home."""

    path: str
    kind: Trouble
    what: str
    advice: str


def check(home: Home, registry: Registry, deep: bool = True) -> list[Finding]:
    """Everything amiss in a home; files are compared by sha256, or by size when not `deep`."""
    found: list[Finding] = []
    for kind in KINDS:
        folder = home.path / "artifacts" / kind
        for path in _listed(home, folder, found):
            if path.name.startswith(".staging-"):
                found += _staging(home, path)
            elif state.is_id(path.name):
                found += _artifact(home, kind, path, deep)
            elif not path.name.startswith("."):
                found.append(_finding(home, path, "extra", "is not an artifact", "move it elsewhere"))
    _records(home, found)
    _jobs(home, found)
    found += [_flaw(home, error) for error in flaws.of_home(home)]
    found += [
        Finding("registry.db", "changed", what, "rebuild it with `datadream registry rebuild`")
        for what in registry.problems()
    ]
    named = {finding.path for finding in found}
    return found + [
        Finding(path, "unreadable", what, READ_AGAIN if what.startswith(index.PASSING) else MADE_AGAIN)
        for path, what in queries.problems(registry)
        if path not in named and not any(name.startswith(f"{path}/") for name in named)
    ]


def _finding(home: Home, path: Path, kind: Trouble, what: str, advice: str) -> Finding:
    return Finding(path.relative_to(home.path).as_posix(), kind, what, advice)


def _listed(home: Home, folder: Path, found: list[Finding]) -> list[Path]:
    """What is in a folder of ours; one that can't be looked into is a finding."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        found.append(_unreadable(home, folder, error, f"can't be listed: {error.strerror}", "move it elsewhere"))
        return []


def _flaw(home: Home, error: Unreadable) -> Finding:
    """A file without which the job, or the home, is still of use, by its defaults."""
    return _unreadable(home, error.path, error, error.reason, "remove that file: defaults are already in use")


def _unreadable(home: Home, path: Path, error: Exception, what: str, advice: str) -> Finding:
    """What can't be read for want of rights, or of its disk, is not to be removed for that."""
    if passes := index.passing(error):
        what, advice = passes, READ_AGAIN
    elif isinstance(error, Unreadable):
        what = error.reason
    return _finding(home, path, "unreadable", what, advice)


def _artifact(home: Home, kind: str, folder: Path, deep: bool) -> Iterator[Finding]:
    again = how_again(kind)
    try:
        manifest = read_manifest(folder)
        if manifest is None:
            raise ValueError("missing")
        if wrong := what_is_wrong(manifest, kind, folder.name):
            raise ValueError(f"it {wrong}")
    except Unreadable as error:  # for want of rights or its disk, nothing is known of the whole artifact
        yield _unreadable(home, folder if error.passes else error.path, error, error.reason, again)
        return
    except Exception as error:  # noqa: BLE001 - it may hold anything
        yield _unreadable(home, folder, error, f"has no usable manifest: {error}", again)
        return
    expected = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    whole = True
    for name, (size, sha256) in sorted(expected.items()):
        path = folder / name
        try:
            if not path.is_file():
                whole = False
                yield _finding(home, path, "missing", "is gone", again)
            elif path.stat().st_size != size or (deep and sha256_file(path) != sha256):
                whole = False
                yield _finding(home, path, "changed", "was changed after it was made", again)
        except OSError as error:
            whole = False
            yield _unreadable(home, path, error, str(error), again)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in expected and name != "manifest.json":
            yield _finding(home, path, "extra", "was added after it was made", "move it elsewhere")
    for role, parent in sorted((manifest["spec"].get("inputs") or {}).items()):
        source = ROLES.get(role, role)
        if not (home.path / "artifacts" / source / str(parent) / "manifest.json").is_file():
            whole = False
            what = f"was made from {role} {parent}, which is missing"
            yield _finding(home, folder, "missing", what, "nothing, unless you need that input: run its command again")
    if not whole:
        return
    try:
        rows.artifact_rows(home, kind, folder.name)
        if kind == "classifier" and deep:
            check_logits(home, folder.name)
    except Exception as error:  # noqa: BLE001 - it may hold anything
        yield _unreadable(home, folder, error, f"is inconsistent: {error}", again)


def _staging(home: Home, folder: Path) -> Iterator[Finding]:
    job_id = folder.name.removeprefix(".staging-")
    if (home.queue / job_id).exists() or is_held(home.files(job_id).lease):
        return
    yield _finding(home, folder, "unfinished", "was left by a finished job", "`datadream gc --apply` removes it")


def _records(home: Home, found: list[Finding]) -> None:
    reads: tuple[tuple[str, Callable[[Path], Any]], ...] = (
        ("runs", lambda path: rows.run_rows(home, path.stem)),
        ("names/set", lambda path: rows.name_rows(home, path)),
        ("labels", lambda path: rows.label_rows(home, path)),
        ("experiments", lambda path: rows.experiment_rows(home, path)),
        ("marks", lambda path: rows.mark_rows(home, path)),
    )
    for place, read in reads:
        for path in _listed(home, home.path / place, found):
            if path.name[0] == "." or not path.name.endswith(".json"):
                continue
            try:
                read(path)
            except Exception as error:  # noqa: BLE001 - it may hold anything
                found.append(_unreadable(home, path, error, str(error), "remove that file"))


def _jobs(home: Home, found: list[Finding]) -> None:
    for path in _listed(home, home.path / "jobs", found):
        if path.name.startswith("."):
            continue
        if not state.is_id(path.name):
            found.append(_finding(home, path, "extra", "is not a job folder", "move it elsewhere"))
            continue
        try:
            status = state.derive(home, path.name)
        except Exception as error:  # noqa: BLE001 - it may hold anything
            what = error.message if isinstance(error, UserError) else str(error)
            at = Path(error.at).name if isinstance(error, UserError) and error.at else ""
            what += f" ({at})" if at not in what else ""
            found.append(_unreadable(home, path, error, what, f"remove it with `datadream job rm {path.name}`"))
            continue
        found += [_flaw(home, error) for error in flaws.of_job(home, path.name)]
        ruin = (home.path / "artifacts" / status.kind / status.id).exists()  # named above, with what it lacks
        if status.state == "done" and status.reason and not ruin:
            advice = "nothing, unless you need it: run its command again"
            found.append(_finding(home, path, "missing", status.reason, advice))
    for path in _listed(home, home.queue, found):
        if not home.files(path.name).spec.is_file():
            found.append(_finding(home, path, "stale", "refers to a job that does not exist", "remove that file"))
