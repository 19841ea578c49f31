"""Stable Diffusion's parts, loaded from a diffusers folder or a hub id by diffusers itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from datadream.errors import UserError
from datadream.models import headers, runtime
from datadream.models.presets import ModelRef
from datadream.models.verify import LoadedOnce

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
UNET_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
TEXT_PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


@dataclass(frozen=True)
class Diffusion:
    """Frozen parts on the runtime's device, in its base dtype, in eval mode."""

    unet: Any
    text_encoder: Any
    vae: Any
    tokenizer: Any
    scheduler: Any  # as the folder has it; training takes its schedule and prediction type from here

    @property
    def resolution(self) -> int:
        """Pixels a side: the UNet's latent size times the autoencoder's factor."""
        return int(self.unet.config.sample_size) * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image's latents."""
        side = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), side, side

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """τ(prompts): (n, tokens, width) hidden states, padded to the tokenizer's full length as in training."""
        ids = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
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
        """D(z): uint8 images (n, H, W, 3) on the CPU; `latents` scaled."""
        pixels = self.vae.decode(latents.to(runtime.base_dtype()) / self.vae.config.scaling_factor).sample
        return ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)

    def solver(self, name: str) -> Any:
        """A fresh scheduler for sampling: the folder's own, or one of SOLVERS made from its configuration."""
        if name == "default":
            return type(self.scheduler).from_config(self.scheduler.config)
        kind, options = SOLVERS[name]
        return getattr(diffusers, kind).from_config(self.scheduler.config, **options)


@LoadedOnce
def load_diffusion(ref: ModelRef) -> Diffusion:
    """The parts `ref` names; kept for the next caller in this process. Raises UserError when they can't be loaded."""
    diffusers.utils.logging.disable_progress_bar()
    if ref.digest:
        headers.check_folder(Path(ref.location))
    try:
        with runtime.only_data():
            pipe = DiffusionPipeline.from_pretrained(
                ref.location,
                dtype=runtime.base_dtype(),
                use_safetensors=True,
                safety_checker=None,
                requires_safety_checker=False,
                trust_remote_code=False,
                revision=ref.revision,
            )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged or hostile folder may make a loader raise anything
        raise UserError(
            f"can't load the diffusion model: {runtime.first_line(error)}",
            at=ref.location,
            hint="give a diffusers folder or a hub id with safetensors weights, and check the network and HF_TOKEN",
        ) from error
    for part in ("unet", "text_encoder", "vae", "tokenizer", "scheduler"):
        if getattr(pipe, part, None) is None:
            raise UserError(f"the model has no {part}", at=ref.location, hint="Stable Diffusion 1.x or 2.x is needed")
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        freeze(part)
    return Diffusion(pipe.unet, pipe.text_encoder, pipe.vae, pipe.tokenizer, pipe.scheduler)


def freeze(module: nn.Module) -> None:
    """Move to the runtime's device; no gradients, eval mode."""
    module.requires_grad_(False)
    module.to(runtime.device())
    module.eval()


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
