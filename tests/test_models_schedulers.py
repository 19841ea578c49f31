"""Training noises by the model's betas whatever sampler its folder names; samplers that draw noise draw it by image."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDPMScheduler

from datadream import durable
from datadream.canonical import sha256_file
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home.spec import JobSpec
from datadream.models import corrections, runtime
from datadream.models.diffusion import Diffusion, load_diffusion, training_noise, training_target
from datadream.models.presets import Backbone, ModelRef
from datadream.models.schedulers import CLASSES, KNOWN, NOT_SAMPLE, PREDICTIONS, is_stochastic
from datadream.stages.adapt import adapt
from datadream.stages.generate import Run, denoise, guidance_text
from datadream.stages.settings import AdaptSettings, GenerateSettings
from datadream.stages.task import Task
from tests.test_models_folders import change, model_cfg, ref_to, scheduler, sd  # noqa: F401 - a fixture

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def made(name: str, **values: Any) -> Any:
    return getattr(diffusers, name).from_config({**BETAS, "skip_prk_steps": True, **values})


def sampling(mini: Backbone, name: str, **values: Any) -> Diffusion:
    """The mini model as if its folder named this scheduler."""
    base = load_diffusion(mini.diffusion)
    own = {"prediction_type": "v_prediction", "steps_offset": 1, "clip_sample": False, **values}
    found = made(name, **own)
    return Diffusion(base.unet, base.text_encoder, base.vae, base.tokenizer, found, training_noise(found))


@pytest.fixture(scope="module")
def smaller(mini: Backbone) -> Diffusion:
    """The mini model's text encoder, with a UNet and a decoder that are drawn, and so small that they cost nothing."""
    base = load_diffusion(mini.diffusion)
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=base.text_encoder.config.hidden_size,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=1.0,
    )
    return replace(base, unet=unet.eval(), vae=vae.eval())


def test_every_scheduler_we_name_is_one_of_diffusers_with_betas() -> None:
    for name in KNOWN | set(CLASSES.values()):
        assert "beta_start" in inspect.signature(getattr(diffusers, name).__init__).parameters, name
    assert NOT_SAMPLE < KNOWN


@pytest.mark.parametrize("predicts", PREDICTIONS)
@pytest.mark.parametrize("name", sorted(KNOWN))
def test_training_noise_is_ddpms_whatever_the_sampler(name: str, predicts: str) -> None:
    x, noise = runtime.normal((4, 4, 8, 8), "test", 0), runtime.normal((4, 4, 8, 8), "test", 1)
    t = torch.tensor([0, 400, 990, 999])
    trained = [0.0001 * i for i in range(1, 1001)]
    variants: list[dict[str, Any]] = [{}, {"trained_betas": trained}, {"rescale_betas_zero_snr": True}]
    for values in variants:
        expected = DDPMScheduler(prediction_type=predicts, **{**BETAS, **values})
        found = training_noise(made(name, prediction_type=predicts, **values))
        assert torch.equal(found.add_noise(x, noise, t), expected.add_noise(x, noise, t))
        assert torch.equal(training_target(found, x, noise, t), training_target(expected, x, noise, t))


def test_a_prediction_type_left_out_is_epsilon_and_betas_left_out_are_the_class_own() -> None:
    assert training_noise(made("EulerDiscreteScheduler")).config.prediction_type == "epsilon"
    lcm = diffusers.LCMScheduler.from_config({})
    assert torch.equal(training_noise(lcm).betas, lcm.betas)
    assert not torch.equal(lcm.betas, DDPMScheduler().betas)
    base = SimpleNamespace(scheduler=lcm)
    assert torch.equal(Diffusion.solver(base, "ddim", 4).betas, lcm.betas)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "PNDMScheduler"])
def test_an_adapter_is_the_same_to_the_byte_whatever_sampler_the_folder_names(
    name: str,
    sd: Path,  # noqa: F811
    tmp_path: Path,
    two_shots: ShotSet,
) -> None:
    found = []
    settings = AdaptSettings(steps=3, batch_size=2, learning_rate=1e-2, warmup_steps=0, crop="center")
    for kind in ("DDPMScheduler", name):
        scheduler(sd, kind)
        out = durable.make_dir(tmp_path / kind)
        load_diffusion.cache_clear()
        checkpoint = durable.make_dir(tmp_path / f"{kind}.c")
        adapt(Task(settings, out, checkpoint, model=ref_to(sd), shots=two_shots))
        found.append(sha256_file(out / "adapter.safetensors"))
    load_diffusion.cache_clear()
    assert found[0] == found[1]


CONFIGURED = [
    *((name, {}) for name in sorted(KNOWN)),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
]


@pytest.mark.parametrize(("name", "values"), CONFIGURED, ids=lambda value: str(value))
def test_an_image_is_the_same_alone_in_a_batch_and_again(
    name: str, values: dict[str, Any], mini: Backbone, smaller: Diffusion
) -> None:
    sd = sampling(mini, name, **values)  # noqa: F811
    if name != "EulerAncestralDiscreteScheduler":  # one with the whole of a model
        sd = replace(sd, unet=smaller.unet, vae=smaller.vae)
    settings = GenerateSettings(images_per_class=3, num_inference_steps=4)
    text = guidance_text(sd, "a photo of a two")
    torch.manual_seed(1)
    together = denoise(sd, settings, text, Run(2, 0, 3), seed=1)
    torch.manual_seed(2)
    assert torch.equal(denoise(sd, settings, text, Run(2, 0, 3), seed=1), together)
    apart = torch.cat([denoise(sd, settings, text, Run(2, i, i + 1), seed=1) for i in (2, 0, 1)])[[1, 2, 0]]
    assert ((together.int() - apart.int()).abs() <= 1).float().mean() > 0.999
    assert not torch.equal(denoise(sd, settings, text, Run(2, 0, 3), seed=2), together)


@pytest.mark.parametrize(("name", "values"), CONFIGURED, ids=lambda value: str(value))
def test_what_is_said_to_draw_noise_does(name: str, values: dict[str, Any]) -> None:
    found = []
    for seed in (1, 2):
        solver = made(name, **values)
        solver.set_timesteps(4)
        torch.manual_seed(seed)
        latents = torch.ones(1, 4, 8, 8)
        for t in solver.timesteps:
            latents = solver.step(0.1 * solver.scale_model_input(latents, t), t, latents).prev_sample
        found.append(latents)
    assert is_stochastic(name, values) == (not torch.equal(*found))


def test_more_steps_than_a_scheduler_can_take_are_refused_in_our_words(mini: Backbone) -> None:
    for name, steps in (("LCMScheduler", 60), ("DDIMScheduler", 1001)):
        with pytest.raises(UserError, match=rf"{name} can't sample this model in {steps} steps"):
            sampling(mini, name).solver("default", steps)


def test_only_what_changed_has_a_new_id(sd: Path, mini: Backbone, tmp_path: Path) -> None:  # noqa: F811
    ref = ModelRef(location=str(sd), digest="x")
    assert corrections.of_adapting(mini.diffusion) == corrections.of_classifying(mini.clip, "real") == ()
    assert not any(corrections.of_generating(mini.diffusion, solver) for solver in ("default", *CLASSES))
    expected = {
        "PNDMScheduler": ((), (), ()),
        "EulerDiscreteScheduler": (("ddpm-noise",), (), ()),
        "EulerAncestralDiscreteScheduler": (("ddpm-noise",), ("image-draws",), ()),
        "DDPMScheduler": ((), ("image-draws",), ()),
    }
    for name, (adapting, default, ddim) in expected.items():
        scheduler(sd, name)
        assert corrections.of_adapting(ref) == adapting
        assert corrections.of_generating(ref, "default") == default
        assert corrections.of_generating(ref, "ddim") == ddim
    scheduler(sd, "LCMScheduler", beta_schedule=...)
    assert corrections.of_generating(ref, "ddim") == ("model-betas",)
    change(sd / "tokenizer" / "tokenizer_config.json", model_max_length=12)
    assert corrections.of_adapting(ref) == ("ddpm-noise", "prompt-length")
    assert corrections.of_classifying(ModelRef(location="ViT-B-16-SigLIP:webli"), "real") == ("every-attention",)
    assert corrections.of_classifying(ModelRef(location="ViT-B-16-SigLIP:webli"), "none") == ()
    assert corrections.of_classifying(ModelRef(location="ViT-B-16-quickgelu:openai"), "real") == ()
    assert corrections.of_classifying(ModelRef(location="hf-hub:some/clip"), "real") == ()
    two = shutil.copytree(mini.clip.location, tmp_path / "clip")
    model_cfg(two, "text_cfg", no_causal_mask=True)
    assert corrections.of_classifying(ModelRef(location=str(two), digest="x"), "none") == ("text-padding",)


def test_a_correction_enters_the_id_only_where_it_is() -> None:
    plain = {"stage": "rehearse", "settings": {}, "inputs": {}, "seed": 1}
    assert JobSpec.model_validate(plain).id == "66e052cdd566629d"
    assert JobSpec.model_validate({**plain, "corrected": ["ddpm-noise"]}).id != "66e052cdd566629d"
