"""Homes that can't be used: read-only, another's, anybody's, over quota, too deep. One sentence, exit 2."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import run_cli
from tests.faults.scale import record, scale

COMMANDS = (("rehearse", "--detach"), ("set", "make", "digits", "--shots", "1"), ("job", "ls"), ("registry", "check"))


def check_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_home_anybody_may_write_in(words: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    check_refused(run_cli(*words, home=home), "writable by everyone", "chmod o-w")
    record("bad-home", kind="world-writable", command=" ".join(words), outcome="one sentence, exit 2")


def test_a_home_of_another_user(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    if os.geteuid() != 0:
        check_refused(run_cli("job", "ls", home=Path("/")), "belongs to another user")
        return
    os.chown(home, 12345, 12345)
    check_refused(run_cli("job", "ls", home=home), "belongs to another user", "--shared")
    home.chmod(0o2770)
    assert run_cli("job", "ls", home=home).returncode == 0
    record("bad-home", kind="another user's", outcome="one sentence, exit 2; a shared one is used")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_home_on_a_read_only_file_system(words: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    probe = [*unshare, "sh", "-c", script, "sh", str(home), "true"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine")
    command = [*unshare, "sh", "-c", script, "sh", str(home), sys.executable, "-m", "datadream", *words]
    environment = {**os.environ, "DATADREAM_HOME": str(home)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    check_refused(result, "can't write")
    record("bad-home", kind="read-only", command=" ".join(words), outcome="one sentence, exit 2")


def test_a_home_whose_path_is_too_long(tmp_path: Path) -> None:
    check_refused(run_cli("job", "ls", home=tmp_path / ("x" * 300)), "too long", "choose another path")
    deep = tmp_path / "/".join(["y" * 200] * 25)
    check_refused(run_cli("rehearse", "--detach", home=deep), "too long")
    record("bad-home", kind="path too long", outcome="one sentence, exit 2")


def test_a_home_over_its_quota(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a quota: no file may grow at all."""
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "datadream"]
    environment = {**os.environ, "DATADREAM_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    for words in (("rehearse", "--detach"), ("set", "make", "digits", "--shots", "1")):
        result = subprocess.run([*command, *words], capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 2, result.stderr
        assert "no space left" in result.stderr
        assert "Traceback" not in result.stderr
    record("bad-home", kind="quota", outcome="one sentence, exit 2")


def test_what_is_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    previous = os.umask(0)
    try:
        assert run_cli("rehearse", "--steps", 2, "--quiet", home=home).returncode == 0
        assert run_cli("job", "ls", home=home).returncode == 0
    finally:
        os.umask(previous)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.rglob("*")]}
    wrong = {str(path): oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)}
    assert wrong == {}
    record("modes", files=len(modes), outcome="folders 0700, files 0600 under umask 0")


def test_a_home_below_a_projects_folder_is_private_all_the_same(tmp_path: Path) -> None:
    """Folders of a project have the setgid bit, and what is made in them inherits it."""
    project = tmp_path / "project"
    project.mkdir()
    project.chmod(0o2775)
    home = project / "home"
    assert run_cli("rehearse", "--steps", 2, "--quiet", home=home).returncode == 0
    assert run_cli("job", "ls", home=home).returncode == 0
    for path in [home, *home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, (str(path), oct(path.stat().st_mode))


def test_a_home_a_group_may_write_in_without_being_shared(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, 0, 12345)
    home.chmod(0o775)
    if os.geteuid() == 0:
        check_refused(run_cli("job", "ls", home=home), "writable by its group", "chmod g-w")
    home.chmod(0o755)
    assert run_cli("job", "ls", home=home).returncode == 0
    record("bad-home", kind="group-writable, not shared", outcome="one sentence, exit 2")


def test_a_shared_home_is_its_groups(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run_cli("home", "init", "--shared", home=home).returncode == 0
    assert run_cli("rehearse", "--steps", 2, "--quiet", home=home).returncode == 0
    assert run_cli("job", "ls", home=home).returncode == 0
    for path in [home, *home.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o060 == 0o060, (str(path), oct(mode))
        assert mode & 0o007 == 0


EXOTIC = (
    "a b",
    "-rf",
    "$(touch x)",
    "q?mode=memory&x#y%41",
    "line\nbreak",
    "\x1b[31mred",
    "\u202etxt",
    "e\u0301",
    "%s{}",
    "colon:x",
    "q'\"",
    "[red]",
)


def test_a_home_may_be_called_anything_in_utf_8(tmp_path: Path) -> None:
    names = scale(EXOTIC[1:5], EXOTIC)
    for name in names:
        home = tmp_path / name
        ran = run_cli("rehearse", "--steps", 1, "--quiet", home=home)
        assert ran.returncode == 0, (name, ran.stderr)
        assert "done" in run_cli("job", "ls", home=home).stdout
        assert (home / "registry.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    check_refused(run_cli("rehearse", "--steps", 1, home=tmp_path / "x\udcff"), "not UTF-8", "choose another")
    record("bad-home", kind="odd names", count=len(names), outcome="used as they are; not UTF-8: one sentence, exit 2")


def test_a_module_planted_in_a_home_is_not_imported(tmp_path: Path) -> None:
    """The runner and its workers start in the home; in a shared one that is another member's folder too."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    canary = tmp_path / "canary"
    for name in ("torch", "json", "typer", "psutil", "datadream", "sitecustomize"):
        (home / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    assert run_cli("rehearse", "--steps", 2, "--quiet", home=home).returncode == 0
    assert not canary.exists()
    record("planted-modules", modules=6, outcome="none imported")
