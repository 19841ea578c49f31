"""What is asked of a cluster: resources by stage, and batch scripts whatever a job is called."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from datadream.errors import UserError
from datadream.jobs.home import Home
from datadream.jobs.launchers import check_launcher, launcher, resources_for

psij = pytest.importorskip("psij")
TOML = """
[resources]
cpus = 2
queue = "gpu"
extra = { qos = "low" }
[resources.adapt]
minutes = 90
gpus = 2
"""


def test_a_stage_overrides_the_file_and_a_job_both(home: Home) -> None:
    assert resources_for(home, "slurm", "adapt", {}).gpus == 1
    (home.path / "cluster.toml").write_text(TOML)
    adapt = resources_for(home, "slurm", "adapt", {"minutes": 5})
    assert (adapt.cpus, adapt.gpus, adapt.minutes, adapt.queue, adapt.extra) == (2, 2, 5, "gpu", {"qos": "low"})
    classify = resources_for(home, "slurm", "classify", {})
    assert (classify.gpus, classify.minutes) == (1, 1440)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("[resources", "can't read it"), ("[resources]\ngpu = 1\n", "gpu"), ("[resources]\nminutes = 0\n", "minutes")],
)
def test_a_wrong_file_is_said_in_a_sentence(text: str, complaint: str, home: Home) -> None:
    (home.path / "cluster.toml").write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        resources_for(home, "slurm", "adapt", {})
    assert "docs/cluster.md" in str(caught.value)


def test_an_unknown_launcher_names_the_known(home: Home) -> None:
    with pytest.raises(UserError, match=r"no launcher 'slurn': use any of local, slurm, pbs, lsf, flux"):
        check_launcher("slurn")
    with pytest.raises(UserError, match="local is no cluster"):
        launcher("local", home)


@pytest.mark.parametrize("name", ["slurm", "pbs", "lsf"])
def test_the_batch_script_asks_for_what_was_said_and_quotes_what_was_named(
    name: str, home: Home, tmp_path: Path
) -> None:
    from datadream.jobs.cluster import Cluster, describe

    (home.path / "cluster.toml").write_text(TOML)
    resources = resources_for(home, name, "adapt", {})
    evil = "'; touch /tmp/x; \n#SBATCH --uid=0 $(touch x) \x1b[2J"
    job = psij.Job(describe(name, Path("/home of/mine"), "a" * 16, 3, resources, evil))
    executor = Cluster(name, home)._executor
    script = io.StringIO()
    executor.generate_submit_script(job, executor._create_script_context(job), script)
    text = script.getvalue()
    assert "--uid=0 $(" not in text
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.startswith("#SBATCH --uid")]
    assert "worker" in text
    assert "a" * 16 in text
    wanted = {
        "slurm": ('--gres="gpu:2"', '--qos="low"', "--time=1:30", "--cpus-per-task=2", '--job-name="touch-tmp-x-'),
        "pbs": ("walltime=1:30", "-q gpu"),
        "lsf": ("-W 1:30", "-gpu num=2", '-q "gpu"'),
    }
    for word in wanted[name]:
        assert word in text, text
