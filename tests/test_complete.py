"""What TAB offers can be put on a command line as it is, and is of the home that the line names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from datadream.data.shots import ShotSet
from datadream.home.experiments import make_experiment
from datadream.home.layout import Home
from datadream.home.sets import add_set


def offered(words: str, home: Path) -> list[str]:
    environment = {"_DATADREAM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [str(Path(sys.executable).with_name("datadream"))]
    found = {**os.environ, **environment, "DATADREAM_HOME": str(home)}
    said = subprocess.run(command, capture_output=True, text=True, env=found, check=False).stdout
    return [line for line in said.splitlines() if line]


def test_a_name_that_a_shell_would_take_apart_is_offered_as_its_id(home: Home, two_shots: ShotSet) -> None:
    made = [add_set(home, two_shots, name) for name in ("mine", "my set", "my;touch x", "-my")]
    known = made[0].id
    assert offered("datadream set show ", home.path) == sorted([known, "mine"])
    assert offered("datadream set show m", home.path) == ["mine"]
    assert offered(f"datadream run x --set {known[:3]}", home.path) == [known]
    first, second = make_experiment(home, "my-grid"), make_experiment(home, "$(my grid)")
    for command in ("show", "add", "drop", "rm"):
        assert offered(f"datadream experiment {command} ", home.path) == sorted([first.name, second.id])
    assert offered("datadream experiment make my", home.path) == []
    everything = offered("datadream tag add ", home.path)
    assert {"mine", "my-grid", known, second.id} == set(everything)
    assert all(shlex.split(word) == [word] for word in everything)


def test_the_home_on_the_line_is_the_one_looked_into(home: Home, two_shots: ShotSet, tmp_path: Path) -> None:
    add_set(home, two_shots, "mine")
    make_experiment(home, "my-grid")
    elsewhere = tmp_path / "elsewhere"
    assert offered("datadream set show ", elsewhere) == []
    assert offered(f"datadream set show --home {home.path} ", elsewhere) == ["mine"]
    assert offered(f"datadream experiment show --home {home.path} my", elsewhere) == ["my-grid"]
    assert not elsewhere.exists()
