"""Hostile weights: pickles and crafted safetensors in model folders and adapters. Typed errors, nothing run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch

from datadream.errors import UserError
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.lora import load_adapter
from datadream.models.presets import Backbone, load_backbone
from tests.faults.scale import record


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


def crafted(header: bytes | dict[str, object], data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
HOSTILE = {
    "empty": b"",
    "huge header length": crafted({"a": TENSOR}, length=2**63),
    "header beyond the file": crafted({"a": TENSOR}, length=10_000),
    "header over the cap": crafted({"a": TENSOR}, length=100 << 20) + b" " * 1000,
    "overlapping": crafted({"a": TENSOR, "b": {**TENSOR, "data_offsets": [8, 24]}}),
    "beyond the data": crafted({"a": {**TENSOR, "data_offsets": [0, 10**15]}}),
    "negative": crafted(b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}'),
    "shape overflow": crafted({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}}),
    "duplicate keys": crafted(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}'),  # noqa: E501
    "deep": crafted(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "no json": crafted(b"\xff" * 100),
    "metadata that is no text": crafted({"__metadata__": {"rank": 3}, "a": TENSOR}),
    "a pickle": pickle.dumps({"a": 1}),
    "a zip": b"PK\x03\x04" + b"\0" * 100,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _forget_models() -> object:
    yield
    load_diffusion.cache_clear()
    load_clip.cache_clear()


def folder_of(mini: Backbone, part: str, tmp_path: Path) -> Path:
    location = mini.diffusion.location if part == "sd" else mini.clip.location
    return Path(shutil.copytree(location, tmp_path / part))


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_safetensors_are_typed_errors(name: str, tmp_path: Path, mini: Backbone) -> None:
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(HOSTILE[name])
    began = time.monotonic()
    with pytest.raises(UserError, match="can't read an adapter"):
        load_adapter(adapter)
    seconds = time.monotonic() - began
    sd = folder_of(mini, "sd", tmp_path)
    weights = next((sd / "unet").glob("*.safetensors"))
    weights.write_bytes(HOSTILE[name])
    with pytest.raises(UserError, match="can't load the diffusion model"):
        load_diffusion(load_backbone("mini", diffusion=str(sd)).diffusion)
    clip = folder_of(mini, "clip", tmp_path)
    next(clip.glob("*.safetensors")).write_bytes(HOSTILE[name])
    with pytest.raises(UserError, match="can't load the CLIP model"):
        load_clip(load_backbone("mini", clip=str(clip)).clip)
    record("hostile-safetensors", case=name, adapter_ms=round(1000 * seconds), outcome="typed error")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth"])
def test_pickled_weights_are_never_opened(suffix: str, tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    evil = pickle.dumps(Evil(canary))
    zipped = tmp_path / "zipped"
    torch.save({"x": Evil(canary)}, zipped)
    for payload in (evil, zipped.read_bytes()):
        for part in ("sd", "clip"):
            shutil.rmtree(tmp_path / part, ignore_errors=True)
        sd, clip = folder_of(mini, "sd", tmp_path), folder_of(mini, "clip", tmp_path)
        for path in [*sd.rglob("*.safetensors"), *clip.rglob("*.safetensors")]:
            path.with_suffix(suffix).write_bytes(payload)
            path.unlink()
        (clip / f"open_clip_pytorch_model{suffix}").write_bytes(payload)
        with pytest.raises(UserError, match="can't load the diffusion model"):
            load_diffusion(load_backbone("mini", diffusion=str(sd)).diffusion)
        with pytest.raises(UserError, match="can't load the CLIP model"):
            load_clip(load_backbone("mini", clip=str(clip)).clip)
        assert not canary.exists()
    record("pickled-weights", suffix=suffix, payloads=2, outcome="typed error, nothing run")


def test_code_beside_the_weights_is_not_run(tmp_path: Path, mini: Backbone) -> None:
    canary = tmp_path / "canary"
    sd = folder_of(mini, "sd", tmp_path)
    code = f"from pathlib import Path\nPath({str(canary)!r}).touch()\nclass Evil: pass\n"
    for name in ("pipeline.py", "evil.py", "unet/evil.py", "unet/modeling.py"):
        (sd / name).write_text(code)
    index = json.loads((sd / "model_index.json").read_text())
    for change in (
        {"_class_name": ["pipeline", "Evil"]},
        {"unet": ["evil", "Evil"]},
        {"auto_map": {"AutoModel": "evil.Evil"}},
    ):
        (sd / "model_index.json").write_text(json.dumps({**index, **change}))
        load_diffusion.cache_clear()
        try:
            load_diffusion(load_backbone("mini", diffusion=str(sd)).diffusion)
        except UserError as error:
            assert "can't load" in str(error) or "has no" in str(error)
        assert not canary.exists()


def test_metadata_is_text_and_nothing_more(tmp_path: Path) -> None:
    from datadream.text import shown

    evil = {"rank": "\x1b[2J../../x", "alpha": "<script>"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(crafted({"__metadata__": evil, "unet.x.lora_A.weight": TENSOR}, b"\0" * 16))
    with pytest.raises(UserError) as caught:
        load_adapter(path)
    assert "\x1b" not in shown(str(caught.value))
