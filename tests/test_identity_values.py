"""A recipe's values belong to a size of model: another model never runs with the miniature's, and that is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from datadream.cli.main import app
from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.models import zoo
from datadream.models.presets import Backbone, Part, check_fit, kind_of, load_backbone, resolve
from datadream.plans import ask
from datadream.plans import request as requests
from datadream.plans.request import Request
from tui.screens.new import form as new_form
from tui.screens.new.form import Form
from tui.services.data import Data

PAPER_RATE, MINI_RATE = 1e-4, {"adapt": 3e-3, "classify": 4e-3}


def edited(source: str, target: Path, files: dict[str, dict[str, Any]]) -> str:
    """A copy of a model's folder with other values in its JSON; it could not be loaded, and is not."""
    shutil.copytree(source, target)
    for name, values in files.items():
        content = json.loads((target / name).read_text())
        inner = content
        if name == "open_clip_config.json":
            inner = content["model_cfg"]["vision_cfg"]
        inner.update(values)
        (target / name).write_text(json.dumps(content))
    return str(target)


@pytest.fixture
def sd2(mini: Backbone, tmp_path: Path) -> str:
    """Stable Diffusion 2.1 base, by its configuration."""
    unet = {"cross_attention_dim": 1024, "sample_size": 64, "block_out_channels": [320, 640, 1280, 1280]}
    vae = {"block_out_channels": [128, 256, 512, 512]}
    files = {"unet/config.json": unet, "vae/config.json": vae, "text_encoder/config.json": {"hidden_size": 1024}}
    return edited(mini.diffusion.location, tmp_path / "sd2", files)


@pytest.fixture
def b16(mini: Backbone, tmp_path: Path) -> str:
    """A CLIP of 224 pixels, by its configuration."""
    vision = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}
    return edited(mini.clip.location, tmp_path / "b16", {"open_clip_config.json": vision})


def methods(*recipes: str, **models: str) -> requests.Methods:
    return requests.check(Request(recipes or ("datadream-dset",), source="digits", **models))


def rates(found: requests.Methods) -> dict[str, float]:
    (recipe,) = found.recipes
    return {stage: getattr(recipe, stage).learning_rate for stage in ("adapt", "classify") if getattr(recipe, stage)}


def test_models_are_known_by_their_configuration(mini: Backbone, sd2: str, b16: str, tmp_path: Path) -> None:
    def text(part: Any, location: str) -> str:
        kind = kind_of(part, resolve(location, part))
        assert kind is not None
        return kind.text

    assert text("diffusion", sd2) == "Stable Diffusion 2.x at 512 px"
    assert text("clip", b16) == "CLIP with 12 layers at 224 px"
    one = {"unet/config.json": {"cross_attention_dim": 768, "sample_size": 96}}
    assert text("diffusion", edited(sd2, tmp_path / "sd1", one)) == "Stable Diffusion 1.x at 768 px"
    xl = {"unet/config.json": {"cross_attention_dim": 2048, "sample_size": [128, 128]}}
    assert text("diffusion", edited(sd2, tmp_path / "xl", xl)) == "Stable Diffusion XL at 1024 px"
    assert text("clip", "ViT-B-16-quickgelu:openai") == "ViT-B-16-quickgelu at 224 px"
    assert text("clip", "RN50:openai") == "RN50 at 224 px"


def test_a_copy_of_the_miniature_keeps_its_values(mini: Backbone, tmp_path: Path) -> None:
    sd = shutil.copytree(mini.diffusion.location, tmp_path / "sd")
    clip = shutil.copytree(mini.clip.location, tmp_path / "clip")
    for models in ({"diffusion": str(sd)}, {"clip": str(clip)}, {"diffusion": str(sd), "clip": str(clip)}):
        found = methods(**models)
        assert rates(found) == MINI_RATE
        assert found.notes == ()
        assert found.backbone.defaults == mini.defaults
    # the same shapes: another sampler, another size of image, another weight
    other = edited(
        str(sd),
        tmp_path / "other",
        {"unet/config.json": {"sample_size": 16}, "scheduler/scheduler_config.json": {"steps_offset": 3}},
    )
    assert rates(methods(diffusion=other)) == MINI_RATE


def test_a_full_size_model_gets_the_papers_values_and_that_is_said(sd2: str, b16: str) -> None:
    found = methods(diffusion=sd2, clip=b16)
    assert rates(found) == {"adapt": PAPER_RATE, "classify": PAPER_RATE}
    (recipe,) = found.recipes
    assert recipe.generate is not None
    assert (recipe.generate.images_per_class, recipe.generate.num_inference_steps) == (500, 50)
    assert found.notes == (
        "values for Stable Diffusion 2.x at 512 px: the paper's, as those of --backbone mini are for another model",
        "values for CLIP with 12 layers at 224 px: the paper's, as those of --backbone mini are for another model",
    )


@pytest.mark.parametrize("key", ["block_out_channels", "layers_per_block", "cross_attention_dim"])
def test_any_other_architecture_is_not_the_miniature(key: str, mini: Backbone, tmp_path: Path) -> None:
    values = {"block_out_channels": [64, 128], "layers_per_block": 2, "cross_attention_dim": 96}
    other = edited(mini.diffusion.location, tmp_path / "other", {"unet/config.json": {key: values[key]}})
    backbone = load_backbone("mini", other)
    assert set(backbone.defaults) == {"classify"}
    assert backbone.strange == {"diffusion": "a diffusion model of another size at 32 px"}


def test_one_part_alone_never_meets_the_miniatures_other_one(sd2: str, b16: str, mini: Backbone) -> None:
    with pytest.raises(
        UserError, match=r"--diffusion is Stable Diffusion 2.x at 512 px, and the CLIP .* for 32 px"
    ) as caught:
        methods(diffusion=sd2)
    assert "--clip" in str(caught.value)
    with pytest.raises(UserError, match="--clip is CLIP with 12 layers at 224 px") as caught:
        methods("name-only", clip=b16)
    assert "--diffusion" in str(caught.value)
    alone = methods("real-only", clip=b16)  # draws nothing
    assert rates(alone) == {"classify": PAPER_RATE}
    unused = methods("real-only", diffusion=sd2)
    assert rates(unused) == {"classify": MINI_RATE["classify"]}
    assert unused.notes == ("--diffusion is unused: none of these methods generates images",)
    # named together they are meant together
    mixed = methods(diffusion=mini.diffusion.location, clip=b16)
    assert rates(mixed) == {"adapt": MINI_RATE["adapt"], "classify": PAPER_RATE}
    assert len(mixed.notes) == 1
    assert rates(methods(backbone="sd2.1-base", diffusion=sd2, clip=b16)) == {
        "adapt": PAPER_RATE,
        "classify": PAPER_RATE,
    }


def test_what_nobody_can_tell_is_refused_until_a_backbone_says_it(mini: Backbone, tmp_path: Path) -> None:
    named: dict[Part, str] = {"diffusion": "unet/config.json", "clip": "open_clip_config.json"}
    for part, name in named.items():
        folder = shutil.copytree(
            mini.diffusion.location if part == "diffusion" else mini.clip.location, tmp_path / part
        )
        for content in ("{", "[]", None):
            (folder / name).unlink() if content is None else (folder / name).write_text(content)
            backbone = load_backbone("mini", **{part: str(folder)})
            assert not {"adapt", "generate"} <= set(backbone.defaults) or "classify" not in backbone.defaults
            with pytest.raises(UserError, match=r"not valid JSON|not a JSON object|is missing") as caught:
                methods("name-only", **{part: str(folder)})
            assert str((folder / name).parent) in str(caught.value)
            assert Path(name).name in str(caught.value)
        backbone = load_backbone("mini", **{part: "hf-hub:nobody/nothing" if part == "clip" else "nobody/nothing"})
        with pytest.raises(UserError, match=f"can't identify the model of --{part}: ") as caught:
            check_fit(backbone, [part])
        assert "--backbone" in str(caught.value)


def test_what_a_model_reads_elsewhere_is_said(b16: str, sd2: str) -> None:
    content = json.loads((Path(b16) / "open_clip_config.json").read_text())
    content["model_cfg"]["text_cfg"]["hf_model_name"] = "roberta-base"
    (Path(b16) / "open_clip_config.json").write_text(json.dumps(content))
    said = methods(diffusion=sd2, clip=b16).notes[-1]
    assert said == "--clip also reads roberta-base, which is not part of its identity and may change unnoticed"
    config = zoo.config("xlm-roberta-base-ViT-B-32")
    assert config["text_cfg"]["hf_tokenizer_name"] == "xlm-roberta-base"
    kind = kind_of("clip", resolve("xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k", "clip"))
    assert kind is not None
    assert kind.outside == ("xlm-roberta-base",)


def test_two_models_called_alike_are_two(mini: Backbone, tmp_path: Path) -> None:
    a = shutil.copytree(mini.clip.location, tmp_path / "a" / "final")
    b = shutil.copytree(mini.clip.location, tmp_path / "b" / "final")
    (b / "extra.json").write_text("{}")
    home = Home(tmp_path / "home")
    runs = [
        ask.plan(home, Request(("zero-shot",), source="digits", shots=(2,), clip=str(clip)), dry=True).runs[0]
        for clip in (a, b)
    ]
    assert runs[0].backbone.name == runs[1].backbone.name == "mini+final"
    assert runs[0].id != runs[1].id
    assert runs[0].jobs["classify"].id != runs[1].jobs["classify"].id


def test_commands_and_the_apps_planner_say_the_same(sd2: str, b16: str, home: Home) -> None:
    said = "values for Stable Diffusion 2.x at 512 px: the paper's"
    runner = CliRunner()
    shown = runner.invoke(app, ["recipe", "show", "datadream-dset", "--diffusion", sd2, "--clip", b16])
    assert shown.exit_code == 0, shown.output
    assert said in shown.stderr
    assert f"learning_rate = {PAPER_RATE}" in shown.stdout
    assert f"learning_rate = {MINI_RATE['adapt']}" not in shown.stdout
    words = ["run", "datadream-dset", "--source", "digits", "--shots", "2", "--home", str(home.path), "--dry-run"]
    planned = runner.invoke(app, [*words, "--diffusion", sd2, "--clip", b16])
    assert planned.exit_code == 0, planned.output
    assert said in planned.stderr
    assert "the paper's values" in planned.stdout
    assert runner.invoke(app, [*words]).stderr == ""
    form = Form(recipes=("datadream-dset",), source="digits", shots="2", diffusion=sd2, clip=b16)
    outlook = new_form.look(Data(home), form)
    assert outlook.wrong == ""
    assert any(said in line for line in outlook.told)
    assert [label for label, _ in outlook.models] == ["model", "CLIP"]
    assert "--diffusion" in outlook.command and "--clip" in outlook.command
    alone = new_form.look(Data(home), Form(recipes=("datadream-dset",), source="digits", shots="2", diffusion=sd2))
    assert "--clip" in alone.wrong
