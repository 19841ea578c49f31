"""Nothing in a home's path or a setting is run by a cluster's script, and every such home's jobs start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadream.errors import UserError
from datadream.home import state
from datadream.home.launchers import Resources, resources_for
from datadream.home.layout import Home, open_home
from datadream.home.quoting import bash_word, command_line
from datadream.jobs import spawn
from datadream.plans import enqueue
from tests.runners import rehearsals

psij = pytest.importorskip("psij")

from datadream.jobs.clusters.cluster import Cluster, describe  # noqa: E402 - needs PSI/J

SCHEDULERS = ("slurm", "pbs", "lsf")
HOSTILE = (
    "with space", "two  spaces", "$(touch canary)", "`touch canary`", "a;touch canary;", "a&touch canary&", "a|touch canary",
    "it's", 'say "touch"', "back\\slash", "%j %u %%", "new\nline", "x\n#SBATCH --uid=0", "x\n#PBS -l a", "x\n#BSUB -R b", "tab\there",
    "$HOME", "~", "*", "[ab]", "{a,b}", "!x", "#no", "-rf", "é鳥", "\x1b[31m", "(a)", "<in>", "a=b", "\u202etxt", "'\n'$(touch canary)'",
)  # fmt: skip


def print_words(words: tuple[str, ...]) -> list[str]:
    """A command that prints its arguments, each ended by a NUL."""
    code = "import sys; sys.stdout.write(''.join(word + chr(0) for word in sys.argv[1:]))"
    return [sys.executable, "-S", "-c", code, *words]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=6))
def test_bash_reads_what_was_meant(words: list[str]) -> None:
    line = command_line(print_words(tuple(words)))
    assert "\n" not in line
    result = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert result.stdout.decode() == "".join(f"{word}\0" for word in words)


def test_plain_words_stay_as_they_are() -> None:
    assert bash_word("/home/me/data-1.2") == "/home/me/data-1.2"
    assert bash_word("a\nb'c\\") == "$'a\\x0ab\\'c\\\\'"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_script_runs_its_command_and_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "command", lambda *words: print_words(words))
    for part in HOSTILE:
        folder = tmp_path / name / part
        folder.mkdir(parents=True)
        home = open_home(folder)
        job = psij.Job(describe(name, home.path, "abc", 3, Resources(), part))
        (home.job("abc")).mkdir(parents=True)
        script = tmp_path / "script"
        script.write_text(Cluster(name, home).script(job))
        comments = [line for line in script.read_text().splitlines() if line.startswith("#")]
        assert not [line for line in comments if line.startswith(("#SBATCH --uid", "#PBS -l a", "#BSUB -R b"))]
        before = sorted(tmp_path.iterdir())
        result = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b""), part
        said = (home.job("abc") / "launcher.txt").read_bytes().decode()
        assert said.split("\0")[:-1] == ["worker", "--home", str(home.path), "--attempt", "3", "abc"]
        assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def hostile_home(tmp_path: Path) -> Home:
    return open_home(tmp_path / 'a $(touch canary) `touch canary` "it\'s" %j\n#BSUB -J x' / "home")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_submitted_job_is_done_in_a_hostile_home(
    name: str, hostile_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler's command is a stand-in that runs the script it is given as the real ones do: in a shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command, said = {
        "slurm": ("sbatch", "Submitted batch job 77 on cluster far"),
        "pbs": ("qsub", "77.server"),
        "lsf": ("bsub", "Job <77> is submitted to queue <normal>."),
    }[name]
    run = 'bash "$1"' if name != "lsf" else "[ $# = 0 ] && bash"  # LSF hands an argument to a shell: none may be given
    (folder / command).write_text(f"#!/bin/sh\n{run} >&2 || exit 1\necho '{said}'\n")
    (folder / command).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (job,) = enqueue.enqueue(hostile_home, rehearsals(1, steps=2), {}, launcher=name)
    assert state.claim(hostile_home, job, 1, {"slot": name, "launcher": name, "epoch": 1})
    native = Cluster(name, hostile_home).submit(hostile_home.path, job, 1, Resources(), "title")
    assert native == ("77.server" if name == "pbs" else "77")
    assert (hostile_home.job(job) / "result.json").is_file(), (hostile_home.job(job) / "launcher.txt").read_text()
    assert not list(tmp_path.rglob("canary"))


def test_flux_gets_words_and_refuses_what_it_would_expand(home: Home, tmp_path: Path) -> None:
    for part in HOSTILE:
        spec = describe("flux", Path("/") / part, "abc", 1, Resources(extra={"setattr": "a b"}), part)
        words = Cluster("flux", home)._executor.get_submit_command(psij.Job(spec), Path())
        assert words[-6:] == ["worker", "--home", f"/{part}", "--attempt", "1", "abc"]
        assert f"--output=/{part}/jobs/abc/launcher.txt" in words
        assert "--setattr=a b" in words
    with pytest.raises(UserError, match="flux rejects the job"):
        Cluster("flux", home).submit(Path("/a{{id}}"), "abc", 1, Resources(), "x")


@pytest.mark.parametrize(
    "line",
    [
        'queue = "gpu\\n#SBATCH --uid=0"',
        'queue = "gpu fast"',
        'account = "$(x)"',
        'account = "a\\"b"',
        'extra = { "qos\\nx" = "low" }',
        'extra = { "-x" = "low" }',
        'extra = { qos = "low\\ntouch canary" }',
        'extra = { qos = "a\\" touch" }',
        'extra = { qos = "\\u001b[31m" }',
        'extra = { qos = "" }',
    ],
)
def test_a_setting_that_could_end_its_line_is_refused(line: str, home: Home) -> None:
    (home.path / "cluster.toml").write_text(f"[resources]\n{line}\n")
    with pytest.raises(UserError, match=r"\[resources\] (queue|account|extra)") as caught:
        resources_for(home, "slurm", "adapt", {})
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_values_are_quoted_once(name: str, home: Home) -> None:
    extra = {"constraint": "a100|h100", "R": "rusage[mem=4096]", "comment": "it's mine, $5"}
    spec = describe(name, home.path, "abc", 1, Resources(queue="a,b", account="lab:x", extra=extra), "x")
    text = Cluster(name, home).script(psij.Job(spec))
    for value in extra.values():
        assert f'"{value}"' in text


@pytest.mark.parametrize("said", ["", "no id here -rf", "Submitted batch job", "ok\n$(x)"])
def test_an_id_that_is_none_is_refused(said: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "qsub").write_text(f"#!/bin/sh\ncat <<'E'\n{said}\nE\n")
    (folder / "qsub").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    if said == "Submitted batch job":
        assert Cluster("pbs", home).submit(home.path, "abc", 1, Resources(), "x") == "job"
        return
    with pytest.raises(UserError, match="pbs rejected the job"):
        Cluster("pbs", home).submit(home.path, "abc", 1, Resources(), "x")
