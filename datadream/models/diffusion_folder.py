"""What a diffusion model's folder is, read from its JSON and the headers of its weights. No torch here.

Stable Diffusion 1.x and 2.x are described; anything else is refused by the name of what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models.configs import AGAIN, as_count, as_words, read_config, readable, refuse_pointer, side_of
from datadream.models.schedulers import check_scheduler
from datadream.models.weights import DIFFUSERS, PICKLES, TRANSFORMERS, Weights, find_weights, lacking, strip_prefix

WANTED = "expected Stable Diffusion 1.x or 2.x in a diffusers folder"
CONVERT = (
    "convert it once with diffusers' StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER), "
    "and give the folder"
)
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
NAMES = {
    "unet": "the UNet",
    "vae": "the VAE",
    "text_encoder": "the text encoder",
    "tokenizer": "the tokenizer",
    "scheduler": "the scheduler",
}
# A UNet's input channels, where they aren't the VAE's latents, tell what it was made for.
CHANNELS = {
    5: "a depth-to-image model",
    7: "a 4x upscaler",
    8: "an instruct-pix2pix model",
    9: "an inpainting model",
}
# Settings of a UNet that ask for a further input, and the make that has them.
FURTHER = {
    "addition_embed_type": "Stable Diffusion XL or its like",
    "class_embed_type": "an unCLIP model or an upscaler",
    "num_class_embeds": "an upscaler",
    "encoder_hid_dim_type": "a model with image prompts",
    "time_cond_proj_dim": "a latent consistency model",
}


@dataclass(frozen=True)
class DiffusionFolder:
    """What a Stable Diffusion folder says of itself: its scheduler's class, and the weights of the parts with any."""

    scheduler: str
    weights: dict[str, Weights]


def refuse_file(path: Path) -> UserError:
    """Why a single file can't be a diffusion model."""
    kind = "pickled " if path.suffix.lower() in PICKLES else ""
    return UserError(f"this is a {kind}single-file checkpoint; a folder is needed", at=path, hint=CONVERT)


def describe_diffusion(folder: Path, solvers: Iterable[str] = ()) -> DiffusionFolder:
    """What the Stable Diffusion in `folder` is. Raises UserError when it is another model, or not whole.

    Headers are read, no weight is.
    """
    with readable(folder):
        return _describe(folder, solvers)


def _describe(folder: Path, solvers: Iterable[str]) -> DiffusionFolder:
    if not (folder / "model_index.json").is_file():
        raise _without_index(folder)
    index = read_config(folder / "model_index.json")
    _check_make(index, folder)
    unet = read_config(folder / "unet" / "config.json")
    vae = read_config(folder / "vae" / "config.json")
    text = read_config(folder / "text_encoder" / "config.json")
    if text.get("model_type") == "clip" and isinstance(text.get("text_config"), dict):
        text = text["text_config"]  # of a whole CLIP; its text tower is what loads
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    _check_kinds({"unet": unet, "vae": vae}, folder)
    channels = _check_latents(unet, vae, folder)
    _check_text(unet, text, folder)
    kind = index["scheduler"][1]
    check_scheduler(kind, scheduler, folder / "scheduler" / "scheduler_config.json", set(solvers))
    _check_tokenizer(folder / "tokenizer")
    weights = {
        "unet": _check_weights(folder, "unet", DIFFUSERS, "conv_in.weight"),
        "vae": _check_weights(folder, "vae", DIFFUSERS, "encoder.conv_in.weight"),
        "text_encoder": _check_weights(folder, "text_encoder", TRANSFORMERS, "embeddings.token_embedding.weight"),
    }
    entry = weights["unet"].shapes["conv_in.weight"]
    if len(entry) != 4 or entry[1] != channels:
        takes = entry[1] if len(entry) == 4 else "other"
        raise UserError(
            f"the UNet's weights take {takes} channels; its configuration says {channels}",
            at=folder / "unet",
            hint="the configuration and the weights are of different models; get both from one place",
        )
    return DiffusionFolder(kind, weights)


def _without_index(folder: Path) -> UserError:
    """What a folder without model_index.json is instead."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return UserError("the folder is empty", at=folder, hint=WANTED)
    if "open_clip_config.json" in names:
        return UserError("this is a CLIP, not a diffusion model", at=folder, hint="give it with --clip")
    if "adapter_config.json" in names or any("lora" in name.lower() for name in names if name.endswith(".safetensors")):
        return UserError("this is a LoRA without its base model", at=folder, hint=WANTED)
    if "config.json" in names:
        config = read_config(folder / "config.json")
        kind = config.get("_class_name") or next(iter(_words(config.get("architectures"))), None)
        if config.get("model_type") == "clip":
            return UserError("this is transformers' CLIPModel, not a diffusion model", at=folder, hint=WANTED)
        if isinstance(kind, str):
            what = "a ControlNet" if "ControlNet" in kind else f"one part ({kind[:60]})"
            return UserError(f"this is {what} alone, not a whole pipeline", at=folder, hint=WANTED)
    singles = [name for name in names if Path(name).suffix.lower() in {".safetensors", *PICKLES}]
    if singles and not {"unet", "vae"} & set(names):
        return refuse_file(folder / singles[0])
    return UserError("model_index.json is missing, so this is not a diffusers pipeline", at=folder, hint=WANTED)


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _check_make(index: dict[str, Any], folder: Path) -> None:
    """Refuse a pipeline of other parts than Stable Diffusion's, by name."""
    at = folder / "model_index.json"
    pipeline = index.get("_class_name")
    name = pipeline if isinstance(pipeline, str) else "a pipeline with custom code"

    def entry(part: str) -> list[str]:
        """[library, class] of a part; empty when it has none."""
        words = _words(index.get(part))
        return words if len(words) == 2 else []

    if entry("transformer") or any(key.startswith("transformer") for key in index):
        raise UserError(f"this is {name}, built on a transformer instead of a UNet", at=at, hint=WANTED)
    if "XL" in name or entry("text_encoder_2"):
        refiner = " refiner" if not entry("text_encoder") and entry("text_encoder_2") else ""
        raise UserError(
            f"this is Stable Diffusion XL{refiner} ({name}), which has two text encoders", at=at, hint=WANTED
        )
    if entry("unet")[1:] == ["UNet2DModel"] or (entry("unet") and not entry("text_encoder") and not entry("vae")):
        raise UserError(f"this is {name}, which takes no prompt", at=at, hint=WANTED)
    if entry("controlnet"):
        raise UserError(f"this is {name}, which has a ControlNet", at=at, hint=WANTED)
    for part, classes in (*CLASSES.items(), ("scheduler", ())):
        found = entry(part)
        if not found:
            raise UserError(f"{NAMES[part]} is missing: model_index.json names none ({name})", at=at, hint=WANTED)
        if not (folder / part).is_dir():
            raise UserError(f"{NAMES[part]} is missing: the folder {part} is not there", at=folder, hint=AGAIN)
        library = "transformers" if part in ("text_encoder", "tokenizer") else "diffusers"
        if found[0] != library or (classes and found[1] not in classes):
            is_a = f"{found[0]}.{found[1]}"[:80]
            raise UserError(
                f"{NAMES[part]} is a {is_a}, not {library}' {classes[0] if classes else 'own'}", at=at, hint=WANTED
            )


def _check_kinds(configs: dict[str, dict[str, Any]], folder: Path) -> None:
    """Refuse a part whose own configuration is of another class than model_index.json names."""
    for part, config in configs.items():
        kind = config.get("_class_name", CLASSES[part][0])
        if kind not in CLASSES[part]:
            at = folder / part / "config.json"
            raise UserError(
                f"{NAMES[part]} is a {as_words(kind)}, where {CLASSES[part][0]} is needed", at=at, hint=WANTED
            )


def _check_latents(unet: dict[str, Any], vae: dict[str, Any], folder: Path) -> int:
    """The number of a latent's channels."""
    at, vae_at = folder / "unet" / "config.json", folder / "vae" / "config.json"
    for config, path in ((unet, at), (vae, vae_at)):
        if config.get("quantization_config") is not None:
            raise UserError("the weights are quantized", at=path, hint="give the model in float32, float16 or bfloat16")
    channels, latent = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    for value, key, path in ((channels, "in_channels", at), (latent, "latent_channels", vae_at)):
        if as_count(value) is None:
            raise UserError(f"{key} is {as_words(value)}, not a number of channels", at=path, hint=AGAIN)
    if channels != latent:
        make = CHANNELS.get(channels) if latent == 4 else None
        raise UserError(
            f"this is {make or 'a model whose parts do not match'}: "
            f"the UNet takes {channels} channels, the VAE's latents have {latent}",
            at=at,
            hint="give the text-to-image model it was made from" if make else "get both parts from one model",
        )
    for key, make in FURTHER.items():
        if unet.get(key) is not None:
            raise UserError(f"this is {make}: its UNet has {key} {as_words(unet[key])}", at=at, hint=WANTED)
    if as_count(unet.get("out_channels", 4)) != channels:
        gives = as_words(unet.get("out_channels"))
        raise UserError(f"the UNet takes {channels} channels and gives {gives}", at=at, hint=WANTED)
    if (as_count(vae.get("in_channels", 3)), as_count(vae.get("out_channels", 3))) != (3, 3):
        raise UserError("the VAE is not for RGB images", at=vae_at, hint=WANTED)
    if vae.get("shift_factor"):
        raise UserError("the VAE is of another type: it has a shift_factor", at=vae_at, hint=WANTED)
    scale = vae.get("scaling_factor", 1)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e6:
        raise UserError(f"the VAE's scaling_factor is {as_words(scale)}", at=vae_at, hint=AGAIN)
    blocks = vae.get("block_out_channels", [64])
    if not isinstance(blocks, list) or not blocks or not all(as_count(block) for block in blocks):
        raise UserError(f"the VAE's block_out_channels is {as_words(blocks)}", at=vae_at, hint=AGAIN)
    _check_side(unet.get("sample_size"), at)
    assert isinstance(channels, int)
    return channels


def _check_side(size: Any, at: Path) -> None:
    if side_of(size) is not None:
        return
    if size is None:
        raise UserError(
            "the UNet's configuration has no sample_size, so the image size is unknown",
            at=at,
            hint='add it, e.g. "sample_size": 64 for a 512-pixel model',
        )
    if isinstance(size, list) and len(size) == 2 and all(as_count(part) for part in size):
        raise UserError(
            f"the UNet's sample_size is {as_words(size)}: only square images are supported", at=at, hint=WANTED
        )
    raise UserError(f"the UNet's sample_size is {as_words(size)}, not a latent size", at=at, hint=AGAIN)


def _check_text(unet: dict[str, Any], text: dict[str, Any], folder: Path) -> None:
    at = folder / "text_encoder" / "config.json"
    if text.get("model_type", "clip_text_model") != "clip_text_model":
        kind = as_words(text["model_type"])
        raise UserError(f"the text encoder is a {kind}, where CLIP's text tower is needed", at=at, hint=WANTED)
    if text.get("quantization_config") is not None:
        raise UserError("the weights are quantized", at=at, hint="give the model in float32, float16 or bfloat16")
    width, wanted = text.get("hidden_size", 512), unet.get("cross_attention_dim", 1280)
    wanted = set(wanted) if isinstance(wanted, list) and all(as_count(part) for part in wanted) else {as_count(wanted)}
    if wanted != {as_count(width)} or width is None:
        raise UserError(
            f"the text encoder does not belong to this UNet: it is {as_words(width)} wide, "
            f"and the UNet's cross_attention_dim is {as_words(unet.get('cross_attention_dim', 1280))}",
            at=at,
            hint="get both parts from one model",
        )
    tokens = as_count(text.get("max_position_embeddings", 77))
    if tokens is None:
        raise UserError(
            f"max_position_embeddings is {as_words(text['max_position_embeddings'])}, not a number of tokens",
            at=at,
            hint=AGAIN,
        )


def _check_tokenizer(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    needed = ["tokenizer.json"] if "tokenizer.json" in names else ["vocab.json", "merges.txt"]
    for name in needed:
        if name not in names:
            raise UserError(f"the tokenizer's {name} is missing", at=folder, hint=AGAIN)
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(64)
            refuse_pointer(head, path)
    if "tokenizer_config.json" in names:
        read_config(folder / "tokenizer_config.json")


def _check_weights(folder: Path, part: str, stem: str, wanted: str) -> Weights:
    """The part's weights; refused when they lack the tensor `wanted`, or have it under a wrapper's name."""
    found = find_weights(folder / part, stem, NAMES[part])
    accepted = (wanted, f"text_model.{wanted}") if part == "text_encoder" else (wanted,)
    if not set(accepted) & found.shapes.keys():
        prefix = strip_prefix(found.shapes, wanted)
        raise lacking(NAMES[part], wanted, prefix, found.files[0])
    return found
