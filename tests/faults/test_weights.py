"""Hostile weights: pickles and crafted safetensors in model folders and adapters. Typed errors, nothing run."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datadream import durable
from datadream.errors import UserError
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.headers import HEADER_MAX, check_file
from datadream.models.lora import Adapter, Merger, load_adapter, save_adapter
from datadream.models.presets import Backbone, ModelRef, load_backbone
from datadream.text import shown
from tests.faults.scale import record


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


def crafted(header: bytes | dict[str, object], data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def raw_tensor(shape: bytes, offsets: bytes) -> bytes:
    return b'{"dtype":"F32","shape":[%s],"data_offsets":[%s]}' % (shape, offsets)


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
SECOND = {**TENSOR, "data_offsets": [16, 32]}
# what is in the file, and what is said of it
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty or truncated"),
    "huge header length": (crafted({"a": TENSOR}, length=2**63), "header would be"),
    "header beyond the file": (crafted({"a": TENSOR}, length=10_000), "header would be 10,000"),
    "header over the cap": (crafted(b"{" + b" " * HEADER_MAX + b"}"), "header would be"),
    "overlapping": (crafted({"a": TENSOR, "b": {**TENSOR, "data_offsets": [8, 24]}}, b"\0" * 24), "overlap"),
    "aliased": (crafted({"a": TENSOR, "b": TENSOR}), "overlap"),
    "gap": (crafted({"a": {**TENSOR, "data_offsets": [16, 32]}}, b"\0" * 32), "gaps"),
    "beyond the data": (crafted({"a": {**TENSOR, "data_offsets": [0, 10**15]}}), "does not match"),
    "longer than it says": (crafted({"a": TENSOR}, b"\0" * 32), "longer than the file"),
    "cut": (crafted({"a": TENSOR, "b": SECOND}, b"\0" * 31), "longer than the file"),
    "negative": (crafted(b'{"a":' + raw_tensor(b"-4", b"0,16") + b"}"), "shape or offset"),
    "fraction": (crafted(b'{"a":' + raw_tensor(b"4.0", b"0,16") + b"}"), "shape or offset"),
    "shape overflow": (crafted({"a": {**TENSOR, "shape": [2**62, 2**62]}}), "does not match"),
    "many dimensions": (crafted({"a": {**TENSOR, "shape": [1] * 100_000}}), "shape or offset"),
    "unknown type": (crafted({"a": {**TENSOR, "dtype": "\x1b[2J"}}), "type is unknown"),
    "duplicate keys": (crafted(b'{"a":%s,"a":%s}' % ((raw_tensor(b"4", b"0,16"),) * 2)), "duplicate key"),
    "deep": (crafted(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "not JSON"),
    "long number": (crafted(b'{"a":' + raw_tensor(b"9" * 10_000, b"0,16") + b"}"), "not a valid"),
    "no json": (crafted(b"\xff" * 100), "not JSON"),
    "no table": (crafted(b"[1, 2]"), "not an object"),
    "no tensor": (crafted({"a": "x"}), "not a tensor"),
    "metadata that is no text": (crafted({"__metadata__": {"rank": 3}, "a": TENSOR}), "not all text"),
    "deep metadata": (crafted({"__metadata__": {"rank": {"rank": "3"}}, "a": TENSOR}), "not all text"),
    "a pickle": (pickle.dumps({"a": 1}), "header would be"),
    "a zip": (b"PK\x03\x04" + b"\0" * 100, "header would be"),
}  # fmt: skip


unpickled: list[object] = []
sys.addaudithook(lambda event, args: unpickled.append(args) if event == "pickle.find_class" else None)


@pytest.fixture(autouse=True)
def _nothing_is_unpickled() -> Iterator[None]:
    pickle.loads(pickle.dumps(Path("x")))
    assert unpickled  # the listener listens
    unpickled.clear()
    yield
    load_diffusion.cache_clear()
    load_clip.cache_clear()
    assert unpickled == []


def folder_of(mini: Backbone, part: str, tmp_path: Path) -> Path:
    location = mini.diffusion.location if part == "sd" else mini.clip.location
    return Path(shutil.copytree(location, tmp_path / part, dirs_exist_ok=True))


def load_both(sd: Path | None, clip: Path | None) -> list[str]:
    """What loading each says; every failure is a UserError."""
    said = []
    tries: list[tuple[Path | None, Callable[[ModelRef], object], str]] = [
        (sd, load_diffusion, "diffusion"),
        (clip, load_clip, "clip"),
    ]
    for folder, load, part in tries:
        if folder is not None:
            backbone = load_backbone("mini", **{part: str(folder)})
            load_diffusion.cache_clear()
            load_clip.cache_clear()
            try:
                load(getattr(backbone, part))
            except UserError as error:
                said.append(str(error))
    return said


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_safetensors_are_typed_errors(name: str, tmp_path: Path, mini: Backbone) -> None:
    data, words = HOSTILE[name]
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(UserError, match=words):
        load_adapter(adapter)
    seconds = time.monotonic() - began
    sd, clip = folder_of(mini, "sd", tmp_path), folder_of(mini, "clip", tmp_path)
    for folder in (sd / "unet", clip):
        next(folder.glob("*.safetensors")).write_bytes(data)
    said = load_both(sd, clip)
    assert len(said) == 2
    for text in said:
        assert "not a valid safetensors file" in text
        assert words in text
        assert ".safetensors" in text
        assert text == shown(text)
    record("hostile-safetensors", case=name, ms=round(1000 * seconds), outcome="typed error")


def test_our_own_weights_are_sound(mini: Backbone) -> None:
    for ref in (mini.diffusion, mini.clip):
        files = list(Path(ref.location).rglob("*.safetensors"))
        assert files
        for path in files:
            check_file(path)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth"])
def test_pickled_weights_are_never_opened(suffix: str, tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    zipped = io.BytesIO()
    torch.save({"x": Evil(canary)}, zipped)
    for payload in (pickle.dumps(Evil(canary)), zipped.getvalue()):
        for part in ("sd", "clip"):
            shutil.rmtree(tmp_path / part, ignore_errors=True)
        sd, clip = folder_of(mini, "sd", tmp_path), folder_of(mini, "clip", tmp_path)
        for path in [*sd.rglob("*.safetensors"), *clip.rglob("*.safetensors")]:
            path.with_suffix(suffix).write_bytes(payload)
            path.unlink()
        (clip / f"open_clip_pytorch_model{suffix}").write_bytes(payload)
        (clip / f"pytorch_model{suffix}").write_bytes(payload)
        (sd / "unet" / f"pytorch_model{suffix}").write_bytes(payload)
        assert len(load_both(sd, clip)) == 2
        assert not canary.exists()
    record("pickled-weights", suffix=suffix, payloads=2, outcome="typed error, nothing run")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth"])
def test_a_pickle_beside_good_weights_is_left_alone(suffix: str, tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    sd, clip = folder_of(mini, "sd", tmp_path), folder_of(mini, "clip", tmp_path)
    for path in [*sd.rglob("*.safetensors"), *clip.rglob("*.safetensors")]:
        path.with_suffix(suffix).write_bytes(pickle.dumps(Evil(canary)))
    assert load_both(sd, clip) == []
    assert not canary.exists()


MODEL_INDEX: list[dict[str, Any]] = [
    {"_class_name": ["pipeline", "Evil"]},
    {"_class_name": "Evil"},
    {"unet": ["evil", "Evil"]},
    {"unet": ["../evil", "Evil"]},
    {"unet": ["os", "system"]},
    {"scheduler": ["subprocess", "Popen"]},
    {"tokenizer": ["builtins", "exec"]},
    {"auto_map": {"AutoModel": "evil.Evil"}},
]


def code_that_marks(canary: Path) -> str:
    return f"from pathlib import Path\nPath({str(canary)!r}).touch()\nclass Evil: pass\n"


def test_code_beside_diffusion_weights_is_not_run(tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    sd = folder_of(mini, "sd", tmp_path)
    for name in ("pipeline.py", "evil.py", "unet/evil.py", "unet/modeling.py", "text_encoder/evil.py"):
        (sd / name).write_text(code_that_marks(canary))
    index = json.loads((sd / "model_index.json").read_text())
    for change in MODEL_INDEX:
        (sd / "model_index.json").write_text(json.dumps({**index, **change}))
        load_both(sd, None)
        assert not canary.exists(), change
    (sd / "model_index.json").write_text(json.dumps(index))
    text = json.loads((sd / "text_encoder" / "config.json").read_text())
    text |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (sd / "text_encoder" / "config.json").write_text(json.dumps(text))
    load_both(sd, None)
    assert not canary.exists()


@pytest.mark.parametrize("asking", [True, False], ids=["trusting itself", "asking for leave"])
def test_code_beside_a_clip_is_not_run_even_when_its_settings_say_so(
    asking: bool, tmp_path: Path, mini: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_clip hands a model's own `trust_remote_code` on; without one transformers asks, and hears yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    canary = tmp_path / "canary"
    clip = folder_of(mini, "clip", tmp_path)
    (clip / "evil.py").write_text(code_that_marks(canary))
    settings = json.loads((clip / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True} if asking else {}
    (clip / "open_clip_config.json").write_text(json.dumps(settings))
    tokenizer = json.loads((clip / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    (clip / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    said = load_both(None, clip)
    assert not canary.exists()
    assert len(said) == 1
    record("code-beside-weights", how="trust_remote_code" if asking else "asked for leave", outcome="nothing run")


def test_a_clip_whose_text_tower_is_code_is_refused(tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    clip, tower = folder_of(mini, "clip", tmp_path), tmp_path / "tower"
    tower.mkdir()
    (tower / "evil.py").write_text(code_that_marks(canary))
    auto = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
    (tower / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    settings = json.loads((clip / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["hf_model_name"] = str(tower)
    (clip / "open_clip_config.json").write_text(json.dumps(settings))
    assert len(load_both(None, clip)) == 1
    assert not canary.exists()


def pair(rank: int = 2, wide: int = 4, high: int = 3) -> dict[str, torch.Tensor]:
    return {"unet.x.lora_A.weight": torch.ones(rank, wide), "unet.x.lora_B.weight": torch.ones(high, rank)}


NO_ADAPTERS: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
    "no tensors": ({}, {"rank": "2", "alpha": "2"}),
    "half a pair": ({"unet.x.lora_A.weight": torch.ones(2, 4)}, {"rank": "2", "alpha": "2"}),
    "only high": ({"unet.x.lora_B.weight": torch.ones(4, 2)}, {"rank": "2", "alpha": "2"}),
    "another rank": (pair(3), {"rank": "2", "alpha": "2"}),
    "rank zero": (pair(), {"rank": "0", "alpha": "2"}),
    "rank missing": (pair(), {"alpha": "2"}),
    "rank that is code": (pair(), {"rank": "__import__('os')", "alpha": "2"}),
    "infinite alpha": (pair(), {"rank": "2", "alpha": "inf"}),
    "not a number": ({**pair(), "unet.x.lora_A.weight": torch.full((2, 4), float("nan"))}, {"rank": "2", "alpha": "2"}),
    "a stray tensor": ({**pair(), "unet.conv.weight": torch.ones(2)}, {"rank": "2", "alpha": "2"}),
    "a vector": ({**pair(), "unet.x.lora_A.weight": torch.ones(2)}, {"rank": "2", "alpha": "2"}),
}


@pytest.mark.parametrize("name", NO_ADAPTERS)
def test_what_is_no_adapter_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    durable.write_safetensors(path, *NO_ADAPTERS[name])
    with pytest.raises(UserError, match="can't read an adapter"):
        load_adapter(path)


def test_an_adapter_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3))
    before = layer[0].weight.detach().clone()
    path = tmp_path / "adapter.safetensors"
    for tensors, words in ((pair(wide=5), "does not match"), (pair(), "a part this model lacks")):
        named = {key.replace("x", "0" if "match" in words else "y"): value for key, value in tensors.items()}
        save_adapter(path, Adapter(named, 2, 2.0), {})
        with pytest.raises(UserError, match=words):
            Merger({"unet": layer}).merge(load_adapter(path))
        assert torch.equal(layer[0].weight, before)


def test_metadata_is_text_and_nothing_more(tmp_path: Path) -> None:
    evil = {"rank": "\x1b[2J../../x", "alpha": "<script>"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(crafted({"__metadata__": evil, "unet.x.lora_A.weight": TENSOR}))
    with pytest.raises(UserError) as caught:
        load_adapter(path)
    assert "\x1b" not in shown(str(caught.value))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors"]
