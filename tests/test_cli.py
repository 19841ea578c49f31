"""The commands as a user types them, in processes of their own, on the mini models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY_OPTIONS, Cli, contents, run_cli

KEYS = ["method", "data", "shots", "seeds", "accuracy", "mean", "std", "n_test", "seconds"]


def test_every_method_has_its_row_with_the_documented_keys(ran: Path) -> None:
    result = run_cli("compare", "--format", "json", home=ran)
    rows = json.loads(result.stdout)
    assert [(row["method"], row["data"]) for row in rows] == [
        ("zero-shot", "none"),
        ("real-only", "real"),
        *(
            (method, data)
            for method in ("name-only", "datadream-dset", "datadream-cls")
            for data in ("synth", "real+synth")
        ),
    ]
    for row in rows:
        assert list(row)[:9] == KEYS
        assert row["shots"] == 2
        assert row["seeds"] == [1]
        assert row["n_test"] >= 700
        assert 0 <= row["mean"] <= 1
        assert row["mean"] == row["accuracy"][0]
        assert row["std"] == 0
    passes = {row["image_passes"] for row in rows if row["data"] != "none"}
    assert passes == {64}


def test_accuracy_can_be_counted_again_from_the_kept_predictions(ran: Path) -> None:
    rows = json.loads(run_cli("compare", "--format", "json", home=ran).stdout)
    for row in rows:
        record = json.loads((ran / "runs" / f"{row['run_ids'][0]}.json").read_text())
        folder = ran / "artifacts" / "classifier" / record["jobs"]["classify"]
        lines = (folder / "predictions.csv").read_text().splitlines()[1:]
        right = sum(line.split(",")[1] == line.split(",")[2] for line in lines)
        assert right / len(lines) == row["mean"]
        scores = json.loads((folder / "scores.json").read_text())
        assert scores["correct"] == right == sum(scores["confusion"][i][i] for i in range(10))


@pytest.mark.parametrize("format_", ["table", "csv", "md", "latex"])
def test_compare_prints_every_format(ran: Path, format_: str) -> None:
    result = run_cli("compare", "--format", format_, home=ran, COLUMNS="80")
    assert result.returncode == 0
    assert "datadream-cls" in result.stdout
    if format_ == "table":
        table = result.stdout.split("digits, backbone")[0]
        assert all(len(line) <= 80 for line in table.splitlines())
        assert re.search(r"datadream-cls.*real\+synth +2 +\d+\.\d \[\d+\.\d, \d+\.\d\]", table)


def test_a_second_run_reuses_everything(ran: Path) -> None:
    before = contents(ran)
    result = run_cli("run", "datadream-cls", "real-only", "--set", "d2", *TINY_OPTIONS, home=ran)
    assert result.returncode == 0, result.stderr
    assert "0 jobs finished; other results reused" in result.stderr
    assert contents(ran) == before


def test_a_synthetic_set_is_a_torchvision_and_a_hugging_face_image_folder(ran: Path) -> None:
    from datasets import load_dataset
    from torchvision.datasets import ImageFolder

    folder = next(path for path in (ran / "artifacts" / "synthetic").iterdir() if not path.name.startswith("."))
    torch_view = ImageFolder(folder / "data" / "train")
    assert len(torch_view) == 30
    assert len(torch_view.classes) == 10
    images = load_dataset(str(folder), split="train", cache_dir=str(ran / "hf"))
    assert images.features["label"].names == sorted(torch_view.classes)
    assert len(images) == 30
    prompts = load_dataset(str(folder), "prompts", split="train", cache_dir=str(ran / "hf"))
    assert {"prompt", "seed", "adapter", "sha256", "label"} <= set(prompts.column_names)
    assert prompts[0]["prompt"].startswith("a photo of a ")


def test_results_do_not_depend_on_locale_time_zone_or_hash_seed(tmp_path: Path) -> None:
    found = []
    for i, (locale, zone, seed) in enumerate((("C", "UTC", "0"), ("C.UTF-8", "Asia/Kathmandu", "77"))):
        home = tmp_path / str(i)
        result = run_cli(
            *("run", "datadream-dset", "--source", "digits", "--shots", 2, "--quiet", *TINY_OPTIONS),
            home=home, LC_ALL=locale, TZ=zone, PYTHONHASHSEED=seed,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        found.append(contents(home))
    assert found[0] == found[1]
    assert {name.split("/")[0] for name in found[0]} == {"set", "adapter", "synthetic", "classifier"}


def test_seeds_and_shots_make_the_sets_they_need(cli: Cli) -> None:
    result = cli("run", "zero-shot", "--source", "digits", "--shots", "1,2", "--seeds", "1,5", "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    names = {entry["name"] for entry in json.loads(cli("set", "ls", "--json").stdout)}
    assert names == {f"digits-{k}shot-seed{seed}" for k in (1, 2) for seed in (1, 5)}
    rows = json.loads(cli("compare", "--format", "json").stdout)
    assert [(row["shots"], row["seeds"]) for row in rows] == [(1, [1, 5]), (2, [1, 5])]


def test_a_users_own_folder_runs(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "bilder"
    for number, folder in enumerate(("rote_Äpfel", "GreenPear")):
        (root / folder).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (40 + i, 30), (250 - 200 * number, 40 + 200 * number, i * 9)).save(
                root / folder / f"{i} a.png"
            )
    made = cli("set", "make", root, "--shots", 4, "--seed", 1, "--name", "mine")
    assert made.returncode == 0, made.stderr
    shown = cli("set", "show", "mine").stdout
    assert "a photo of a rote Äpfel" in shown
    assert "a photo of a Green Pear" in shown
    result = cli("run", "name-only", "--set", "mine", "--data", "real+synth", *TINY_OPTIONS[6:])
    assert result.returncode == 0, result.stderr


def test_plain_lines_when_piped(cli: Cli) -> None:
    result = cli("run", "zero-shot", "--source", "digits", "--shots", 1)
    assert "start zero-shot: classify none (1 shot, seed 1)" in result.stderr
    assert "\x1b" not in result.stderr + result.stdout


def test_recipes_list_as_json(cli: Cli) -> None:
    names = [entry["name"] for entry in json.loads(cli("recipe", "ls", "--json").stdout)]
    assert names == [
        "zero-shot",
        "real-only",
        "name-only",
        "real-guidance",
        "disef-start",
        "datadream-dset",
        "datadream-cls",
        "clip-filter",
    ]
