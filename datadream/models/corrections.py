"""Which mended faults change what a model gives, so that their results get ids of their own. No torch here.

An older version of this program gave something else for the same spec: that result keeps its id, and the right one
has the correction's name in its spec. Models that no correction touches keep their ids. Read from the model's folder,
or from open_clip's own list of architectures. A model of the hub needs none: its commit is in the id, and wasn't then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datadream.models import kinds
from datadream.models.configs import as_count
from datadream.models.presets import HUB, ModelRef
from datadream.models.schedulers import BETA_KEYS, OWN_BETAS, is_stochastic

DDPM_NOISE = "ddpm-noise"
"""Training noise comes from the model's betas; it came from its sampler, which Euler, for one, scales by sigma."""
PROMPT_LENGTH = "prompt-length"
"""Prompts have the text encoder's length; they had a shorter one that the tokenizer stated."""
IMAGE_DRAWS = "image-draws"
"""A sampler's noise is drawn image by image; it came from one stream for all."""
MODEL_BETAS = "model-betas"
"""A sampler made from another's file takes that one's betas where the file leaves them out."""
EVERY_ATTENTION = "every-attention"
"""LoRA is in every attention of both CLIP towers; fused projections and those of other names had none."""
TEXT_PADDING = "text-padding"
"""Padding is cut off prompts only under a causal mask; without one it is part of what a text tower reads."""

SAME_NOISE = {"DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler"}


def of_adapting(model: ModelRef) -> tuple[str, ...]:
    """Of an adapter trained on this diffusion model."""
    kind, config = _scheduler(model)
    same = kind in SAME_NOISE or (kind == "PNDMScheduler" and not config.get("rescale_betas_zero_snr"))
    return (*((DDPM_NOISE,) if kind and not same else ()), *_prompt_length(model))


def of_generating(model: ModelRef, solver: str) -> tuple[str, ...]:
    """Of images drawn by this diffusion model with `generate.scheduler` `solver`."""
    kind, config = _scheduler(model)
    found = []
    if kind and solver == "default" and is_stochastic(kind, config):
        found.append(IMAGE_DRAWS)
    if kind in OWN_BETAS and solver != "default" and not set(BETA_KEYS) <= config.keys():
        found.append(MODEL_BETAS)
    return (*found, *_prompt_length(model))


def of_classifying(model: ModelRef, data: str) -> tuple[str, ...]:
    """Of a classifier made of this CLIP with that mix of data; nothing is trained with `none`."""
    config = {} if model.location.startswith(HUB) else kinds.clip_config(model.location, None)
    vision, text = config.get("vision_cfg"), config.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict):
        return ()
    own = config.get("custom_text") or text.get("hf_model_name") or text.get("pool_type", "argmax") != "argmax"
    padding = (TEXT_PADDING,) if text.get("no_causal_mask") and not own else ()
    if data == "none":
        return padding
    named = str(text.get("hf_model_name") or "")
    renamed = named and "nllb" not in named  # M2M100's projections always had the names we look for
    pooled = vision.get("attentional_pool") and vision.get("width", 768) != config.get("embed_dim")
    partial = vision.get("timm_model_name") or renamed or pooled
    return (*((EVERY_ATTENTION,) if partial else ()), *padding)


def _scheduler(model: ModelRef) -> tuple[str, Mapping[str, Any]]:
    """Class and configuration of a local model's scheduler; ("", {}) when they can't be read."""
    read = _read(model)
    entry, config = read("model_index.json").get("scheduler"), read("scheduler/scheduler_config.json")
    if config and isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str):
        return entry[1], config
    return "", {}


def _prompt_length(model: ModelRef) -> tuple[str, ...]:
    read = _read(model)
    tokenizer, text = read("tokenizer/tokenizer_config.json"), read("text_encoder/config.json")
    stated, positions = as_count(tokenizer.get("model_max_length")), as_count(text.get("max_position_embeddings", 77))
    return (PROMPT_LENGTH,) if text and stated and positions and stated < positions else ()


def _read(model: ModelRef) -> kinds.Read:
    """Reads a local model's JSON."""
    return kinds.reader(model.location, None) if model.digest else lambda _: {}
