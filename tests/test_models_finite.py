"""The first number that is not finite ends a stage, in words with step, place and setting; nothing of it is kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from datadream import durable
from datadream.canonical import sha256_file
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.home.sets import add_set
from datadream.jobs.failures import EXIT_USER
from datadream.jobs.spawn import environment
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.finite import Watch, not_finite
from datadream.models.lora import Adapter, save_adapter
from datadream.models.presets import Backbone, ModelRef, load_backbone
from datadream.plans.grid import plan
from datadream.recipes.recipe import built_in_names, load_recipe
from datadream.stages import loop
from datadream.stages.adapt import adapt
from datadream.stages.classify import classify
from datadream.stages.emit import Event
from datadream.stages.failing import departures
from datadream.stages.generate import generate
from datadream.stages.loop import Loop, Schedule
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings
from datadream.stages.task import Task
from tests.conftest import TINY_OPTIONS
from tests.test_models_folders import ref_to

NAN, INF = float("nan"), float("inf")


def drawing(
    settings: GenerateSettings, model: ModelRef, shots: ShotSet, out: Path, classes: int | None
) -> Task[GenerateSettings]:
    """A task that draws the first `classes` of a set, all with None."""
    few: dict[str, Any] = {"classes": shots.classes[:classes], "prompts": shots.prompts[:classes]}
    return Task(settings, out, durable.make_dir(out.parent / "drawn"), model=model, **few)


@pytest.fixture(autouse=True)
def _loaded_anew() -> Iterator[None]:
    yield
    load_diffusion.cache_clear()
    load_clip.cache_clear()


@pytest.fixture
def sd(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.diffusion.location, tmp_path / "sd"))


@pytest.fixture
def clip(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.clip.location, tmp_path / "clip"))


def scaled(path: Path, name: str, factor: float) -> None:
    """Make one weight so large, though finite, that what is computed with it overflows."""
    held = load_file(path)
    held[name] = torch.full((), factor) if name == "logit_scale" else held[name].float() * factor
    save_file(held, path, {"format": "pt"})


def ref(folder: Path) -> ModelRef:
    load_diffusion.cache_clear()
    load_clip.cache_clear()
    return ref_to(folder)


def test_the_first_step_and_its_name_are_remembered() -> None:
    watch = Watch()
    for step, (loss, norm) in enumerate([(1.0, 1.0), (2.0, INF), (NAN, 1.0), (1.0, NAN)], start=1):
        watch.look(step, loss=torch.tensor(loss), gradient=torch.tensor(norm))
    assert watch.found() == ("gradient", 2)


def test_a_gpu_is_not_made_to_wait_for_the_answer() -> None:
    with FakeTensorMode():
        watch = Watch()
        watch.look(1, loss=torch.zeros((), device="cuda"))
        assert watch.found() is None  # to ask would need the value


def test_not_finite_names_tensors_of_any_shape_and_type() -> None:
    tensors = {
        "good": torch.full((3, 3), 3e38),
        "nan": torch.tensor([1.0, NAN]),
        "inf": torch.tensor([[-INF, 1.0]]).half(),
        "brain": torch.tensor(INF).bfloat16(),
        "whole": torch.tensor([1, 2]),
        "empty": torch.zeros(0),
    }
    assert not_finite(tensors.items()) == ["nan", "inf", "brain"]


@pytest.mark.parametrize("per", ["dataset", "class"])
def test_a_diverging_adaptation_names_step_class_and_setting(
    per: str, mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    settings = AdaptSettings(per=per, steps=60, batch_size=2, learning_rate=1e30, warmup_steps=0, crop="center")
    out, checkpoint = durable.make_dir(tmp_path / "out"), durable.make_dir(tmp_path / "c")
    events: list[Event] = []
    with pytest.raises(UserError) as caught:
        adapt(Task(settings, out, checkpoint, events.append, model=mini.diffusion, shots=two_shots))
    text = str(caught.value)
    assert "adapt stopped: the loss is not finite at step 2 of " in text
    assert "adapt.learning_rate is 1e+30, default 0.0001 or 0.003" in text
    assert "lower adapt.learning_rate" in text
    assert ("class 'zero'" in text) == (per == "class")
    assert not list(out.iterdir())
    assert events == []
    for path in checkpoint.glob("*.safetensors*"):
        assert not_finite(load_file(path).items()) == []


def test_a_diverging_classifier_names_step_and_setting(mini: Backbone, two_shots: ShotSet, tmp_path: Path) -> None:
    settings = ClassifySettings(steps=5, batch_size=8, augment="none", evaluate="val", learning_rate=1e30, warmup=0)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(
        UserError, match=r"classify stopped: the \w+ is not finite at step \d of 5; classify.learning_rate is"
    ):
        classify(Task(settings, out, tmp_path / "c", model=mini.clip, shots=two_shots, data="real", images_per_class=4))
    assert not list(out.iterdir())


def test_the_last_steps_values_are_looked_at_too(tmp_path: Path) -> None:
    value = nn.Parameter(torch.zeros(2))
    trained = Loop(
        {"a": value}, Schedule(1, 1e39, 0), weight_decay=0, max_grad_norm=1, checkpoint=tmp_path,
        blame=lambda what, where: UserError(f"{what} is not finite {where}"),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"the adapter is not finite in 1 of 1 tensors after step 1 of 1"):
        trained.update(value.sum())


def test_settings_as_shipped_are_never_blamed() -> None:
    for backbone in (load_backbone("mini"), load_backbone("sd2.1-base")):
        for name in built_in_names():
            recipe = load_recipe(name, backbone)
            for settings in (recipe.adapt, recipe.generate, recipe.classify):
                assert settings is None or departures(settings) == []
    assert [found[0] for found in departures(AdaptSettings(steps=3, learning_rate=3e-3, alpha=99))] == ["alpha"]


def test_latents_that_overflow_end_the_drawing(mini: Backbone, two_shots: ShotSet, tmp_path: Path) -> None:
    settings = GenerateSettings(images_per_class=3, batch_size=2, num_inference_steps=6, guidance_scale=1e38)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(UserError) as caught:
        generate(drawing(settings, mini.diffusion, two_shots, out, 1))
    text = str(caught.value)
    assert "generate stopped: a latent is not finite at sampling step " in text
    assert "images 0 to 1 of class 'zero'" in text
    assert "generate.guidance_scale is 1e+38, default 2" in text
    assert not list(out.rglob("*.png"))


def test_images_that_overflow_are_not_drawn_black(sd: Path, two_shots: ShotSet, tmp_path: Path) -> None:
    scaled(sd / "vae" / "diffusion_pytorch_model.safetensors", "decoder.conv_in.weight", 1e37)
    settings = GenerateSettings(images_per_class=1, num_inference_steps=2)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(
        UserError, match=r"the VAE's decoding of images 0 to 0 of class 'zero' is not finite in float32, .*black"
    ):
        generate(drawing(settings, ref(sd), two_shots, out, 1))
    assert not list(out.rglob("*.png"))


def test_prompts_and_shots_that_overflow_are_named(sd: Path, two_shots: ShotSet, tmp_path: Path) -> None:
    out = durable.make_dir(tmp_path / "out")
    vae = sd / "vae" / "diffusion_pytorch_model.safetensors"
    kept = vae.read_bytes()
    scaled(vae, "encoder.conv_in.weight", 1e37)
    with pytest.raises(UserError, match=r"the VAE's encoding of the shot 'digits/.* is not finite"):
        adapt(Task(AdaptSettings(steps=1), out, tmp_path / "c", model=ref(sd), shots=two_shots))
    vae.write_bytes(kept)
    scaled(sd / "text_encoder" / "model.safetensors", "encoder.layers.1.mlp.fc2.weight", 1e38)
    with pytest.raises(UserError, match="text encoder's output for the prompt 'a photo of a zero' is not finite"):
        generate(drawing(GenerateSettings(images_per_class=1), ref(sd), two_shots, out, None))


@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        ("ln_final.weight", 1e38, "the feature of the prompt 'a photo of a .* is not finite"),
        ("visual.ln_post.weight", 1e38, "the feature for the image 'digits/.* is not finite"),
        ("logit_scale", 100.0, "the answer for the image 'digits/.* is not finite"),
        ("logit_scale", 12.0, r"a logit \(up to .*\) is not finite in float16"),
    ],
)
def test_answers_that_overflow_are_not_scored(
    name: str, factor: float, words: str, clip: Path, two_shots: ShotSet, tmp_path: Path
) -> None:
    scaled(clip / "open_clip_model.safetensors", name, factor)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(UserError, match=words):
        classify(Task(ClassifySettings(evaluate="val"), out, tmp_path / "c", model=ref(clip), shots=two_shots))
    assert not list(out.iterdir())


def test_an_adapter_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    tensors = {"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.lora_B.weight": torch.full((3, 2), NAN)}
    with pytest.raises(UserError, match=r"not finite in 1 of 2 tensors, e\.g\. unet\.x\.lora_B\.weight"):
        save_adapter(tmp_path / "a.safetensors", Adapter(tensors, 2, 2.0), {})
    assert not list(tmp_path.iterdir())


def trained(checkpoint: Path, steps: int, upto: int | None = None) -> dict[str, torch.Tensor]:
    """The values of a tiny model after `steps`, or only `upto` of them and a checkpoint."""
    torch.manual_seed(0)
    parameters = {"b": nn.Parameter(torch.randn(3, 2)), "a": nn.Parameter(torch.randn(4))}
    run = Loop(
        parameters, Schedule(steps, 1e-2, 0), weight_decay=0.1, max_grad_norm=1, checkpoint=checkpoint,
        blame=lambda what, where: UserError(f"{what} {where}"),
    )  # fmt: skip
    while run.running and run.step != upto:
        run.update((parameters["b"] ** 2).sum() * run.step + parameters["a"].sin().sum())
    if upto is not None:
        run.save()
    return {name: value.detach().clone() for name, value in parameters.items()}


def test_a_resumed_loop_is_the_same_to_the_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "1", 9)
    for upto in (3, 5, 8):
        trained(tmp_path / "2", 9, upto)
    found = trained(tmp_path / "2", 9)
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("damage", ["value/a", "exp_avg/b", "exp_avg_sq/a", "step", "shape", "cut"])
def test_a_checkpoint_that_is_damaged_or_not_finite_costs_only_the_steps_since_the_one_before(
    damage: str, tmp_path: Path
) -> None:
    whole = trained(tmp_path / "1", 9)
    trained(tmp_path / "2", 9, 3)
    trained(tmp_path / "2", 9, 5)
    path = tmp_path / "2" / "state.safetensors"
    tensors, metadata = load_file(path), {"step": "5", "label": ""}
    if damage == "step":
        metadata["step"] = "five"
    elif damage == "shape":
        tensors["value/a"] = torch.zeros(9)
    elif damage != "cut":
        tensors[damage].view(-1)[0] = NAN
    durable.write_safetensors(path, tensors, metadata)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    found = trained(tmp_path / "2", 9)
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_no_checkpoint_is_written_of_what_is_not_finite(tmp_path: Path) -> None:
    value = nn.Parameter(torch.ones(2))
    run = Loop(
        {"a": value}, Schedule(9, 1e-2, 0), weight_decay=0, max_grad_norm=1, checkpoint=tmp_path,
        blame=lambda what, where: UserError(f"{what} is not finite {where}"),
    )  # fmt: skip
    run.update(value.sum())
    run.save()
    before = sha256_file(run.path)
    with pytest.raises(UserError, match="the loss is not finite at step 2 of 9"):
        run.update(value.sum() * NAN)
    with pytest.raises(UserError):
        run.save()
    assert sha256_file(run.path) == before


def test_a_fused_optimizer_on_a_device_resumes_where_a_fresh_one_has_its_state(tmp_path: Path) -> None:
    """CUDA's kernel refuses a step count that lies on the CPU; fake tensors tell where each would lie."""

    def make() -> tuple[Loop, nn.Parameter]:
        value = nn.Parameter(torch.ones(2, 3, device="cuda"))
        made = Loop(
            {"a": value}, Schedule(9, 1e-2, 0), weight_decay=0, max_grad_norm=1, checkpoint=tmp_path,
            blame=lambda what, where: UserError(f"{what} {where}"),
        )  # fmt: skip
        return made, value

    with FakeTensorMode():
        fresh, value = make()
        assert fresh.optimizer.defaults["fused"]
        value.grad = torch.ones_like(value)
        fresh.optimizer.step()
        resumed, again = make()
        resumed._restore(4, {f"{part}/a": torch.ones(2, 3) for part in ("value", *loop.MOMENTS)})
        expected, found = fresh.optimizer.state[value], resumed.optimizer.state[again]
        assert {key: (t.device, t.dtype, t.shape) for key, t in found.items()} == {
            key: (t.device, t.dtype, t.shape) for key, t in expected.items()
        }
        assert found["step"].device.type == "cuda"
        again.grad = torch.ones_like(again)
        resumed.optimizer.step()


def test_a_job_that_diverges_fails_as_the_users_to_mend_and_leaves_no_artifact(
    home: Home, mini: Backbone, two_shots: ShotSet
) -> None:
    recipe = load_recipe("datadream-dset", mini, [*TINY_OPTIONS[1::2], "adapt.learning_rate=1e30"])
    spec = plan(recipe, add_set(home, two_shots, "s"), mini, "synth").jobs["adapt"]
    folder = durable.make_dir(home.job(spec.id))
    durable.write_json(folder / "spec.json", spec.model_dump(mode="json"))
    command = [sys.executable, "-m", "datadream", "worker", "--home", str(home.path), spec.id]
    assert subprocess.run(command, env=environment(), timeout=500, check=False).returncode == EXIT_USER
    error = json.loads((folder / "error.json").read_text())
    assert error["kind"] == "user"
    assert "is not finite at step " in error["message"]
    assert "; adapt.learning_rate is 1e+30, default 0.0001 or 0.003: lower" in error["message"]
    assert not home.has("adapter", spec.id)
    assert [event["kind"] for event in durable.read_jsonl(folder / "events.jsonl")[0]] == ["started"]
