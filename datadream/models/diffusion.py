"""Stable Diffusion's parts, loaded from a diffusers folder or a hub id by their own libraries, and checked whole."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from datadream.errors import UserError
from datadream.models import runtime
from datadream.models.configs import AGAIN, read_config, side_of
from datadream.models.diffusion_folder import NAMES, WANTED, DiffusionFolder, describe_diffusion
from datadream.models.loading import check_finite, check_loaded, check_shapes, hub_refusal, meta_shapes, refusal
from datadream.models.presets import ModelRef
from datadream.models.schedulers import CLASSES
from datadream.models.verify import LoadedOnce

OPTIONS: dict[str, dict[str, Any]] = {
    "pndm": {"skip_prk_steps": True},
    "dpm++2m": {"algorithm_type": "dpmsolver++", "solver_order": 2},
}
UNET_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
TEXT_PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
NO_EXTRAS = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
SHORTAGE = (MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Diffusion:
    """Frozen parts on the runtime's device, in its base dtype, in eval mode."""

    unet: Any
    text_encoder: Any
    vae: Any
    tokenizer: Any
    scheduler: Any  # as the folder has it: `default` sampling
    noise: DDPMScheduler  # its betas and prediction type, as training uses them, whatever it samples by

    @property
    def side(self) -> int:
        """Latents a side."""
        side = side_of(self.unet.config.sample_size)
        assert side is not None
        return side

    @property
    def resolution(self) -> int:
        """Pixels a side: the UNet's latent size times the autoencoder's factor."""
        return self.side * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image's latents."""
        return int(self.unet.config.in_channels), self.side, self.side

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """τ(prompts): (n, tokens, width) hidden states, padded to all the text encoder's positions as in training."""
        ids = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.text_encoder.config.max_position_embeddings,
            return_tensors="pt",
        ).input_ids
        return self.text_encoder(ids.to(runtime.device()))[0]

    def denoise(self, latents: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """ε_θ(z_t, τ, t) or v_θ, as the UNet was trained: same shape as `latents`."""
        return self.unet(latents, t, encoder_hidden_states=text).sample

    def moments(self, pixels: Tensor) -> Tensor:
        """Mean and log-variance of E(x), (n, 2 * channels, h, w) unscaled; `pixels` (n, 3, H, W) in [-1, 1]."""
        return self.vae.encode(pixels.to(runtime.device(), runtime.base_dtype())).latent_dist.parameters

    def decode(self, latents: Tensor) -> Tensor:
        """D(z): float32 images (n, 3, H, W) about [-1, 1] on the latents' device; `latents` scaled."""
        return self.vae.decode(latents.to(runtime.base_dtype()) / self.vae.config.scaling_factor).sample.float()

    def solver(self, name: str, steps: int) -> Any:
        """A fresh scheduler with `steps` steps: the folder's own, or one of CLASSES made from its configuration.

        Raises UserError when it can't take so many.
        """
        kind = type(self.scheduler) if name == "default" else getattr(diffusers, CLASSES[name])
        # Betas that the file leaves out are those of the folder's class, not of the one made from it.
        betas = {} if name == "default" else {key: self.scheduler.config[key] for key in SCHEDULE[1:5]}
        solver = kind.from_config(self.scheduler.config, **betas, **OPTIONS.get(name, {}))
        try:
            solver.set_timesteps(steps)
        except ValueError as error:
            trained = self.scheduler.config.num_train_timesteps
            raise UserError(
                f"{kind.__name__} can't sample this model in {steps} steps (it was trained with {trained})",
                hint="lower generate.num_inference_steps, or choose another generate.scheduler",
            ) from error
        return solver


def takes_generator(solver: Any) -> bool:
    """Whether a scheduler's step may draw noise, from generators that it is given."""
    return "generator" in inspect.signature(solver.step).parameters


@LoadedOnce
def load_diffusion(ref: ModelRef) -> Diffusion:
    """The parts `ref` names; kept for the next caller in this process.

    Raises UserError when the model is of another make, or a tensor is missing, of another shape, or not finite.
    """
    runtime.quiet_libraries()
    with runtime.only_data():
        folder = Path(ref.location) if ref.digest else _download(ref)
        found = describe_diffusion(folder)
        unet = _load_part(UNet2DConditionModel, folder, "unet", found)
        vae = _load_part(AutoencoderKL, folder, "vae", found)
        text_encoder = _load_part(CLIPTextModel, folder, "text_encoder", found)
        tokenizer = _load_tokenizer(folder / "tokenizer", text_encoder)
        scheduler = _load_scheduler(folder / "scheduler", found.scheduler)
        # The pipeline mends what old schedulers' configurations lack, as it always does before it samples.
        pipe = StableDiffusionPipeline(
            unet=unet,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            requires_safety_checker=False,
            **NO_EXTRAS,
        )
    for name, part in (("unet", unet), ("text_encoder", text_encoder), ("vae", vae)):
        freeze(part)
        check_finite(NAMES[name], found.weights[name].files[0], part)
    return Diffusion(unet, text_encoder, vae, tokenizer, pipe.scheduler, training_noise(pipe.scheduler))


def _download(ref: ModelRef) -> Path:
    """The folder in the hub's cache that holds the model; without weights of the usual name, those in float16."""
    options = {"revision": ref.revision, "use_safetensors": True, "trust_remote_code": False, **NO_EXTRAS}
    try:
        try:
            return Path(DiffusionPipeline.download(ref.location, **options))
        except OSError as error:
            if "safetensors" not in str(error):
                raise
            return Path(DiffusionPipeline.download(ref.location, variant="fp16", **options))
    except SHORTAGE:
        raise
    except Exception as error:  # whatever the hub's client raises
        raise hub_refusal("the diffusion model", ref.location, error) from error


def _load_part(kind: Any, folder: Path, name: str, found: DiffusionFolder) -> Any:
    part, weights = NAMES[name], found.weights[name]
    at = weights.files[0] if len(weights.files) == 1 else folder / name
    options: dict[str, Any] = {"dtype": runtime.base_dtype(), "use_safetensors": True, "variant": weights.variant}
    if kind is CLIPTextModel:
        options["ignore_mismatched_sizes"] = True  # told below, instead of in a report
    try:
        model, info = kind.from_pretrained(folder / name, local_files_only=True, output_loading_info=True, **options)
    except SHORTAGE:
        raise
    except Exception as error:
        if kind is not CLIPTextModel:
            _check_part_shapes(kind, folder / name, part, found)
        raise refusal(part, folder / name, error, WANTED) from error
    wanted = {key: tuple(shape) for key, _, shape in info["mismatched_keys"]}
    check_shapes(part, at, wanted, {key: tuple(shape) for key, shape, _ in info["mismatched_keys"]})
    check_loaded(part, at, model, info["missing_keys"], info["unexpected_keys"], len(model.state_dict()))
    return model


def _check_part_shapes(kind: Any, folder: Path, part: str, found: DiffusionFolder) -> None:
    """Raise UserError when the weights' shapes are why a part of diffusers' didn't load."""
    try:
        wanted = meta_shapes(kind, read_config(folder / "config.json"))
    except Exception as error:  # the configuration itself is what it can't build
        hint = "get the file again from its source"
        raise refusal(f"{part} that its config.json describes", folder / "config.json", error, hint) from error
    check_shapes(part, folder, wanted, found.weights[folder.name].shapes)


def _load_tokenizer(folder: Path, text_encoder: Any) -> Any:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except SHORTAGE:
        raise
    except Exception as error:
        raise refusal("the tokenizer", folder, error, AGAIN) from error
    words, vocabulary = len(tokenizer), int(text_encoder.config.vocab_size)
    if words > vocabulary:
        raise UserError(
            f"the tokenizer does not belong to this text encoder: it has {words} tokens, the encoder {vocabulary}",
            at=folder,
            hint="get both parts from one model",
        )
    if tokenizer.pad_token is None:
        raise UserError("the tokenizer has no pad_token", at=folder / "tokenizer_config.json", hint=AGAIN)
    return tokenizer


def _load_scheduler(folder: Path, kind: str) -> Any:
    try:
        return getattr(diffusers, kind).from_pretrained(folder, local_files_only=True)
    except SHORTAGE:
        raise
    except Exception as error:
        hint = "fix scheduler_config.json, or use another scheduler's file"
        raise refusal(f"the scheduler as {kind}", folder / "scheduler_config.json", error, hint) from error


def freeze(module: nn.Module) -> None:
    """Move to the runtime's device; no gradients, eval mode."""
    module.requires_grad_(False)
    module.to(runtime.device())
    module.eval()


def training_noise(scheduler: Any) -> DDPMScheduler:
    """The noise schedule a model was trained with, from the scheduler it samples by.

    Samplers scale their own noise (Euler's is sigma times as large), so training never uses theirs.
    """
    config = scheduler.config
    zero_snr = bool(config.get("rescale_betas_zero_snr", False))
    return DDPMScheduler(**{key: config[key] for key in SCHEDULE}, rescale_betas_zero_snr=zero_snr)


def training_target(scheduler: Any, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the UNet should say for `add_noise(latents, noise, t)`: ε, v or the latents, by the model's own type."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, t)
    if kind == "sample":
        return latents
    raise UserError(f"unknown prediction type {kind!r} in the model's scheduler_config.json")


def to_bytes(pixels: Tensor) -> Tensor:
    """Images as `Diffusion.decode` gives them to uint8 (n, H, W, 3) on the CPU."""
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)
