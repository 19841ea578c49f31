"""Whatever goes wrong: one sentence with what, where and what to do; exit code 2; nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY_OPTIONS, Cli


def pictures(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (9, 9), (i * 20 % 255, first, 10)).save(folder / f"{i}.png")
    return folder


def check_refused(result, *parts: str) -> None:  # type: ignore[no-untyped-def]
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_a_missing_folder(cli: Cli, tmp_path: Path) -> None:
    check_refused(cli("set", "make", tmp_path / "nowhere"), "nowhere")


def test_an_empty_class(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "in" / "cat", 9)
    (tmp_path / "in" / "dog").mkdir()
    check_refused(cli("set", "make", tmp_path / "in", "--shots", 1), "dog")


def test_one_class_only(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "in" / "cat", 9)
    check_refused(cli("set", "make", tmp_path / "in", "--shots", 1), "class")


def test_a_file_that_is_no_image(cli: Cli, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures(tmp_path / "in" / name, 9)
    (tmp_path / "in" / "dog" / "notes.txt").write_text("x")
    check_refused(cli("set", "make", tmp_path / "in", "--shots", 1), "dog/notes.txt")


def test_a_corrupt_image_is_named_and_nothing_is_kept(cli: Cli, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures(tmp_path / "in" / name, 9)
    path = tmp_path / "in" / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:40])
    check_refused(cli("set", "make", tmp_path / "in", "--shots", 1, "--name", "x"), "dog/3.png", "1 image")
    assert not list((tmp_path / "home").rglob("*.json"))


def test_damaged_metadata_costs_nothing_and_says_nothing(cli: Cli, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures(tmp_path / "in" / name, 9)
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "dog" / "x.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    made = cli("set", "make", tmp_path / "in", "--shots", 1)
    assert made.returncode == 0
    assert "Warning" not in made.stderr


def test_too_few_images_names_the_class_and_what_it_has(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "in" / "cat", 20)
    pictures(tmp_path / "in" / "iron", 5)
    check_refused(cli("set", "make", tmp_path / "in", "--shots", 8), "iron", "has 3", "8 shots", "--shots 3")


def test_an_image_that_changed_after_the_set_was_made(cli: Cli, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures(tmp_path / "in" / name, 9, first=ord(name[0]))
    assert cli("set", "make", tmp_path / "in", "--shots", 1, "--name", "x").returncode == 0
    for path in (tmp_path / "in" / "dog").iterdir():
        Image.new("RGB", (9, 9), "white").save(path)
    check_refused(
        cli("run", "real-only", "--set", "x", "--quiet", *TINY_OPTIONS[-4:]), "changed after the set was made", "dog/"
    )
    assert not list((tmp_path / "home").glob("artifacts/classifier/[!.]*"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "real-onyl", "--source", "digits"), ("real-onyl", "did you mean 'real-only'")),
        (("run", "name-only", "--source", "digits", "-o", "generate.guidance=3"), ("did you mean 'guidance_scale'",)),
        (("run", "real-only", "--set", "nothing"), ("no set 'nothing'",)),
        (("run", "real-only"), ("--set", "--source")),
        (("run", "real-only", "--source", "digits", "--seeds", "one"), ("--seeds",)),
        (("run", "real-only", "--source", "digits", "--data", "fake"), ("--data", "real+synth")),
        (("run", "real-only", "--source", "digits", "--backbone", "sd9"), ("unknown backbone 'sd9'",)),
        (("run", "name-only", "--source", "digits", "--diffusion", "./nowhere"), ("no such model folder",)),
        (("set", "make", "digits", "--shots", "100"), ("fewer than 100", "--shots 69")),
        (("set", "make", "digits", "--shots", "0"), ("shots",)),
        (("set", "make", "digit"), ("did you mean",)),
        (("compare", "--format", "pdf"), ("--format",)),
        (("demo", "--json", "/nowhere/at/all/x.json"), ("--json",)),
        (("worker", "123"), ("no job 123",)),
    ],
)
def test_a_wrong_word_is_refused(cli: Cli, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    check_refused(cli(*arguments), *parts)


def test_a_home_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_refused(cli("set", "ls", "--home", tmp_path / "file" / "home"), "--home")
    check_refused(cli("run", "zero-shot", "--source", "digits", "--home", "/proc/nothing/here"), "/proc/nothing")


def test_too_little_disk_for_the_images_asked(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "name-only", "--source", "digits", "--shots", 1, "-o", "generate.images_per_class=1000000000")
    check_refused(result, "GiB free", "fewer images")
    assert not (tmp_path / "home" / "jobs").exists()


def test_a_set_made_with_one_seed_serves_no_other(cli: Cli) -> None:
    assert cli("set", "make", "digits", "--shots", 1, "--seed", 1, "--name", "d").returncode == 0
    check_refused(cli("run", "zero-shot", "--set", "d", "--seeds", "5"), "seed 1", "--source")


def test_a_name_never_changes_what_it_stands_for(cli: Cli) -> None:
    assert cli("set", "make", "digits", "--shots", 1, "--seed", 1, "--name", "d/ü 1").returncode == 0
    assert cli("set", "make", "digits", "--shots", 1, "--seed", 1, "--name", "d/ü 1").returncode == 0
    check_refused(
        cli("set", "make", "digits", "--shots", 2, "--seed", 1, "--name", "d/ü 1"), "is already used for another set"
    )


def test_debug_shows_the_traceback(cli: Cli) -> None:
    result = cli("run", "real-onyl", "--source", "digits", "--debug")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_a_damaged_artifact_is_named_before_it_is_used(cli: Cli, tmp_path: Path) -> None:
    options = ("--source", "digits", "--shots", 1, "--quiet", *TINY_OPTIONS[6:])
    assert cli("run", "name-only", "--data", "synth", *options).returncode == 0
    image = next((tmp_path / "home").glob("artifacts/synthetic/*/data/train/six/00000.png"))
    image.unlink()
    check_refused(
        cli("run", "name-only", "--data", "real+synth", *options), "is damaged", "six/00000.png", "remove that folder"
    )


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    import os
    import signal
    import subprocess
    import sys
    import time

    command = [
        sys.executable,
        "-m",
        "datadream",
        "run",
        "real-only",
        "--source",
        "digits",
        "--home",
        str(tmp_path / "h"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not list(tmp_path.glob("h/jobs/*/events.jsonl")) and time.monotonic() - began < 60:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; jobs keep running: the same command again follows them" in errors
    assert "Traceback" not in errors


def test_a_disk_that_fills_midway_pauses_the_job_until_there_is_room(tmp_path: Path) -> None:
    """A real full file system: a small tmpfs in a mount namespace, filled while images are written."""
    import shutil
    import subprocess
    import sys

    script = """
set -e
mount -t tmpfs -o size=80m none "$1"
export DATADREAM_HOME="$1/home"
"$2" -m datadream run name-only --source digits --shots 1 --data synth -o classify.steps=2 \
  -o generate.images_per_class=12 -o generate.batch_size=2 -o generate.num_inference_steps=2 & job=$!
until ls "$1"/home/artifacts/synthetic/.staging-*/data/train/zero/*.png >/dev/null 2>&1; do sleep 0.05; done
dd if=/dev/zero of="$1/filler" bs=1M 2>/dev/null || true
sleep 6
"$2" -m datadream job wait --timeout 1 || echo "wait $?"
rm "$1/filler"
set +e; wait $job; echo "status $?"
"""
    space = tmp_path / "space"
    space.mkdir()
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    probe = [*unshare, "mount", "-t", "tmpfs", "none", str(space)]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine")
    command = [*unshare, "bash", "-c", script, "bash", str(space), sys.executable]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "wait 124" in result.stdout, result.stdout + result.stderr
    assert "no space left" in result.stderr or "waiting for disk space" in result.stderr
    assert "Traceback" not in result.stderr
    assert "status 0" in result.stdout, result.stderr
