"""Times each fast path against the plain one on the mini models and checks that both give the same result.

Prints the median ratio of five pairs; the machine's noise is in the range beside it. Nothing is asserted on time.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from datadream.data.shots import make_shot_set
from datadream.data.source import open_source
from datadream.models import runtime
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.lora import Adapter, Merger
from datadream.models.presets import load_backbone
from datadream.stages.adapt import draw_latents, encode_shots, normalised, squares
from datadream.stages.generate import PNG_LEVEL
from datadream.stages.settings import AdaptSettings

PAIRS = 5
MINI = load_backbone("mini")


def compare(name: str, plain: Callable[[], object], fast: Callable[[], object], parity: str) -> None:
    """Run the two in turn and print plain / fast."""
    plain()
    fast()
    ratios = []
    for _ in range(PAIRS):
        times = []
        for run in (plain, fast):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        ratios.append(times[0] / times[1])
    print(f"{name:<52} {statistics.median(ratios):7.1f}x  [{min(ratios):.1f}, {max(ratios):.1f}]  {parity}")


def swap_adapter() -> None:
    """Merging in place against loading the pipeline again."""
    sd = load_diffusion(MINI.diffusion)
    merger = Merger({"unet": sd.unet, "text_encoder": sd.text_encoder})
    tensors = {}
    for path, module in sd.unet.named_modules():
        if path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            out, width = module.weight.shape
            tensors[f"unet.{path}.lora_A.weight"] = runtime.normal((16, width), "bench", 0, path)
            tensors[f"unet.{path}.lora_B.weight"] = runtime.normal((out, 16), "bench", 1, path)
    adapter = Adapter(tensors, 16, 16.0)
    before = {name: value.clone() for name, value in sd.unet.state_dict().items()}
    merger.merge(adapter)
    merger.restore()
    assert all(torch.equal(before[name], value) for name, value in sd.unet.state_dict().items())
    load = load_diffusion.__wrapped__
    compare(
        "swap an adapter: merge in place vs load again",
        lambda: load(MINI.diffusion),
        lambda: merger.merge(adapter),
        "restored weights equal",
    )
    merger.restore()


def latent_cache() -> None:
    """Drawing latents from cached moments against encoding the images."""
    sd = load_diffusion(MINI.diffusion)
    shots = make_shot_set(open_source("digits"), 4, 1, check="used")
    moments = encode_shots(sd, shots, AdaptSettings(), 1, Path(tempfile.gettempdir()))
    from datadream.data.shots import open_shots

    images = [image for _, image in open_shots(shots, "train")][:16]

    def encode() -> torch.Tensor:
        cuts = [normalised(squares(image, sd.resolution, "center", torch.Generator())[0]) for image in images]
        with torch.no_grad():
            return sd.moments(torch.stack(cuts))

    gap = (encode() - moments.values[:16]).abs().max().item()
    assert gap < 1e-4
    draw = torch.Generator().manual_seed(0)
    compare(
        "a step's latents: cached moments vs encoding",
        encode,
        lambda: draw_latents(moments, list(range(16)), draw),
        f"moments differ by {gap:.0e}",
    )


def text_length() -> None:
    """Prompts cut to the longest against padded to the context length."""
    clip = load_clip(MINI.clip)
    prompts = [f"a photo of a {name}" for name in ("zero", "one", "two", "three", "four") * 20]
    short, full = clip.tokens(prompts), clip.tokenizer(prompts)
    with torch.no_grad():
        gap = (clip.encode_text(short) - clip.model.encode_text(full, normalize=True)).abs().max().item()
        assert gap < 1e-5
        compare(
            "100 prompts: cut to the longest vs padded to 16",
            lambda: clip.model.encode_text(full),
            lambda: clip.encode_text(short),
            f"features differ by {gap:.0e}",
        )


def png_level() -> None:
    """PNG at our level against Pillow's default, on a 512-pixel image with a photograph's spectrum."""
    noise = torch.fft.rfft2(runtime.normal((3, 512, 512), "bench", 2))
    rows, columns = torch.fft.fftfreq(512)[:, None], torch.fft.rfftfreq(512)[None]
    smooth = torch.fft.irfft2(noise / (rows.square() + columns.square()).sqrt().clamp(min=1 / 512))
    image = Image.fromarray(
        ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    )

    def save(level: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=level)
        return buffer.getvalue()

    assert Image.open(io.BytesIO(save(PNG_LEVEL))).tobytes() == image.tobytes()
    compare("write a 512 px PNG: level 1 vs the default 6", lambda: save(6), lambda: save(PNG_LEVEL), "pixels equal")


if __name__ == "__main__":
    for benchmark in (swap_adapter, latent_cache, text_length, png_level):
        benchmark()
