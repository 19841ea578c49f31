"""The corpus: grey masks of printed glyphs, painted and captioned on the fly."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from pretrain.fonts import covers, faces

SIZE = 32  # pixels a side, the miniature's resolution
CANVAS = 96  # pixels a side while drawing
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUM_CLASSES = len(DIGITS) + len(LETTERS)
DIGIT_COPIES = 6  # drawings of each digit a face; letters get one a case

COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "grey": (0.5, 0.5, 0.5),
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.6, 0.2),
    "blue": (0.1, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.1),
    "orange": (0.95, 0.5, 0.1),
    "purple": (0.5, 0.15, 0.6),
    "pink": (0.95, 0.6, 0.75),
    "brown": (0.45, 0.25, 0.1),
    "cyan": (0.2, 0.8, 0.85),
}
NAMES = tuple(COLOURS)
PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)
LUMINANCE = PALETTE @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
MIN_CONTRAST = 0.35


@dataclass(frozen=True)
class Corpus:
    """Masks (n, 32, 32) uint8, labels (n,) int64 in 0..35, face index (n,) int64."""

    masks: np.ndarray
    labels: np.ndarray
    face: np.ndarray
    num_faces: int

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of training and of held-out drawings; every 20th face is held out whole."""
        held = self.face % 20 == 0
        return np.flatnonzero(~held), np.flatnonzero(held)


def draw_corpus(seed: int, cache: Path) -> Corpus:
    """Draw every glyph of every face with small rotation, shear, stretch, scale and shift; kept in `cache`."""
    if cache.exists():
        try:
            held = np.load(cache)
            return Corpus(held["masks"], held["labels"], held["face"], int(held["num_faces"]))
        except zipfile.BadZipFile:
            cache.unlink()
    rng = np.random.default_rng([seed, 1])
    usable = [face for face in faces() if covers(face, "0123456789" + LETTERS + LETTERS.upper())]
    masks, labels, owners = [], [], []
    for owner, path in enumerate(usable):
        font = ImageFont.truetype(str(path), size=72)
        todo = [(str(digit), digit) for digit in range(10)] * DIGIT_COPIES
        todo += [(c, 10 + i) for i, c in enumerate(LETTERS)] + [(c.upper(), 10 + i) for i, c in enumerate(LETTERS)]
        for text, label in todo:
            mask = draw_glyph(text, font, rng)
            if mask is not None:
                masks.append(mask)
                labels.append(label)
                owners.append(owner)
    corpus = Corpus(np.stack(masks), np.array(labels), np.array(owners), len(usable))
    np.savez_compressed(cache, masks=corpus.masks, labels=corpus.labels, face=corpus.face, num_faces=len(usable))
    return corpus


def draw_glyph(text: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator) -> np.ndarray | None:
    """One glyph as a (32, 32) uint8 mask, fitted to 55..98 % of the frame; None when the face draws nothing."""
    left, top, right, bottom = font.getbbox(text)
    if right - left < 3 or bottom - top < 3:
        return None
    glyph = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(glyph).text((-left, -top), text, fill=255, font=font)
    fit = CANVAS * rng.uniform(0.55, 0.98) / max(glyph.size)
    stretch = math.exp(rng.uniform(-0.2, 0.2))
    angle, shear = rng.uniform(-0.22, 0.22), rng.uniform(-0.25, 0.25)
    cos, sin = math.cos(angle), math.sin(angle)
    forward = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]]) @ np.diag([fit * stretch, fit])
    corners = forward @ (np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]]) * np.array(glyph.size)[:, None] / 2)
    spread = np.abs(corners).max(axis=1)
    forward *= min(1.0, (CANVAS / 2 - 1) / spread.max())
    room = np.maximum(0, CANVAS / 2 - np.minimum(spread, CANVAS / 2))
    centre = CANVAS / 2 + rng.uniform(-0.5, 0.5, size=2) * room
    inverse = np.linalg.inv(forward)
    offset = np.array(glyph.size) / 2 - inverse @ centre
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    drawn = glyph.transform((CANVAS, CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    mask = np.asarray(drawn.resize((SIZE, SIZE), Image.Resampling.BOX))
    return mask if mask.max() > 60 else None


@dataclass(frozen=True)
class Style:
    """How a batch is painted: colour indices (n,), stroke in -1..1 (thin..bold), side of the blur (0 is none)."""

    foreground: np.ndarray
    background: np.ndarray
    stroke: np.ndarray
    blur: np.ndarray

    def words(self, i: int) -> tuple[str, str, str]:
        """Foreground name, background name and an adjective ('' when nothing stands out)."""
        adjective = "blurred" if self.blur[i] else ""
        adjective = "bold" if self.stroke[i] > 0.5 else "thin" if self.stroke[i] < -0.5 else adjective
        return NAMES[self.foreground[i]], NAMES[self.background[i]], adjective


def draw_style(n: int, rng: np.random.Generator, colour: float = 1.0) -> Style:
    """Random styles; with probability 1 - `colour` black and white only."""
    pairs = np.argwhere(np.abs(LUMINANCE[:, None] - LUMINANCE[None, :]) > MIN_CONTRAST)
    plain = np.array([[0, 1], [1, 0]])
    chosen = pairs[rng.integers(len(pairs), size=n)]
    chosen = np.where((rng.random(n) < colour)[:, None], chosen, plain[rng.integers(2, size=n)])
    stroke = np.where(rng.random(n) < 0.5, rng.uniform(-1, 1, size=n), 0)
    blur = np.where(rng.random(n) < 0.35, rng.choice([8, 10, 12, 16], size=n), 0)
    return Style(chosen[:, 0], chosen[:, 1], stroke, blur)


def paint(masks: np.ndarray, style: Style, rng: np.random.Generator) -> Tensor:
    """Masks (n, 32, 32) uint8 as RGB images (n, 3, 32, 32) in [-1, 1]."""
    ink = torch.from_numpy(masks.astype(np.float32) / 255)[:, None]
    stroke = torch.from_numpy(style.stroke.astype(np.float32))[:, None, None, None]
    bold = F.max_pool2d(ink, 3, 1, 1)
    thin = -F.max_pool2d(-ink, 3, 1, 1)
    ink = torch.where(stroke > 0, ink + stroke * (bold - ink), ink - stroke * 0.6 * (thin - ink))
    for side in (8, 10, 12, 16):
        rows = torch.from_numpy(np.flatnonzero(style.blur == side))
        if len(rows):
            small = F.interpolate(ink[rows], size=(side, side), mode="area")
            ink[rows] = F.interpolate(small, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    ink = ink * torch.from_numpy(rng.uniform(0.8, 1, size=(len(masks), 1, 1, 1)).astype(np.float32))

    def colour(index: np.ndarray) -> Tensor:
        jitter = rng.uniform(-0.08, 0.08, size=(len(index), 3)).astype(np.float32)
        return torch.from_numpy(np.clip(PALETTE[index] + jitter, 0, 1))[:, :, None, None]

    back, front = colour(style.background), colour(style.foreground)
    image = back + (front - back) * ink
    grain = torch.from_numpy(rng.normal(0, 0.02, size=image.shape).astype(np.float32))
    return ((image + grain).clamp(0, 1) * 2 - 1).contiguous()


def name_of(label: int, rng: np.random.Generator) -> str:
    """One of a class's names: 'three', 'digit three', 'number three', '3', or 'letter a', 'a'."""
    if label < 10:
        word = DIGITS[label]
        return (word, word, f"digit {word}", f"number {word}", str(label))[rng.integers(5)]
    letter = LETTERS[label - 10]
    return (f"letter {letter}", letter)[rng.integers(2)]


def plain_caption(label: int, rng: np.random.Generator) -> str:
    """A caption that names only the class."""
    name = name_of(label, rng)
    return ("a photo of a {}", "a photo of a {}", "a photo of the {}", "a picture of a {}", "{}")[
        rng.integers(5)
    ].format(name)


def caption(label: int, words: tuple[str, str, str], rng: np.random.Generator) -> str:
    """A caption that may also name colours and stroke."""
    if rng.random() < 0.35:
        return plain_caption(label, rng)
    front, back, adjective = words
    name = name_of(label, rng)
    lead = f"{adjective} {front}" if adjective and rng.random() < 0.7 else front
    article = "an" if lead.startswith("o") else "a"
    form = rng.integers(3)
    if form == 0:
        return f"a photo of {article} {lead} {name}"
    if form == 1:
        return f"a photo of {article} {lead} {name} on {back}"
    return f"{article} {lead} {name} on {back}"


def batch(
    corpus: Corpus, index: np.ndarray, rng: np.random.Generator, colour: float = 1.0
) -> tuple[Tensor, np.ndarray, list[str]]:
    """Painted images (n, 3, 32, 32), labels (n,) and captions of the drawings `index`."""
    style = draw_style(len(index), rng, colour)
    images = paint(corpus.masks[index], style, rng)
    labels = corpus.labels[index]
    return images, labels, [caption(int(label), style.words(i), rng) for i, label in enumerate(labels)]
