"""What a model's folder is, told from its JSON and headers: another make is named, in our words, without torch."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datadream.errors import UserError
from datadream.home.spec import JobSpec
from datadream.models.clip_folder import describe_clip
from datadream.models.configs import BYTES_MAX
from datadream.models.diffusion_folder import describe_diffusion
from datadream.models.digests import digest
from datadream.models.presets import Backbone, ModelRef, load_backbone
from datadream.models.schedulers import CLASSES
from datadream.models.weights import find_weights
from datadream.plans import request as requests
from datadream.plans.enqueue import bytes_needed

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
LIBRARY_WORDS = ("Error", "<class", "Traceback", "torch.Size", "None", "bytes long", "object has no")


def ref_to(folder: Path) -> ModelRef:
    """The model in `folder` as it is now."""
    return ModelRef(location=str(folder), digest=digest(str(folder)))


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; ... takes one out."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def rename(path: Path, key: Callable[[str], str | None]) -> None:
    """Give the tensors of a safetensors file other names; None takes one out. Their bytes stay, padded by nothing."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    entries: dict[str, Any] = {}
    kept = b""
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if (new := key(name)) is not None:
            begin, end = entry["data_offsets"]
            entries[new] = {**entry, "data_offsets": [len(kept), len(kept) + end - begin]}
            kept += data[begin:end]
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + kept)


@pytest.fixture
def sd(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.diffusion.location, tmp_path / "sd"))


@pytest.fixture
def clip(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.clip.location, tmp_path / "clip"))


def refusal(folder: Path, describe: Callable[..., object] = describe_diffusion, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        describe(folder, **options)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
    assert not [word for word in LIBRARY_WORDS if word in text], text
    return text


def index(sd: Path, **values: Any) -> None:
    change(sd / "model_index.json", **values)


def unet(sd: Path, **values: Any) -> None:
    change(sd / "unet" / "config.json", **values)


def vae(sd: Path, **values: Any) -> None:
    change(sd / "vae" / "config.json", **values)


def text(sd: Path, **values: Any) -> None:
    change(sd / "text_encoder" / "config.json", **values)


def scheduler(sd: Path, name: str, **values: Any) -> None:
    index(sd, scheduler=["diffusers", name])
    change(sd / "scheduler" / "scheduler_config.json", _class_name=name, **values)


# what is done to a good folder, and what is said of it
OTHER_MAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "inpainting": (lambda sd: unet(sd, in_channels=9), "an inpainting model: the UNet takes 9 channels"),
    "depth": (lambda sd: unet(sd, in_channels=5), "depth-to-image"),
    "pix2pix": (lambda sd: unet(sd, in_channels=8), "instruct-pix2pix"),
    "upscaler": (lambda sd: unet(sd, in_channels=7), "upscaler"),
    "unknown channels": (lambda sd: unet(sd, in_channels=11), "whose parts do not match: the UNet takes 11"),
    "sixteen latents": (lambda sd: vae(sd, latent_channels=16), "the VAE's latents have 16"),
    "xl": (lambda sd: index(sd, text_encoder_2=["transformers", "X"]), "Stable Diffusion XL"),
    "xl by name": (lambda sd: index(sd, _class_name="StableDiffusionXLPipeline"), "XL"),
    "xl's unet": (lambda sd: unet(sd, addition_embed_type="text_time"), "Stable Diffusion XL"),
    "refiner": (
        lambda sd: index(sd, text_encoder=[None, None], text_encoder_2=["transformers", "X"]),
        "XL refiner",
    ),
    "sd3": (lambda sd: index(sd, transformer=["diffusers", "SD3Transformer2DModel"]), "built on a transformer"),
    "flux": (lambda sd: index(sd, _class_name="FluxPipeline", transformer=["d", "F"]), "FluxPipeline"),
    "ddpm": (
        lambda sd: index(
            sd, _class_name="DDPMPipeline", unet=["diffusers", "UNet2DModel"], vae=..., text_encoder=...
        ),
        "DDPMPipeline, which takes no prompt",
    ),
    "controlnet": (lambda sd: index(sd, controlnet=["diffusers", "ControlNetModel"]), "a ControlNet"),
    "lcm": (lambda sd: unet(sd, time_cond_proj_dim=256), "latent consistency"),
    "unclip": (lambda sd: unet(sd, class_embed_type="projection"), "unCLIP"),
    "other text encoder": (lambda sd: index(sd, text_encoder=["transformers", "T5EncoderModel"]), "T5EncoderModel"),
    "other vae": (lambda sd: index(sd, vae=["diffusers", "AutoencoderTiny"]), "AutoencoderTiny"),
    "no text encoder": (lambda sd: index(sd, text_encoder=[None, None]), "names none"),
    "its folder gone": (lambda sd: shutil.rmtree(sd / "text_encoder"), "the folder text_encoder is not there"),
    "code": (lambda sd: index(sd, unet=["evil", "Evil"]), "evil.Evil"),
    "narrow text": (lambda sd: text(sd, hidden_size=32), "cross_attention_dim is 64"),
    "a unet of another class": (lambda sd: unet(sd, _class_name="UNet2DModel"), 'the UNet is a "UNet2DModel"'),
    "a text encoder of another kind": (lambda sd: text(sd, model_type="t5"), 'the text encoder is a "t5"'),
    "quantized": (lambda sd: unet(sd, quantization_config={"quant_method": "bnb"}), "quantized"),
    "learned variance": (lambda sd: unet(sd, out_channels=8), "takes 4 channels and gives 8"),
    "channels by config only": (
        lambda sd: (unet(sd, in_channels=8, out_channels=8), vae(sd, latent_channels=8)),
        "weights take 4 channels; its configuration says 8",
    ),
    "no size": (lambda sd: unet(sd, sample_size=None), "no sample_size"),
    "size left out": (lambda sd: unet(sd, sample_size=...), "no sample_size"),
    "not square": (lambda sd: unet(sd, sample_size=[8, 16]), "only square"),
    "size in words": (lambda sd: unet(sd, sample_size="eight"), "not a latent size"),
    "negative size": (lambda sd: unet(sd, sample_size=-8), "not a latent size"),
    "endless size": (lambda sd: unet(sd, sample_size=1e400), "not a latent size"),
    "true size": (lambda sd: unet(sd, sample_size=True), "not a latent size"),
    "no tokens": (lambda sd: text(sd, max_position_embeddings=0), "not a number of tokens"),
    "odd scale": (lambda sd: vae(sd, scaling_factor="x"), "scaling_factor"),
    "no blocks": (lambda sd: vae(sd, block_out_channels=None), "block_out_channels"),
    "cut json": (lambda sd: (sd / "unet" / "config.json").write_text('{"in_chan'), "not valid JSON"),
    "list json": (lambda sd: (sd / "vae" / "config.json").write_text("[1]"), "JSON object"),
    "deep json": (lambda sd: (sd / "vae" / "config.json").write_text("[" * 10**6), "not valid JSON"),
    "endless json": (
        lambda sd: (sd / "vae" / "config.json").write_bytes(b" " * (BYTES_MAX + 1)),
        "too large for a configuration",
    ),
    "index cut": (lambda sd: (sd / "model_index.json").write_bytes(b"\xff{"), "not valid JSON"),
    "scheduler file gone": (lambda sd: (sd / "scheduler" / "scheduler_config.json").unlink(), "is missing"),
    "flow matching": (lambda sd: scheduler(sd, "FlowMatchEulerDiscreteScheduler"), "FlowMatchEuler"),
    "edm": (lambda sd: scheduler(sd, "EDMEulerScheduler"), "EDMEulerScheduler"),
    "noise by a tree": (lambda sd: scheduler(sd, "DPMSolverSDEScheduler"), "DPMSolverSDEScheduler"),
    "flow sigmas": (lambda sd: scheduler(sd, "DPMSolverMultistepScheduler", use_flow_sigmas=True), "flow matching"),
    "flow prediction": (lambda sd: scheduler(sd, "DDIMScheduler", prediction_type="flow_prediction"), "flow_prediction"),
    "sample by pndm": (lambda sd: scheduler(sd, "PNDMScheduler", prediction_type="sample"), "can't sample"),
    "betas unknown": (lambda sd: scheduler(sd, "DDIMScheduler", beta_schedule="laplace"), "laplace"),
    "betas of another length": (lambda sd: scheduler(sd, "DDIMScheduler", trained_betas=[0.1] * 3), "1000 numbers"),
    "beta no number": (lambda sd: scheduler(sd, "DDIMScheduler", beta_end=float("nan")), "beta_end"),
    "no vocabulary": (lambda sd: (sd / "tokenizer" / "tokenizer.json").unlink(), "vocab.json is missing"),
    "lfs pointer": (
        lambda sd: (sd / "unet" / "diffusion_pytorch_model.safetensors").write_text(POINTER),
        "a Git LFS pointer",
    ),
    "lfs tokenizer": (lambda sd: (sd / "tokenizer" / "tokenizer.json").write_text(POINTER), "a Git LFS pointer"),
    "lfs config": (lambda sd: (sd / "unet" / "config.json").write_text(POINTER), "a Git LFS pointer"),
    "pickled": (
        lambda sd: (sd / "vae" / "diffusion_pytorch_model.safetensors").rename(sd / "vae" / "diffusion_pytorch_model.bin"),
        "the VAE has only pickled weights (diffusion_pytorch_model.bin)",
    ),
    "no weights": (lambda sd: (sd / "text_encoder" / "model.safetensors").unlink(), "has no model.safetensors"),
    "weights of another name": (
        lambda sd: (sd / "unet" / "diffusion_pytorch_model.safetensors").rename(sd / "unet" / "model.safetensors"),
        "found model.safetensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_MAKES)
def test_a_model_of_another_make_is_named(name: str, sd: Path) -> None:
    damage, words = OTHER_MAKES[name]
    damage(sd)
    assert words in refusal(sd, solvers=["default"])


@pytest.mark.parametrize("prefix", ["module.", "base_model.model.", "_orig_mod.", "module.text_model."])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_saved_from_a_wrapper_are_named_by_their_prefix(part: str, prefix: str, sd: Path) -> None:
    rename(next((sd / part).glob("*.safetensors")), lambda key: prefix + key)
    said = refusal(sd)
    assert f"begin with '{prefix}'" in said
    assert {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder"}[part] in said


def test_a_good_folder_is_described(sd: Path) -> None:
    found = describe_diffusion(sd, ["default", *CLASSES])
    assert found.scheduler == "DDIMScheduler"
    assert {part: len(held.shapes) for part, held in found.weights.items()} == {
        "unet": 286,
        "vae": 156,
        "text_encoder": 36,
    }
    unet(sd, sample_size=[8, 8], cross_attention_dim=[64, 64])
    change(sd / "tokenizer" / "tokenizer_config.json", model_max_length=...)
    rename(sd / "text_encoder" / "model.safetensors", lambda key: f"text_model.{key}")  # as older libraries saved it
    describe_diffusion(sd)
    (sd / "v1-5-pruned.safetensors").write_text(POINTER)  # beside the parts, and not used
    describe_diffusion(sd)


def test_what_has_no_index_is_named(tmp_path: Path, sd: Path, clip: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is empty" in refusal(empty)
    assert "give it with --clip" in refusal(clip)
    assert "give it with --diffusion" in refusal(sd, describe_clip)
    assert "one part (UNet2DConditionModel) alone" in refusal(sd / "unet")
    for name, content, words in (
        ("adapter_config.json", "{}", "a LoRA without its base model"),
        ("pytorch_lora_weights.safetensors", "", "a LoRA without its base model"),
        ("config.json", '{"_class_name": "ControlNetModel"}', "a ControlNet alone"),
        ("config.json", '{"model_type": "clip"}', "transformers' CLIPModel"),
        ("v1-5-pruned.safetensors", "", "single-file checkpoint"),
        ("v1-5.ckpt", "", "pickled single-file checkpoint"),
        ("README.md", "", "model_index.json is missing"),
    ):
        folder = tmp_path / f"{name}-{words[:9]}"
        folder.mkdir()
        (folder / name).write_text(content)
        assert words in refusal(folder)


@pytest.mark.parametrize(
    ("given", "said"),
    [("diffusion", "single-file checkpoint"), ("clip", "a weights file alone does not name its architecture")],
)
def test_a_file_in_place_of_a_folder_is_named(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for name in ("model.safetensors", "./model.safetensors", str(tmp_path / "model.safetensors")):
        with pytest.raises(UserError, match=said):
            load_backbone("mini", **{given: name})


def split(folder: Path, stem: str) -> None:
    """Cut a part's weights into two shards and an index."""
    whole = folder / f"{stem}.safetensors"
    placed = {}
    for number in (1, 2):
        shard = f"{stem}-0000{number}-of-00002.safetensors"
        shutil.copy(whole, folder / shard)
        rename(folder / shard, lambda key, number=number: key if len(key) % 2 == number - 1 else None)  # type: ignore[misc]
        placed |= dict.fromkeys(find_weights_names(folder / shard), shard)
    whole.unlink()
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def find_weights_names(path: Path) -> list[str]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return [key for key in json.loads(raw[8 : 8 + length]) if key != "__metadata__"]


def test_a_shard_or_key_that_is_missing_is_named(sd: Path) -> None:
    folder = sd / "unet"
    split(folder, "diffusion_pytorch_model")
    assert len(describe_diffusion(sd).weights["unet"].shapes) == 286
    shard = folder / "diffusion_pytorch_model-00002-of-00002.safetensors"
    rename(shard, lambda key: None if "mid_block" in key else key)
    assert "00002-of-00002.safetensors lacks them" in refusal(sd)
    shard.unlink()
    said = refusal(sd)
    assert "00002-of-00002.safetensors is missing" in said
    assert "of 286 weights, e.g. " in said
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    assert "names no shards" in refusal(sd)


def test_a_variant_is_taken_where_there_is_nothing_else(sd: Path) -> None:
    for path in sd.rglob("*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    assert {part.variant for part in describe_diffusion(sd).weights.values()} == {"fp16"}
    folder = sd / "unet"
    for name in ("ema", "non_ema"):
        shutil.copy(
            folder / "diffusion_pytorch_model.fp16.safetensors", folder / f"diffusion_pytorch_model.{name}.safetensors"
        )
    assert find_weights(folder, "diffusion_pytorch_model", "the UNet").variant == "fp16"
    (folder / "diffusion_pytorch_model.fp16.safetensors").unlink()
    assert "several variants (ema, non_ema)" in refusal(sd)
    shutil.copy(folder / "diffusion_pytorch_model.ema.safetensors", folder / "diffusion_pytorch_model.safetensors")
    assert find_weights(folder, "diffusion_pytorch_model", "the UNet").variant is None


CLIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a resnet": (lambda clip: model_cfg(clip, "vision_cfg", layers=[3, 4, 6, 3]), "a ResNet"),
    "no configuration": (lambda clip: (clip / "open_clip_config.json").unlink(), "is missing"),
    "cut configuration": (lambda clip: (clip / "open_clip_config.json").write_text("{"), "not valid JSON"),
    "no model_cfg": (lambda clip: (clip / "open_clip_config.json").write_text("{}"), "no model_cfg"),
    "no text_cfg": (lambda clip: model_cfg(clip, None, text_cfg=3), "no text_cfg"),
    "no width": (lambda clip: model_cfg(clip, None, embed_dim="x"), "embed_dim"),
    "not square": (lambda clip: model_cfg(clip, "vision_cfg", image_size=[32, 64]), "only square"),
    "lfs": (lambda clip: (clip / "open_clip_model.safetensors").write_text(POINTER), "a Git LFS pointer"),
    "no weights": (lambda clip: (clip / "open_clip_model.safetensors").unlink(), "has no weights"),
    "pickled": (
        lambda clip: (clip / "open_clip_model.safetensors").rename(clip / "open_clip_pytorch_model.bin"),
        "only pickled weights",
    ),
    "wrapped": (
        lambda clip: rename(clip / "open_clip_model.safetensors", lambda key: f"base_model.model.{key}"),
        "begin with 'base_model.model.'",
    ),
    "of transformers": (
        lambda clip: ((clip / "open_clip_config.json").unlink(), (clip / "config.json").write_text('{"model_type": "clip"}')),
        "CLIPModel folder",
    ),
}  # fmt: skip


def model_cfg(clip: Path, section: str | None, **values: Any) -> None:
    path = clip / "open_clip_config.json"
    content = json.loads(path.read_text())
    (content["model_cfg"][section] if section else content["model_cfg"]).update(values)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_of_another_make_is_named(name: str, clip: Path) -> None:
    damage, words = CLIPS[name]
    damage(clip)
    assert words in refusal(clip, describe_clip, trained=True)


def test_a_resnet_serves_zero_shot(clip: Path) -> None:
    model_cfg(clip, "vision_cfg", layers=[3, 4, 6, 3])
    assert describe_clip(clip).weights.name == "open_clip_model.safetensors"


def test_a_request_is_refused_before_anything_is_queued(sd: Path, clip: Path) -> None:
    unet(sd, in_channels=9)
    with pytest.raises(UserError, match="an inpainting model"):
        requests.check(requests.Request(("real-only", "name-only"), source="digits", diffusion=str(sd)))
    requests.check(requests.Request(("real-only",), source="digits", diffusion=str(sd)))  # draws nothing
    (clip / "open_clip_model.safetensors").write_text(POINTER)
    with pytest.raises(UserError, match="Git LFS pointer"):
        requests.check(requests.Request(("zero-shot",), source="digits", clip=str(clip)))


@pytest.mark.parametrize(
    ("size", "side"), [(8, 32), ([8, 8], 32), (None, 512), (..., 512), ("x", 512), ([8, 9], 512), (1e400, 512)]
)
def test_the_room_for_images_is_known_whatever_a_folder_says(size: object, side: int, sd: Path) -> None:
    unet(sd, sample_size=size)
    spec = JobSpec(
        stage="generate", settings={"images_per_class": 2}, inputs={}, seed=1, model=ref_to(sd),
        classes=load_classes(), prompts=("a", "b"),
    )  # fmt: skip
    assert bytes_needed(spec) == 2 * 2 * (side * side * 3 + 4096)
    (sd / "vae" / "config.json").write_text('{"block_out_channels": 3}')
    assert bytes_needed(spec) == 2 * 2 * (512 * 512 * 3 + 4096)


def load_classes() -> Any:
    from datadream.data.prompts import ClassInfo

    return tuple(ClassInfo(folder=name, name=name) for name in ("a", "b"))


def test_looking_at_a_model_imports_no_torch(mini: Backbone) -> None:
    code = (
        "import sys\nfrom datadream.plans import request as requests\n"
        "requests.check(requests.Request(('datadream-dset', 'zero-shot'), source='digits'))\n"
        "assert not {'torch', 'diffusers', 'transformers', 'open_clip', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
