"""LoRA reaches what the recipe names in every attention of both towers, with a gradient, or the run is refused."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from datadream import durable
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.models.attention import SplitAttention, attentions, reach, split_attention
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.lora import Lora, load_adapter
from datadream.models.presets import Backbone, ModelRef
from datadream.stages import adapt as adapting
from datadream.stages.classify import classify
from datadream.stages.loop import Loop, Schedule
from datadream.stages.settings import ClassifySettings
from datadream.stages.task import Task
from tests.test_models_folders import ref_to

ALL = ("q", "k", "v", "out")
TOWERS = {
    "vit_tiny_patch16_224": {"depth": 2},
    "vit_base_patch16_siglip_224": {"depth": 2},
    "eva02_tiny_patch14_224": {"depth": 2},
    "eva_giant_patch14_224": {"depth": 1, "embed_dim": 88, "num_heads": 2},
    "vit_pe_core_tiny_patch16_384": {"depth": 2},
    "vit_relpos_small_patch16_224": {"depth": 2},
    "swin_tiny_patch4_window7_224": {},
    "fastvit_t8": {},
    "fastvit_sa12": {},
}
UNREACHED = {
    "swinv2_cr_tiny_224": "WindowMultiHeadAttention",
    "levit_128s": "Attention",
    "convnext_atto": "no attention",
}


def tower(name: str, **values: Any) -> nn.Module:
    """A timm tower with weights large enough to tell outputs apart."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **values).eval()
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1 or key.endswith(("q_bias", "v_bias", "qkv.bias")):
            parameter.data.normal_(std=0.1)
    return model


@pytest.mark.parametrize("name", [name for name in TOWERS if name != "fastvit_t8"])
def test_a_fused_tower_is_split_with_equal_outputs(name: str) -> None:
    model = tower(name, **TOWERS[name])
    x = torch.randn(1, *model.default_cfg["input_size"])
    with torch.no_grad():
        before = model(x)
        split_attention(model)
        after = model(x)
    assert torch.allclose(before, after, atol=1e-5 * before.abs().max().item())
    paths = reach({"image tower": model}, ALL)["image tower"]
    assert len(paths) == 4 * len(list(attentions(model))) == len(set(paths)) > 0
    assert all(isinstance(model.get_submodule(path), nn.Linear) for path in paths)


@pytest.mark.parametrize("name", UNREACHED)
def test_a_tower_of_another_kind_is_refused_with_counts(name: str) -> None:
    model = timm.create_model(name, num_classes=7)
    split_attention(model)
    count = len(list(attentions(model)))
    with pytest.raises(UserError, match=rf"image tower 0 of {count} \(.*{UNREACHED[name]}"):
        reach({"image tower": model, "text tower": nn.Sequential()}, ["q"])


def test_a_split_attention_of_other_widths_equals_the_fused_one() -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(12, 3, kdim=8, vdim=8, batch_first=True)
    for bias in (fused.in_proj_bias, fused.out_proj.bias):
        nn.init.normal_(bias)
    q, x = torch.randn(2, 4, 12), torch.randn(2, 5, 8)
    mask = torch.randn(2 * 3, 4, 5)
    assert torch.allclose(SplitAttention(fused)(q, x, x)[0], fused(q, x, x)[0], atol=1e-6)
    assert torch.allclose(
        SplitAttention(fused)(q, x, x, attn_mask=mask)[0], fused(q, x, x, attn_mask=mask)[0], atol=1e-6
    )


def clip_with(clip: Path, **sections: dict[str, Any] | None) -> ModelRef:
    """The mini CLIP's folder with other towers, of random weights."""
    path = clip / "open_clip_config.json"
    content = json.loads(path.read_text())
    for key, values in sections.items():
        content["model_cfg"][key] = values
    path.write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{clip}", load_weights=False, pretrained_text=False)
    held = load_file(clip / "open_clip_model.safetensors")
    save_file(
        {
            key: (held[key] if key in held and held[key].shape == value.shape else value.nan_to_num())
            .contiguous()
            .clone()
            for key, value in model.state_dict().items()
        },
        clip / "open_clip_model.safetensors",
    )
    load_clip.cache_clear()
    return ref_to(clip)


@pytest.fixture
def clip(tmp_path: Path, mini: Backbone) -> Path:
    return Path(shutil.copytree(mini.clip.location, tmp_path / "clip"))


VIT = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
BERT = {
    "model_type": "roberta",
    "vocab_size": 700,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
MT5 = {
    "model_type": "mt5",
    "vocab_size": 700,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "pad_token_id": 0,
}


def text_tower(clip: Path, config: dict[str, Any]) -> dict[str, Any]:
    folder = clip.parent / "text"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": "here",
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "context_length": 16,
    }


@pytest.mark.parametrize("kind", ["timm", "custom", "bert", "mt5", "coca"])
def test_both_towers_learn_whatever_they_are_made_of(kind: str, clip: Path, two_shots: ShotSet, tmp_path: Path) -> None:
    sections: dict[str, Any] = {}
    content = json.loads((clip / "open_clip_config.json").read_text())["model_cfg"]
    if kind == "timm":
        sections = {"vision_cfg": VIT}
    elif kind == "custom":
        sections = {"custom_text": True}
    elif kind == "coca":
        pooled = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
        sections = {
            "vision_cfg": {**content["vision_cfg"], **pooled},
            "text_cfg": {**content["text_cfg"], "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {"context_length": 16, "vocab_size": 612, "width": 64, "heads": 2, "layers": 1},
            "custom_text": True,
        }
    else:
        sections = {"text_cfg": text_tower(clip, {"bert": BERT, "mt5": MT5}[kind])}
    ref = clip_with(clip, **sections)
    settings = ClassifySettings(
        steps=2, batch_size=4, augment="none", mix=0, evaluate="val", learning_rate=1e-2, targets=ALL, warmup=0, rank=2
    )
    out = durable.make_dir(tmp_path / "out")
    few = two_shots.model_copy(update={"val": two_shots.val[:4]})
    checkpoint = durable.make_dir(tmp_path / "c")
    classify(Task(settings, out, checkpoint, model=ref, shots=few, data="real", images_per_class=4))
    tensors = load_adapter(out / "classifier.safetensors").tensors
    high = {name: bool(value.any()) for name, value in tensors.items() if "lora_B" in name}
    expected = {
        "timm": (4 * 12, 4 * 2),
        "custom": (4 * 4, 4 * 2),
        "bert": (4 * 4, 4 * 2),
        "mt5": (4 * 4, 4 * 2),
        "coca": (4 * 5, 4 * 2),
    }[kind]
    visual = sum(name.startswith("clip.visual.") for name in high)
    assert (visual, len(high) - visual) == expected
    assert all(high.values()), [name for name, moved in high.items() if not moved]
    assert (out / "scores.json").exists()


def test_a_resnet_trains_nothing_and_says_so_with_counts(clip: Path, two_shots: ShotSet, tmp_path: Path) -> None:
    ref = clip_with(clip, vision_cfg={"layers": [1, 1, 1, 1], "width": 8, "image_size": 32})
    out = durable.make_dir(tmp_path / "out")
    few = two_shots.model_copy(update={"val": two_shots.val[:4]})
    with pytest.raises(UserError, match=r"image tower 0 of 1 \(AttentionPool2d\), text tower 2 of 2"):
        classify(
            Task(ClassifySettings(steps=1, evaluate="val"), out, tmp_path / "c", model=ref, shots=few, data="real")
        )
    classify(Task(ClassifySettings(evaluate="val"), out, tmp_path / "c", model=ref, shots=few))
    assert (out / "scores.json").exists()


@pytest.mark.parametrize("targets", [("q",), ("k", "out"), ALL])
def test_every_attention_of_stable_diffusion_is_reached(targets: tuple[str, ...], mini: Backbone) -> None:
    sd = load_diffusion(mini.diffusion)
    found = reach({"UNet": sd.unet, "text encoder": sd.text_encoder}, targets)
    blocks = sum(type(module).__name__ == "Attention" for module in sd.unet.modules())
    assert blocks > 10
    assert {name: len(paths) for name, paths in found.items()} == {
        "UNet": blocks * len(targets),
        "text encoder": 2 * len(targets),
    }
    lora = Lora({"unet": (sd.unet, found["UNet"])}, rank=2, alpha=2)
    assert len(lora.parameters) == 2 * blocks * len(targets)
    lora.detach()


def test_an_unreached_part_of_the_generator_ends_adaptation(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd = copy.deepcopy(load_diffusion(mini.diffusion))  # whoever loads it next gets the whole one
    sd.text_encoder.encoder.layers[1].self_attn = nn.MultiheadAttention(64, 2)
    monkeypatch.setattr(adapting, "load_diffusion", lambda _: sd)
    with pytest.raises(UserError, match=r"text encoder 1 of 2 \(MultiheadAttention\)"):
        adapting.adapt(
            Task(adapting.AdaptSettings(steps=1), tmp_path, tmp_path / "c", model=mini.diffusion, shots=two_shots)
        )


def test_an_adapter_without_a_gradient_is_refused_at_the_first_step(tmp_path: Path) -> None:
    """A module may hold an adapter and yet read its base weight directly."""
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    loop = Loop(
        {"a": used, "b": unused}, Schedule(2, 1e-3, 0), weight_decay=0, max_grad_norm=1, checkpoint=tmp_path,
        blame=lambda what, where: UserError(f"{what} {where}"),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"1 of 2 adapter tensors get no gradient, e\.g\. b"):
        loop.update((used * 2).sum())
