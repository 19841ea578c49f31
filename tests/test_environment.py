"""Variables are read as their owners define them, and a job has those of whoever asked for it."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datadream import paths
from datadream.cli import main
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import control, queue, state, variables
from datadream.home.layout import Home, default_home, open_home
from datadream.home.queue import QueueSettings, slots, write_settings
from datadream.home.sets import add_set
from datadream.jobs import devices, leader, spawn
from datadream.jobs.devices import Devices
from datadream.jobs.losses import losses
from datadream.models.environment import device_asked, forget_unset, is_on, threads_asked
from datadream.models.gpus import Gpu, read_gpus, visible
from datadream.plans import enqueue
from tests.runners import kill_all, rehearsals, until, wait_for, wait_for_end, workers_used

UUIDS = ("GPU-1f00aaaa-0000-0000-0000-000000000000", "GPU-1f11bbbb-0000-0000-0000-000000000000", "GPU-22cccccc-0000")
THREE = tuple(Gpu(uuid) for uuid in UUIDS)
NAMELESS = (Gpu(), Gpu())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("0", ("0",)),
        ("2,0", ("2", "0")),
        (" 1 , 2 ", ("1", "2")),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("0,,1", ("0",)),
        ("1,7,0", ("1",)),
        ("9999999999999999999999,0", ()),
        ("0,0", ()),
        ("2,1,2", ()),
        ("01,2gpu", ("1", "2")),
        ("none", ()),
        ("void", ()),
        ("all", ()),
        ("NoDevFiles", ()),
        ("0;1", ("0",)),
        (UUIDS[1], ("1",)),
        ("GPU-22,GPU-1f0", ("2", "0")),
        ("GPU-1f,GPU-22", ()),
        ("GPU-22,GPU-zz,GPU-1f0", ("2",)),
        ("GPU-22,GPU-22c", ()),
        ("GPU-", ()),
        ("GPU-22,0", ("2",)),
        ("0,GPU-22", ("0",)),
        ("0,MIG-aaaa", ("0",)),
        ("MIG-aaaa,MIG-bbbb", ("MIG-aaaa",)),
        ("MIG-aaaa,0", ("MIG-aaaa",)),
        ("MIG-", ()),
        (f"MIG-{UUIDS[0]}/1/0,MIG-{UUIDS[0]}/2/0", (f"MIG-{UUIDS[0]}/1/0",)),
        ("MIG-GPU-99/1/0", ()),
    ],
)
def test_the_gpus_one_may_see_are_those_that_cuda_has(value: str | None, found: tuple[str, ...]) -> None:
    assert visible(value, THREE) == found
    assert visible(value, ()) == ()


def test_gpus_whose_uuids_are_not_told_are_counted_all_the_same() -> None:
    assert visible("GPU-a,GPU-b,GPU-c", NAMELESS) == ("GPU-a", "GPU-b")
    assert visible("GPU-a,GPU-a", NAMELESS) == ()
    assert visible("1,0", NAMELESS) == ("1", "0")


def test_of_a_machine_that_is_cut_into_instances_cuda_has_one_device() -> None:
    cut = (Gpu("GPU-0"), Gpu("GPU-1", cut=True), Gpu("GPU-2", cut=True))
    assert visible(None, cut) == ("1",)
    assert visible("0", cut) == ("0",)
    assert visible("2,1", cut) == ("2",)


def driver(folder: Path, *uuids: str, cut: int = -1) -> Path:
    """What the NVIDIA driver lists below /proc, for as many GPUs."""
    for number, uuid in enumerate(uuids):
        place = folder / "gpus" / f"0000:0{number}:00.0"
        place.mkdir(parents=True)
        if uuid:
            text = f"Model: \t\t NVIDIA\nGPU UUID: \t {uuid}\nDevice Minor: \t {number}\n"
            (place / "information").write_text(text)
    if cut >= 0:
        (folder / "capabilities" / f"gpu{cut}" / "mig" / "gi1").mkdir(parents=True)
    return folder / "gpus"


def test_the_driver_is_read_as_it_lists_its_gpus(tmp_path: Path) -> None:
    assert read_gpus(driver(tmp_path, *UUIDS, "", cut=1)) == (THREE[0], Gpu(UUIDS[1], True), THREE[2], Gpu())
    assert read_gpus(tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("variables_", "threads"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": ""}, None),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": " 3 "}, 3),
        ({"OMP_NUM_THREADS": "4,2,1"}, 4),
        ({"OMP_NUM_THREADS": " 4 , 2"}, 4),
        ({"OMP_NUM_THREADS": "4,"}, None),
        ({"OMP_NUM_THREADS": "4,0"}, None),
        ({"OMP_NUM_THREADS": ",4"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": "-2"}, None),
        ({"OMP_NUM_THREADS": "2.5"}, None),
        ({"OMP_NUM_THREADS": "four"}, None),
        ({"OMP_NUM_THREADS": "٤"}, None),
        ({"OMP_NUM_THREADS": "100000"}, None),
        ({"OMP_NUM_THREADS": "9" * 5000}, None),
        ({"OMP_NUM_THREADS": "8", "OMP_THREAD_LIMIT": "2"}, 2),
        ({"OMP_NUM_THREADS": "8", "OMP_THREAD_LIMIT": "no"}, 8),
        ({"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": ""}, 8),
        ({"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "2,1"}, 8),
        ({"MKL_NUM_THREADS": "2"}, 2),
    ],
)
def test_threads_are_as_openmp_and_mkl_read_them(variables_: dict[str, str], threads: int | None) -> None:
    assert threads_asked(variables_) == threads
    kept = dict(variables_)
    forget_unset(kept)
    assert threads_asked(kept) == threads
    assert ("OMP_NUM_THREADS" in kept) == (
        threads_asked({"OMP_NUM_THREADS": kept.get("OMP_NUM_THREADS", "")}) is not None
    )


@pytest.mark.parametrize(
    ("value", "device"),
    [
        *[
            ("", ""),
            ("  ", ""),
            ("cpu", "cpu"),
            ("CPU", "cpu"),
            ("cpu:0", "cpu"),
            ("cuda", "cuda"),
            (" cuda:1 ", "cuda:1"),
        ],
        *[("cuda:00", "cuda:0"), ("gpu", None), ("cuda:", None), ("cuda:-1", None), ("1", None), ("cuda:0,1", None)],
        *[("mps", None), ("cpu:1", None), ("cuda:1234567890", None)],
    ],
)
def test_a_device_is_a_device_or_one_sentence(value: str, device: str | None) -> None:
    if device is not None:
        assert device_asked({"DATADREAM_DEVICE": value}) == device
        return
    with pytest.raises(UserError, match=r"^DATADREAM_DEVICE=.* is not a device: use cpu, cuda or cuda:N"):
        device_asked({"DATADREAM_DEVICE": value})


def test_what_is_empty_is_not_set() -> None:
    empty = ["HF_HOME", "HF_ENDPOINT", "HF_HUB_ETAG_TIMEOUT", "TRANSFORMERS_OFFLINE", "CUBLAS_WORKSPACE_CONFIG"]
    environ = {**dict.fromkeys(empty, ""), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    forget_unset(environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize(
    ("value", "on"), [("", False), ("0", False), ("no", False), ("False", False), ("1", True), ("yes", True)]
)
def test_a_switch_that_says_no_is_off(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADREAM_DEBUG", value)
    assert is_on("DATADREAM_DEBUG") is on
    monkeypatch.delenv("DATADREAM_DEBUG")
    assert not is_on("DATADREAM_DEBUG")


def test_torch_gets_the_threads_and_the_device_that_were_asked_for() -> None:
    """In processes of their own: torch reads them once."""
    code = (
        "from datadream.models import environment\nenvironment.prepare_environment()\n"
        "from datadream.errors import UserError\nfrom datadream.models import runtime\n"
        "try:\n    print(runtime.describe())\nexcept UserError as error:\n    print('UserError', error)"
    )
    for given, expected in (
        ({"OMP_NUM_THREADS": "3,1"}, "'threads': 3"),
        ({"OMP_NUM_THREADS": "0", "MKL_NUM_THREADS": "5"}, "'threads': 5"),
        (
            {"DATADREAM_DEVICE": "cuda:1", "CUDA_VISIBLE_DEVICES": ""},
            "UserError DATADREAM_DEVICE=cuda:1, but CUDA has no device",
        ),
    ):
        found = {
            name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "DATADREAM_"))
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env={**found, **given}, capture_output=True, text=True, check=True
        )
        assert expected in done.stdout, done
        assert "Invalid value" not in done.stderr


# Terminals


@pytest.mark.parametrize("value", ["", "0", "-1", "wide", "1e3", "99999999"])
def test_a_width_that_is_none_is_not_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, value)
    main._forget_odd_sizes()
    assert not {"COLUMNS", "LINES"} & set(os.environ)
    monkeypatch.setenv("COLUMNS", "132")
    main._forget_odd_sizes()
    assert os.environ["COLUMNS"] == "132"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_written_as_json_reads_it(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    main._speak_any_encoding()
    sys.stdout.write(json.dumps("63 ± 2 ≥ ☃ 😀", ensure_ascii=False))
    sys.stdout.flush()
    assert json.loads(buffer.getvalue().decode(encoding)) == "63 ± 2 ≥ ☃ 😀"


def test_a_locale_that_cant_spell_the_homes_path_is_named(tmp_path: Path) -> None:
    place = tmp_path / "höme"
    for given, said in (
        ({"LC_ALL": "C"}, ""),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "LC_ALL=C.UTF-8"),
    ):
        command = [sys.executable, "-m", "datadream", "set", "ls", f"--home={place}"]
        done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if said else 0), done.stderr
        assert said in done.stderr


# Home directories


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a passwd entry and HOME, as of `docker run --user 12345`."""
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "DATADREAM_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    "given", [{}, {"DATADREAM_HOME": "~/x"}, {"XDG_DATA_HOME": "~/x"}, {"HOME": "", "DATADREAM_HOME": ""}]
)
def test_without_a_home_directory_one_sentence_says_what_to_set(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"uid 12345 has no passwd entry.*set DATADREAM_HOME or use --home"):
        default_home()
    with pytest.raises(UserError, match="uid 12345"):
        open_home(Path("~/dd"))
    assert open_home(Path("here")).path == Path("here").absolute()


@pytest.mark.usefixtures("nobody")
def test_what_runs_without_a_home_directory_gets_one_for_its_caches(home: Home) -> None:
    found = spawn.environment(home)
    assert found["HOME"] == str(home.path / "runner" / "home")
    assert found["USER"] == found["LOGNAME"] == "uid-12345"
    code = "import getpass, os, pathlib, os; os.getuid = lambda: 12345; print(getpass.getuser(), pathlib.Path.home())"
    done = subprocess.run([sys.executable, "-c", code], env=found, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["uid-12345", found["HOME"]]


def test_a_cluster_without_a_home_directory_is_one_sentence() -> None:
    pytest.importorskip("psij")
    code = (
        "import os\nos.getuid = lambda: 12345\nfrom datadream.errors import UserError\n"
        "from datadream.home.launchers import check_launcher\n"
        "try:\n    check_launcher('slurm')\nexcept UserError as error:\n    print(error)"
    )
    found = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run([sys.executable, "-c", code], env=found, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("slurm needs PSI/J, which needs a home directory: HOME isn't set and uid 12345")


def test_a_tilde_is_the_home_directory_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    me = pwd.getpwuid(os.getuid())
    assert paths.expand("~") == tmp_path
    assert paths.expand("~/a/~b") == tmp_path / "a/~b"
    assert paths.expand(Path("~/a")) == tmp_path / "a"
    assert paths.expand(f"~{me.pw_name}/a") == Path(me.pw_dir) / "a"
    assert paths.expand("./~/a") == Path("~/a")
    assert paths.expand("a~") == Path("a~")
    with pytest.raises(UserError, match=r"can't expand ~: no user 'no-such-user' \(~no-such-user/a\)"):
        paths.expand("~no-such-user/a")
    (tmp_path / "~backup.toml").touch()
    assert paths.expand("~backup.toml") == Path("~backup.toml")
    for empty in ("", "  "):
        with pytest.raises(UserError, match="the path is empty"):
            paths.expand(empty)
    monkeypatch.setenv("HOME", "")
    assert paths.expand("~/a") == Path(me.pw_dir) / "a"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"DATADREAM_HOME": "~/x"}, "me/x"),
        ({"DATADREAM_HOME": "", "XDG_DATA_HOME": "~/data"}, "me/data/datadream"),
        ({"XDG_DATA_HOME": "relative"}, "me/.local/share/datadream"),
        ({"XDG_DATA_HOME": ""}, "me/.local/share/datadream"),
        ({"DATADREAM_HOME": "relative"}, "relative"),
    ],
)
def test_the_default_home_is_where_the_variables_say(
    given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATADREAM_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path / "me"), **given}.items():
        monkeypatch.setenv(name, value)
    assert default_home().absolute() == tmp_path / expected


def test_every_option_that_takes_a_path_expands_a_tilde(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datadream.recipes.recipe import built_in_names

    me = tmp_path / "me"
    me.mkdir()
    (me / "home").symlink_to(ran)
    (me / "mine.toml").write_text('extends = "real-only"\n')
    model = Path(__file__).parents[1] / "datadream/models/weights/mini"
    (me / "sd").symlink_to(model / "sd")
    (me / "clip").symlink_to(model / "clip")
    monkeypatch.setenv("HOME", str(me))
    monkeypatch.chdir(tmp_path)
    assert built_in_names()

    def call(*words: str) -> str:
        main.app(list(words), standalone_mode=False)
        return capsys.readouterr().out

    at_home = "--home=~/home"
    assert "d2" in call("set", "ls", at_home)
    call("compare", at_home, "--format", "csv", "--output=~/table.csv")
    call("registry", "backup", "~/registry.db", at_home)
    models = ("--diffusion=~/sd", "--clip=~/clip")
    assert "jobs " in call("run", "~/mine.toml", "--set", "d2", "--dry-run", at_home, *models)
    assert {path.name for path in me.iterdir()} >= {"table.csv", "registry.db"}
    assert not (tmp_path / "~").exists()
    with pytest.raises(UserError, match="the path is empty"):
        call("set", "ls", "--home=")
    with pytest.raises(UserError, match="no user"):
        call("run", "real-only", "--source", "~no-such-user/pictures", "--dry-run", at_home)


# Slots


@pytest.fixture
def quiet(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home, in a process that sets no variable that stands with a request."""
    for name in (*variables.KEPT, *variables.NOTED):
        monkeypatch.delenv(name, raising=False)
    write_settings(home, QueueSettings(retry_seconds=0.0, grace_seconds=2.0))
    yield home
    kill_all(home)


def asked(**given: str) -> variables.Asked:
    return variables.of_request(given)


AUTO = QueueSettings()
FIXED = QueueSettings(slots=("cuda:0/0", "cuda:0/1", "cuda:2", "cpu"))


@pytest.mark.parametrize(
    ("settings", "given", "open_to"),
    [
        (AUTO, {}, {"cuda:0": "cuda:0", "cuda:1": "cuda:1", "cuda:2": "cuda:2"}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": "2,0"}, {"cuda:0": "cuda:1", "cuda:2": "cuda:0"}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": "2,0", "DATADREAM_DEVICE": "cuda:0"}, {"cuda:2": "cuda:0"}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": "GPU-22"}, {"cuda:2": "cuda:0"}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": ""}, {"cpu:0": None}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, {"cpu:0": None}),
        (AUTO, {"DATADREAM_DEVICE": "cpu"}, {"cpu:0": None}),
        (AUTO, {"DATADREAM_DEVICE": ""}, {"cuda:0": "cuda:0", "cuda:1": "cuda:1", "cuda:2": "cuda:2"}),
        (AUTO, {"DATADREAM_DEVICE": "cuda"}, {"cuda:0": "cuda:0", "cuda:1": "cuda:1", "cuda:2": "cuda:2"}),
        (AUTO, {"DATADREAM_DEVICE": "cuda:3"}, {}),
        (AUTO, {"DATADREAM_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "-1"}, {}),
        (AUTO, {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, {"cuda:3": "cuda:0"}),
        (FIXED, {}, {"cuda:0/0": "cuda:0", "cuda:0/1": "cuda:0", "cuda:2": "cuda:2", "cpu": "cpu"}),
        (FIXED, {"CUDA_VISIBLE_DEVICES": "2,1"}, {"cuda:2": "cuda:0", "cpu": "cpu"}),
        (FIXED, {"CUDA_VISIBLE_DEVICES": "1", "DATADREAM_DEVICE": "cuda"}, {}),
        (FIXED, {"DATADREAM_DEVICE": "cpu"}, {"cpu": "cpu"}),
    ],
)
def test_a_job_may_have_the_slots_that_its_own_variables_leave(
    settings: QueueSettings, given: dict[str, str], open_to: dict[str, str | None], quiet: Home,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And its worker calls the device as CUDA counts it there."""
    monkeypatch.setattr(queue, "NVIDIA", driver(tmp_path, *UUIDS))
    found = Devices(quiet, leads=True)
    assert found.open_to(settings, asked(**given)) == open_to
    assert set(open_to) <= set(found.slots(settings))
    if not open_to:
        assert found.why_none(settings, asked(**given)).reason.startswith("waiting for a device: requested with ")


def test_slots_are_called_as_the_runner_sees_its_devices_and_a_name_is_one_device(
    quiet: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shells that set different variables get different GPUs, and none is handed out twice."""
    monkeypatch.setattr(queue, "NVIDIA", driver(tmp_path, *UUIDS))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    first = Devices(quiet, leads=True)
    assert slots(AUTO) == ("cuda:0", "cuda:1")
    assert first.open_to(AUTO, asked(CUDA_VISIBLE_DEVICES="2,1")) == {"cuda:0": "cuda:0", "cuda:1": "cuda:1"}
    assert first.open_to(AUTO, None) == {
        "cuda:0": "cuda:0",
        "cuda:1": "cuda:1",
    }  # a request that kept none: the runner's
    assert first.open_to(AUTO, asked(CUDA_VISIBLE_DEVICES="0")) == {"cuda:2": "cuda:0"}
    held = queue.take_slot(quiet, "cuda:0")
    assert held is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    second = Devices(quiet, leads=True)
    assert second.open_to(AUTO, asked(CUDA_VISIBLE_DEVICES="2")) == {"cuda:0": "cuda:0"}
    os.close(held)
    third = Devices(quiet, leads=True)
    assert third.open_to(AUTO, asked(CUDA_VISIBLE_DEVICES="0")) == {"cuda:0": "cuda:0"}
    assert third.open_to(AUTO, asked(CUDA_VISIBLE_DEVICES="2")) == {"cuda:2": "cuda:0"}


@pytest.mark.parametrize("value", ["MIG-aaaa,MIG-bbbb", "0,-1,1", "1", "GPU-x", " 1"])
def test_a_variable_that_leaves_one_device_leaves_one_slot(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "NVIDIA", driver(tmp_path, "", ""))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert slots(AUTO) == ("cuda:0",)


def test_where_no_gpu_is_listed_torch_is_left_the_choice(
    quiet: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "NVIDIA", tmp_path / "nothing")
    found = Devices(quiet, leads=True)
    for given in ({}, {"CUDA_VISIBLE_DEVICES": "0,1"}, {"DATADREAM_DEVICE": "cuda"}):
        assert found.open_to(AUTO, asked(**given)) == {"cpu:0": None}
    assert found.open_to(FIXED, asked(DATADREAM_DEVICE="cuda:2")) == {"cuda:2": "cuda:2"}
    assert devices.shown(quiet, AUTO) == ("cpu:0",)


def test_a_job_that_no_slot_fits_says_so_and_goes_when_one_does(quiet: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADREAM_DEVICE", "cuda:1")
    write_settings(quiet, QueueSettings(slots=("cpu",)))
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=1), {})
    spawn.ensure_runner(quiet)
    why = "waiting for a device: requested with DATADREAM_DEVICE=cuda:1, which matches none of the slots cpu"
    until(lambda: state.derive(quiet, job).reason == why)
    time.sleep(0.5)
    assert [line["reason"] for line in state.history(quiet.job(job))].count(why) == 1
    write_settings(quiet, QueueSettings(slots=("cpu", "cuda:1")))
    wait_for_end(quiet)
    assert state.derive(quiet, job).slot == "cuda:1"
    assert record(quiet, job)["variables"]["DATADREAM_DEVICE"] == "cuda:1"


def test_a_device_that_is_none_is_refused_before_anything_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATADREAM_DEVICE", "gpu0")
    with pytest.raises(UserError, match="DATADREAM_DEVICE=gpu0 is not a device"):
        enqueue.enqueue(home, rehearsals(1), {})
    assert not home.queue.exists()


# What stands with a request


def record(home: Home, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home.job(job) / "environment.json").read_text())
    return found


MINE = {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "1", "HF_HUB_OFFLINE": "1", "NVIDIA_TF32_OVERRIDE": "0"}
OTHERS = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_OFFLINE": "1", "PYTORCH_CUDA_ALLOC_CONF": "backend:native"}


def shell(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    """From here on, as in a shell that sets these and nothing else of what stands with a request."""
    for name in (*variables.KEPT, *variables.NOTED):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def settings_of(home: Home, job: str) -> dict[str, str]:
    """What it ran with, of what somebody may set."""
    fixed = ("GOMP_SPINCOUNT", "CUBLAS_WORKSPACE_CONFIG")
    return {
        name: value
        for name, value in record(home, job)["variables"].items()
        if name in variables.KEPT and name not in fixed
    }


def test_each_job_has_the_settings_of_whoever_asked_for_it(
    quiet: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever shell started the runner; jobs of equal settings share a worker, others get one of their own."""
    monkeypatch.chdir(tmp_path)
    write_settings(quiet, QueueSettings(paused=True))
    shell(monkeypatch, **OTHERS)
    first = enqueue.enqueue(quiet, rehearsals(2, steps=1), {})
    spawn.ensure_runner(quiet)
    until(lambda: leader.is_led(quiet))
    shell(monkeypatch, **MINE, HF_HOME="models")
    second = enqueue.enqueue(quiet, rehearsals(2, 10, steps=1), {})
    write_settings(quiet, QueueSettings())
    wait_for_end(quiet)
    for job in first:
        assert settings_of(quiet, job) == OTHERS
    for job in second:
        assert settings_of(quiet, job) == {**MINE, "HF_HOME": str(tmp_path / "models")}
    workers = [workers_used(quiet, job)[0] for job in (*first, *second)]
    assert workers[0] == workers[1] != workers[2] == workers[3]


def test_a_request_of_a_version_that_kept_no_settings_runs_with_the_runners(
    quiet: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(monkeypatch, **OTHERS)
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=1), {})
    path = quiet.job(job) / "request.json"
    old = json.loads(path.read_text())
    del old["environment"], old["noted"]
    path.write_text(json.dumps(old))
    wait_for_end(quiet)
    assert settings_of(quiet, job) == OTHERS


def test_a_retry_has_the_settings_of_whoever_asks_for_it(quiet: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shell(monkeypatch, **OTHERS)
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=3, fail_at=1), {})
    wait_for_end(quiet)
    shell(monkeypatch, **MINE)
    control.retry(quiet, job)
    wait_for_end(quiet)
    assert settings_of(quiet, job) == MINE


def test_settings_that_a_queued_job_keeps_are_told_to_whoever_asks_again(
    quiet: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(monkeypatch, OMP_NUM_THREADS="1")
    jobs = enqueue.enqueue(quiet, rehearsals(1), {})
    assert losses(quiet, jobs) == []
    shell(monkeypatch, OMP_NUM_THREADS="2", HF_HUB_OFFLINE="1")
    assert enqueue.enqueue(quiet, rehearsals(1), {}) == jobs
    told = "HF_HUB_OFFLINE=not set (here 1), OMP_NUM_THREADS=1 (here 2)"
    assert losses(quiet, jobs) == [f"already queued with other settings, which are kept: {jobs[0][:8]} {told}"]


SECRETS = {"HF_TOKEN": "hf_CANARYaaaaaaaaaaaaaaaa", "https_proxy": "http://user:CANARY@127.0.0.1:9"}


def test_of_secrets_only_the_names_are_written(quiet: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"HF_ENDPOINT": "http://me:CANARY@127.0.0.1:9", "HF_HOME": f"/tmp/{SECRETS['HF_TOKEN']}"}
    shell(monkeypatch, **SECRETS, **odd, OMP_NUM_THREADS="1")
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=1), {})
    request = state.read_request(quiet, job)
    assert request.environment == {"OMP_NUM_THREADS": "1"}
    assert set(request.noted) == {*SECRETS, *odd}
    wait_for_end(quiet)
    assert record(quiet, job)["noted"] == list(SECRETS)
    assert not [path for path in quiet.path.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    found = variables.of_worker(spawn.environment(), request.environment, request.noted)
    assert {name: found[name] for name in (*SECRETS, *odd)} == {**SECRETS, **odd}


def test_only_what_is_allowed_comes_out_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = {"LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "PATH": "/tmp", "HF_TOKEN": "x", "OMP_NUM_THREADS": "2"}
    base = spawn.environment()
    found = variables.of_worker(base, evil)
    assert {name for name in found if found[name] != base.get(name)} <= {"OMP_NUM_THREADS"}


def test_a_runner_without_the_token_makes_room_for_one_that_has_it(
    quiet: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs meanwhile goes on. One that has secrets of its own stays, and the loss is told."""
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=150), {})
    spawn.ensure_runner(quiet)
    wait_for(quiet, job, "running")
    shell(monkeypatch, HF_TOKEN="hf_CANARYaaaaaaaaaaaaaaaa")
    (other,) = enqueue.enqueue(quiet, rehearsals(1, 5, steps=1), {})
    spawn.ensure_runner(quiet)
    until(lambda: leader.newest(quiet) == 2 and leader.is_led(quiet))
    assert losses(quiet, [other]) == []
    wait_for(quiet, other, "done")
    assert record(quiet, other)["noted"] == ["HF_TOKEN"]
    enqueue.enqueue(quiet, rehearsals(1, 7, steps=100_000), {})  # else the runner would leave by itself
    shell(monkeypatch, https_proxy="http://127.0.0.1:9")
    (third,) = enqueue.enqueue(quiet, rehearsals(1, 9, steps=1), {})
    spawn.ensure_runner(quiet)
    (said,) = losses(quiet, [third])
    assert said.startswith("https_proxy is set here, but not in the runner or its jobs: ")
    assert "`datadream queue restart`" in said
    spawn.restart_runner(quiet)
    until(lambda: leader.newest(quiet) == 3)
    control.cancel(quiet, rehearsals(1, 7, steps=100_000)[0].id)
    wait_for_end(quiet)
    assert {state.derive(quiet, found).state for found in (job, other, third)} == {"done"}
    assert state.attempts(quiet.job(job)) == 1
    assert record(quiet, third)["noted"] == ["https_proxy"]


def test_a_job_that_fails_for_want_of_a_token_says_which_one_was_set(
    quiet: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datadream.jobs.failures import _for_want

    shell(monkeypatch, HF_TOKEN="hf_CANARYaaaaaaaaaaaaaaaa")
    (job,) = enqueue.enqueue(quiet, rehearsals(1), {})

    class Response:
        status_code = 401

    refusal = OSError("unauthorized")
    refusal.response = Response()  # type: ignore[attr-defined]
    failure = UserError("can't load the model")
    failure.__cause__ = refusal
    assert _for_want(quiet.job(job), failure) == ""
    shell(monkeypatch)
    assert _for_want(quiet.job(job), failure) == (
        "; HF_TOKEN was set when this job was submitted, but not in the runner: run `datadream queue "
        f"restart` where it is set, then `datadream job retry {job[:8]}`"
    )
    assert _for_want(quiet.job(job), UserError("a class has 3 images")) == ""


def test_a_clusters_worker_takes_on_what_was_asked_but_for_the_devices(
    quiet: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datadream.jobs.worker import _settle

    shell(monkeypatch, **MINE, DATADREAM_DEVICE="cpu")
    (job,) = enqueue.enqueue(quiet, rehearsals(1), {}, launcher="slurm")
    assert state.claim(quiet, job, 1, {"slot": "slurm", "launcher": "slurm"})
    shell(monkeypatch, **OTHERS, CUDA_VISIBLE_DEVICES="7", HF_TOKEN="hf_CANARYaaaaaaaaaaaaaaaa")
    _settle(quiet.job(job), 1)
    found = {name: os.environ.get(name) for name in {**MINE, **OTHERS, "DATADREAM_DEVICE": "", "HF_TOKEN": ""}}
    kept = {**MINE, "CUDA_VISIBLE_DEVICES": "7", "DATADREAM_DEVICE": "cpu", "HF_TOKEN": "hf_CANARYaaaaaaaaaaaaaaaa"}
    assert {name: value for name, value in found.items() if value is not None} == kept


def test_a_clusters_job_runs_with_what_was_asked(quiet: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("psij")
    from tests.test_cluster import FLUX, script

    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "flux", "")
    text = FLUX.format(python=sys.executable, known=str(tmp_path / "known"))
    (tmp_path / "bin" / "flux").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    shell(monkeypatch, **MINE)
    write_settings(quiet, QueueSettings(paused=True))
    (job,) = enqueue.enqueue(quiet, rehearsals(1, steps=1), {}, launcher="flux")
    shell(monkeypatch, **OTHERS, CUDA_VISIBLE_DEVICES="7")
    write_settings(quiet, QueueSettings())
    wait_for_end(quiet)
    assert settings_of(quiet, job) == {**MINE, "CUDA_VISIBLE_DEVICES": "7"}


def test_a_worker_started_by_hand_says_which_settings_are_its_own(
    quiet: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datadream.jobs.worker import _settle

    shell(monkeypatch, OMP_NUM_THREADS="1")
    (job,) = enqueue.enqueue(quiet, rehearsals(1), {})
    _settle(quiet.job(job), None)
    assert capsys.readouterr().err == ""
    shell(monkeypatch, OMP_NUM_THREADS="2")
    _settle(quiet.job(job), None)
    assert "which differ from those requested: OMP_NUM_THREADS=1 (here 2)" in capsys.readouterr().err


def test_folders_are_those_of_the_shell_not_of_the_runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    shell(monkeypatch, HF_HOME="hub", TORCH_HOME="~/torch", HF_HUB_CACHE="$HOME/hub", XDG_CACHE_HOME="$NOWHERE_/x")
    monkeypatch.setenv("PYTHONPATH", f"code{os.pathsep}/abs{os.pathsep}")
    found = spawn.environment()
    assert found["HF_HOME"] == str(tmp_path / "hub")
    assert found["TORCH_HOME"] == "/home/me/torch"
    assert found["HF_HUB_CACHE"] == "/home/me/hub"
    assert found["XDG_CACHE_HOME"] == "$NOWHERE_/x"
    assert found["PYTHONPATH"] == os.pathsep.join([str(tmp_path / "code"), "/abs", str(tmp_path)])


def test_the_app_asks_with_the_settings_of_its_shell_and_tells_what_is_lost(
    quiet: Home, two_shots: ShotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui.app import DataDreamApp
    from tui.screens.new.form import Form, start
    from tui.services.data import Data

    add_set(quiet, two_shots, "s")
    data = Data(quiet)
    form = Form(recipes=("zero-shot",), sets=("s",))
    shell(monkeypatch, OMP_NUM_THREADS="1")
    first = start(data, form, paused=True)
    (job,) = first.jobs
    assert state.read_request(quiet, job).environment == {"OMP_NUM_THREADS": "1"}
    assert not any("other settings" in line for line in first.told)
    shell(monkeypatch, OMP_NUM_THREADS="2")
    again = start(data, form, paused=True)
    assert again.jobs == ()
    told = f"already queued with other settings, which are kept: {job[:8]} OMP_NUM_THREADS=1 (here 2)"
    assert again.told[len(first.told) :] == (f"warning: {told}",)
    data.warnings.append(told)  # as the demo of the dashboard leaves it
    said: list[str] = []
    app = SimpleNamespace(data=data, log_of_commands=[], _undos=[], say=lambda text, *_: said.append(text))
    DataDreamApp.did(app, "done")  # type: ignore[arg-type]
    assert said == ["done", told]
    assert data.warnings == []
