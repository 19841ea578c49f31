"""Every tensor comes from its file and is finite, or the load is refused with part, key and count."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from datadream.errors import UserError
from datadream.models.clip import Clip, load_clip
from datadream.models.diffusion import Diffusion, load_diffusion
from datadream.models.presets import Backbone, ModelRef
from tests.test_models_folders import LIBRARY_WORDS, change, index, model_cfg, ref_to, rename, split, unet

FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
NAMES = {"unet": "the UNet", "vae": "the VAE", "text_encoder": "the text encoder"}


@pytest.fixture(autouse=True)
def _loaded_anew() -> Iterator[None]:
    load_diffusion.cache_clear()
    load_clip.cache_clear()
    yield
    load_diffusion.cache_clear()
    load_clip.cache_clear()


@pytest.fixture
def sd(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.diffusion.location, tmp_path / "sd"))


@pytest.fixture
def clip(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.clip.location, tmp_path / "clip"))


def load_sd(folder: Path) -> Diffusion:
    load_diffusion.cache_clear()
    return load_diffusion(ref_to(folder))


def load_tower(folder: Path) -> Clip:
    load_clip.cache_clear()
    return load_clip(ref_to(folder))


def refusal(folder: Path, load: Callable[[Path], object] = load_sd) -> str:
    with pytest.raises(UserError) as caught:
        load(folder)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
    assert not [word for word in LIBRARY_WORDS if word in text], text
    return text


def edit(path: Path, **tensors: Tensor | None) -> None:
    """Set tensors of a safetensors file; `__` stands for a dot. None takes one out."""
    held = load_file(path)
    held |= {name.replace("__", "."): value for name, value in tensors.items() if value is not None}
    gone = {name.replace("__", ".") for name, value in tensors.items() if value is None}
    save_file({name: value for name, value in held.items() if name not in gone}, path, {"format": "pt"})


def weights(sd: Diffusion) -> dict[str, Tensor]:
    parts = {"unet": sd.unet, "vae": sd.vae, "text_encoder": sd.text_encoder}
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("part", "lost", "count"),
    [("unet", "mid_block", 46), ("vae", "decoder.mid_block", 26), ("text_encoder", "layers.1.", 16)],
)
def test_missing_weights_are_refused_with_part_key_and_count(part: str, lost: str, count: int, sd: Path) -> None:
    rename(sd / FILES[part], lambda key: None if lost in key else key)
    said = refusal(sd)
    total = {"unet": 286, "vae": 156, "text_encoder": 36}[part]
    assert f"{NAMES[part]} lacks {count} of {total} weights, e.g. " in said
    assert lost in said


@pytest.mark.parametrize("part", FILES)
def test_one_missing_bias_is_refused(part: str, sd: Path) -> None:
    lost = {"unet": "conv_norm_out.bias", "vae": "decoder.conv_out.bias", "text_encoder": "final_layer_norm.bias"}[part]
    rename(sd / FILES[part], lambda key: None if key.endswith(lost) else key)
    assert f"{NAMES[part]} lacks 1 of" in refusal(sd)


def test_weights_of_another_shape_are_refused(sd: Path, clip: Path) -> None:
    for part, name in (
        ("unet", "conv_out__bias"),
        ("vae", "decoder__conv_out__bias"),
        ("text_encoder", "final_layer_norm__bias"),
    ):
        path = sd / FILES[part]
        kept = path.read_bytes()
        edit(path, **{name: torch.zeros(99)})
        said = refusal(sd)
        assert f"{NAMES[part]}'s weight {name.replace('__', '.')} is 99 in the file and " in said
        path.write_bytes(kept)
    edit(clip / "open_clip_model.safetensors", positional_embedding=torch.zeros(9, 64))
    said = refusal(clip, load_tower)  # open_clip would stretch them in silence
    assert "positional_embedding is 9x64 in the file and 16x64 by its configuration (1 of 86 differ)" in said


def test_further_weights_show_another_model(sd: Path, clip: Path) -> None:
    for part in FILES:
        kept = (sd / FILES[part]).read_bytes()
        edit(sd / FILES[part], ip_adapter__proj=torch.zeros(2))
        assert (
            f"{NAMES[part]}'s file has weights unknown to its configuration, e.g. ip_adapter.proj (1 in all)"
            in refusal(sd)
        )
        (sd / FILES[part]).write_bytes(kept)
    edit(clip / "open_clip_model.safetensors", visual__extra=torch.zeros(2))
    assert "e.g. visual.extra" in refusal(clip, load_tower)


def test_what_older_libraries_saved_still_loads_and_is_the_same(sd: Path, mini: Backbone) -> None:
    wanted = weights(load_sd(Path(mini.diffusion.location)))
    path = sd / FILES["text_encoder"]
    rename(path, lambda key: f"text_model.{key}")
    edit(path, text_model__embeddings__position_ids=torch.arange(16)[None], text_projection__weight=torch.zeros(64, 64))
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(key: str) -> str:
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.") if "attentions" in key else key
        return key

    rename(sd / FILES["vae"], renamed)
    assert "encoder.mid_block.attentions.0.query.weight" in load_file(sd / FILES["vae"])
    assert_same(weights(load_sd(sd)), wanted)


def test_shards_and_variants_load_the_same(sd: Path, mini: Backbone) -> None:
    wanted = weights(load_sd(Path(mini.diffusion.location)))
    split(sd / "unet", "diffusion_pytorch_model")
    split(sd / "text_encoder", "model")
    (sd / FILES["vae"]).rename(sd / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    assert_same(weights(load_sd(sd)), wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(value: float, sd: Path, clip: Path) -> None:
    part, name = {
        "nan": ("unet", "conv_in.bias"),
        "inf": ("vae", "encoder.conv_in.bias"),
        "-inf": ("text_encoder", "final_layer_norm.bias"),
    }[str(value)]
    held = load_file(sd / FILES[part])
    held[name][1] = value
    save_file(held, sd / FILES[part], {"format": "pt"})
    assert f"{NAMES[part]} holds NaN or infinity in 1 of {len(held)} weights, e.g. {name}" in refusal(sd)
    held = load_file(clip / "open_clip_model.safetensors")
    held["visual.conv1.weight"][0, 0, 0, 0] = value
    save_file(held, clip / "open_clip_model.safetensors")
    assert "the CLIP holds NaN or infinity in 1 of 86 weights, e.g. visual.conv1.weight" in refusal(clip, load_tower)


def test_a_clip_with_weights_missing_is_refused(clip: Path) -> None:
    rename(clip / "open_clip_model.safetensors", lambda key: None if "resblocks.1" in key else key)
    assert "the CLIP lacks 24 of 86 weights, e.g. transformer.resblocks.1." in refusal(clip, load_tower)


def test_a_clip_saved_in_parallel_loads_the_same(clip: Path, mini: Backbone) -> None:
    wanted = load_tower(Path(mini.clip.location)).model.state_dict()
    rename(clip / "open_clip_model.safetensors", lambda key: f"module.{key}")
    assert_same(load_tower(clip).model.state_dict(), wanted)


def test_a_clip_whose_architecture_is_unknown_is_refused_in_our_words(clip: Path) -> None:
    model_cfg(clip, "vision_cfg", patchsize=4)
    assert "can't load the model that open_clip_config.json describes" in refusal(clip, load_tower)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ViT-B-16-quickgelu", "has no weights ''"),
        ("ViT-B-16:openia", "openai"),
        ("ViT-B16:openai", "did you mean 'ViT-B-16'"),
    ],
)
def test_a_name_that_open_clip_does_not_know_is_refused(location: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_clip(ModelRef(location=location))


@pytest.mark.parametrize("length", [None, 10**30, 99, 12])
def test_prompts_have_the_text_encoders_length_whatever_the_tokenizer_says(length: int | None, sd: Path) -> None:
    change(sd / "tokenizer" / "tokenizer_config.json", model_max_length=... if length is None else length)
    model = load_sd(sd)
    with torch.no_grad():
        assert model.encode_prompts(["a photo of a three" * 20]).shape == (1, 16, 64)


def test_a_tokenizer_of_another_model_is_refused(sd: Path, clip: Path) -> None:
    for folder in (sd / "tokenizer", clip):
        content = json.loads((folder / "tokenizer.json").read_text())
        content["added_tokens"].append({**content["added_tokens"][0], "id": 612, "content": "seven"})
        (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "has 613 tokens, the encoder 612" in refusal(sd)
    with pytest.raises(UserError, match="gives token 612, the text tower has 612"):
        load_tower(clip).tokens(["seven"])


def test_a_square_pair_as_size_serves(sd: Path) -> None:
    unet(sd, sample_size=[8, 8])
    model = load_sd(sd)
    assert (model.resolution, model.latent_shape) == (32, (4, 8, 8))


def test_a_damaged_scheduler_is_refused_in_our_words(sd: Path) -> None:
    index(sd, scheduler=["diffusers", "DPMSolverMultistepScheduler"])
    change(sd / "scheduler" / "scheduler_config.json", algorithm_type="sde-dpmsolver")
    assert "the scheduler as DPMSolverMultistepScheduler" in refusal(sd)


def test_a_model_on_the_hub_is_looked_at_as_one_in_a_folder_is(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache, without the network."""
    from huggingface_hub import constants

    cache, commit = tmp_path / "hub", "0" * 40
    home = cache / "models--some--model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    unet(sd, in_channels=9)
    shutil.copytree(sd, home / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.HF_HUB_CACHE", str(cache), raising=False)
    with pytest.raises(UserError, match="an inpainting model"):
        load_diffusion(ModelRef(location="some/model"))
    unet(home / "snapshots" / commit, in_channels=4)
    assert load_diffusion(ModelRef(location="some/model")).resolution == 32
    with pytest.raises(UserError, match="can't load the diffusion model: it is not cached, and HF_HUB_OFFLINE"):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        load_diffusion(ModelRef(location="other/model"))
