"""The model card beside the weights: what they were made of, how well they did, and a picture of their samples."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from pretrain.corpus import DIGITS, Corpus
from pretrain.fonts import PACKAGES, licences

PROMPTS = (
    *(f"a photo of a {name}" for name in DIGITS),
    *(f"a photo of a white {name} on black" for name in DIGITS),
    *(f"a photo of a bold red {name} on yellow" for name in DIGITS),
    *(f"a photo of a letter {letter}" for letter in "abdefghkqr"),
)
ROWS_EACH, CELL = 2, 48


def write_card(out: Path, corpus: Corpus, log: Path, seed: int) -> None:
    """Write `README.md` and `samples.png` into `out`; measures from `log` (one JSON object a line)."""
    measures: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        measures |= json.loads(line)
    samples(out / "sd", seed).save(out / "samples.png")
    sizes = {path.relative_to(out).as_posix(): path.stat().st_size for path in sorted(out.rglob("*.safetensors"))}
    lines = [
        "# The miniature: a 32-pixel Stable Diffusion and CLIP",
        "",
        "Made for rehearsing DataDream on a laptop and for its built-in demonstration. Trained on printed glyphs only:",
        "digits and letters of text fonts, with colours, small rotations, shear, stretch, stroke and blur.",
        "**It has never seen handwriting**, and no image of the handwritten digits was used to train, choose or stop",
        "anything here.",
        "",
        f"- `sd/`: a diffusers `StableDiffusionPipeline` folder (UNet stored in half precision), seed {seed}",
        "- `clip/`: an open_clip folder; its text tower was the start of the text encoder in `sd/`",
        "- licence: Apache-2.0, as the code that made them; the fonts themselves are not included",
        "",
        "## Sizes",
        "",
        *(f"- `{name}`: {size / 1e6:.2f} MB" for name, size in sizes.items()),
        f"- together: {sum(sizes.values()) / 1e6:.2f} MB",
        "",
        "## Corpus",
        "",
        f"{len(corpus.masks):,} drawings of {corpus.num_faces} faces; every 20th face is held out whole.",
        "Faces that imitate handwriting and symbol faces were left out by name.",
        "",
        "## Measured on held-out printed faces",
        "",
        *(
            f"- {name.replace('_', ' ')}: {value:.4g}"
            for name, value in measures.items()
            if not name.endswith("_seconds")
        ),
        "",
        "## Time",
        "",
        "Seconds each part took on 2 cores (shared with other work):",
        "",
        *(
            f"- {name.removesuffix('_seconds')}: {value:.0f}"
            for name, value in measures.items()
            if name.endswith("_seconds")
        ),
        "",
        "## Samples",
        "",
        "![samples](samples.png)",
        "",
        "Two rows a prompt form: plain names, white on black, bold red on yellow, letters. 20 steps, guidance 2.0.",
        "",
        "## Limits",
        "",
        "32 x 32 pixels; 36 printed classes; a few colour and stroke words; prompts of 16 tokens. Other words",
        "mean nothing to it. Results with it say how the method behaves in miniature, not what Stable Diffusion",
        "would do.",
        "",
        "## Make it again",
        "",
        "`make pretrain-fonts pretrain` on Debian 12 (about an hour on 2 cores).",
        "",
        "## Font packages and their licences",
        "",
        *(f"- {package}: {', '.join(licences(package))}" for package in PACKAGES),
        "",
    ]
    (out / "README.md").write_text("\n".join(lines), encoding="utf-8")


def samples(folder: Path, seed: int) -> Image.Image:
    """PROMPTS drawn by the finished pipeline, ten columns."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    rows = len(PROMPTS) // 10
    sheet = Image.new("RGB", (10 * CELL, rows * ROWS_EACH * CELL), "white")
    ImageDraw.Draw(sheet)
    for copy in range(ROWS_EACH):
        draw = torch.Generator().manual_seed(seed + copy)
        images = pipe(list(PROMPTS), num_inference_steps=20, guidance_scale=2.0, generator=draw).images
        for i, image in enumerate(images):
            row, column = divmod(i, 10)
            sheet.paste(image.resize((CELL, CELL)), (column * CELL, (row * ROWS_EACH + copy) * CELL))
    return sheet
