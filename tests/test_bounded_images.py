"""What is held of images, and what is made of one, is bounded; ordinary images come out as they always did."""

from __future__ import annotations

import gc
import io
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from datadream.data import decode as decoding
from datadream.data import shots as drawing
from datadream.data.decode import BadImage, decode
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.errors import UserError
from datadream.jobs.failures import _judge
from datadream.models.presets import Backbone
from datadream.stages import moments, pixels
from datadream.stages.adapt import CROPS, adapt, squares
from datadream.stages.classify import make_pool
from datadream.stages.moments import MomentStore
from datadream.stages.pixels import CHAINS, ENLARGED_BYTES, PIXEL_BYTES, ImageBank, fit, training_batch
from datadream.stages.settings import AdaptSettings, ClassifySettings
from datadream.stages.task import Task

STRIPS = [(1, 300_000), (300_000, 1), (2, 40_000), (40_000, 2), (3, 9_000), (1, 1), (1, 7), (7, 1)]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def ramp(width: int, height: int) -> Image.Image:
    """Dark at the beginning of its longer side, light at the end."""
    line = np.linspace(0, 255, max(width, height)).astype(np.uint8)
    grid = np.broadcast_to(line[:, None] if height > width else line[None, :], (height, width))
    return Image.fromarray(np.repeat(grid[..., None], 3, axis=2))


def whole_first(image: Image.Image, side: int) -> torch.Tensor:
    """CLIP's transform as it is written down: resize everything, cut the centre."""
    scale = side / min(image.size)
    width, height = max(side, round(image.width * scale)), max(side, round(image.height * scale))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return vision.pil_to_tensor(image.crop((left, top, left + side, top + side)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 48))
def test_ordinary_images_are_fitted_to_the_byte_as_before(width: int, height: int, side: int) -> None:
    image = noise(width, height)
    assert torch.equal(fit(image, side), whole_first(image, side))
    (square,) = squares(image, side, "center", torch.Generator())
    scale = side / min(image.size)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    expected = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
    assert square.tobytes() == expected.tobytes()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every image that a resize makes from here on."""
    found: list[int] = []
    resize = Image.Image.resize

    def counted(self: Image.Image, size: tuple[int, int], *rest: Any, **named: Any) -> Image.Image:
        found.append(PIXEL_BYTES * size[0] * size[1])
        return resize(self, size, *rest, **named)

    monkeypatch.setattr(Image.Image, "resize", counted)
    return found


@pytest.mark.parametrize("size", STRIPS, ids=str)
@pytest.mark.parametrize("side", [32, 512])
def test_a_strip_is_cut_before_it_is_enlarged(size: tuple[int, int], side: int, made: list[int]) -> None:
    image = ramp(*size)
    assert fit(image, side).shape == (3, side, side)
    assert {cut.size for cut in squares(image, side, "center", torch.Generator())} == {(side, side)}
    cuts = squares(image, side, "random", torch.Generator().manual_seed(1))
    assert len(cuts) == (1 if size[0] == size[1] else CROPS)
    assert {cut.size for cut in cuts} == {(side, side)}
    assert max(made) <= ENLARGED_BYTES
    if max(size) > 1000:
        assert abs(float(fit(image, side).float().mean()) - 127.5) < 3  # the middle of the strip
        lightness = [float(np.asarray(cut).mean()) for cut in cuts]
        assert max(lightness) - min(lightness) > 60  # and all along it


@pytest.mark.parametrize("size", [(3, 40), (40, 3), (10, 90)], ids=str)
def test_cut_first_and_enlarged_first_agree(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = ramp(*size)
    whole = fit(image, 32)
    spots = squares(image, 32, "random", torch.Generator().manual_seed(3))
    monkeypatch.setattr(pixels, "ENLARGED_BYTES", 0)
    assert (fit(image, 32).int() - whole.int()).abs().max() <= 6
    for one, other in zip(squares(image, 32, "random", torch.Generator().manual_seed(3)), spots, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).mean() < 3


@pytest.mark.parametrize("augment", ["none", "affine", *CHAINS])
def test_every_augmentation_takes_any_shape(augment: str, made: list[int]) -> None:
    images = [(str(size), ramp(*size)) for size in STRIPS]
    assert training_batch(images, augment, 32, 1, 0).shape == (len(STRIPS), 3, 32, 32)
    assert max(made, default=0) <= ENLARGED_BYTES


def test_a_batch_is_never_held_as_a_whole() -> None:
    alive: list[int] = []

    def readers() -> Any:
        for i in range(12):
            gc.collect()
            alive.append(
                sum(issubclass(type(found), Image.Image) and found.size == (61, 67) for found in gc.get_objects())
            )
            yield str(i), noise(61, 67)

    training_batch(readers(), "crop", 16, 1, 0)
    assert max(alive) <= 2


@pytest.fixture
def photos(tmp_path: Path) -> ShotSet:
    """Two classes of pictures that aren't square, two shots each."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            noise(43 + 7 * label + i, 71 + 3 * i).save(tmp_path / "photos" / name / f"{i}.png")
    return make_shot_set(open_source(str(tmp_path / "photos")), 2, 1)


def held() -> int:
    """Bytes of the decoded pictures of `photos` that are alive."""
    gc.collect()
    found = [image for image in gc.get_objects() if issubclass(type(image), Image.Image)]
    return sum(PIXEL_BYTES * image.width * image.height for image in found if image.height >= 71)


@pytest.mark.parametrize("most", [0, 15_000, 30_000, 2 << 30])
def test_shots_are_held_up_to_a_bound_and_read_again_beyond(
    most: int, photos: ShotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [image.tobytes() for _, image in zip(photos.train, make_images(photos), strict=True)]
    before = held()
    monkeypatch.setattr(pixels, "KEEP_BYTES", most)
    pool = make_pool(real_only(photos))
    assert held() - before == pool.images.held <= most
    assert (pool.images.held == 0) == (most == 0)
    for _ in range(2):
        assert [pool.images[i].tobytes() for i in range(4)] == expected
    assert pool.names == [ref.key for ref in photos.train]


def real_only(photos: ShotSet) -> Task[ClassifySettings]:
    return Task(ClassifySettings(), Path(), Path(), shots=photos, data="real", images_per_class=4)


def make_images(photos: ShotSet) -> list[Image.Image]:
    root = Path(photos.source["path"])
    return [decode((root / ref.key).read_bytes(), ref.key) for ref in photos.train]


def test_a_shot_that_changed_is_told_before_and_during_the_training(
    photos: ShotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "KEEP_BYTES", 0)
    pool = make_pool(real_only(photos))
    noise(9, 9).save(Path(photos.source["path"]) / photos.train[2].key)
    with pytest.raises(UserError, match=f"{photos.train[2].key} changed after the set"):
        pool.images[2]
    with pytest.raises(UserError, match=f"{photos.train[2].key} changed after the set"):
        make_pool(real_only(photos))


def test_moments_beyond_the_bound_lie_on_the_disk_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(20, 4, 3, 3)
    rows[5, 0, 0, 0], rows[15, 0, 0, 0] = float("nan"), -0.0
    size = rows[0].numel() * 4
    monkeypatch.setattr(moments, "MOMENTS_BYTES", 8 * size + 5)
    store = MomentStore(tmp_path)
    for row in rows:
        store.append(row)
    assert store.held == 8 * size <= moments.MOMENTS_BYTES
    kept = sum(tensor.untyped_storage().nbytes() for tensor in store._kept)
    assert kept == store.held
    picks = [19, 0, 7, 8, 15, 15, 5]
    assert store[picks].numpy().tobytes() == rows[picks].numpy().tobytes()
    assert list(tmp_path.iterdir()) == []  # a file without a name: nothing is left behind, whatever happens


def test_an_adapter_is_the_same_however_little_is_held(
    photos: ShotSet, mini: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = AdaptSettings(steps=3, batch_size=2, warmup_steps=1, learning_rate=1e-3)
    found = []
    for name, most in (("all", 1 << 30), ("none", 0)):
        monkeypatch.setattr(moments, "MOMENTS_BYTES", most)
        for folder in (tmp_path / name, tmp_path / f"{name}-checkpoint"):
            folder.mkdir()
        adapt(Task(wanted, tmp_path / name, tmp_path / f"{name}-checkpoint", model=mini.diffusion, shots=photos))
        found.append((tmp_path / name / "adapter.safetensors").read_bytes())
    assert found[0] == found[1]


def test_the_image_that_memory_is_short_for_is_named(photos: ShotSet, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    noise(9, 9).save(buffer, "PNG")

    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", short)
    with pytest.raises(BadImage, match=r"not enough memory for this image \(cat/x.png\)") as caught:
        decode(buffer.getvalue(), "cat/x.png")
    kind, text, _ = _judge(caught.value, Path())
    assert kind == "infrastructure"
    assert text.startswith("out of memory: not enough memory for this image (cat/x.png)")
    with pytest.raises(BadImage, match=r"12 images can.t be used: cat/2.png \(not enough memory"):
        make_shot_set(open_source(photos.source["path"]), 2, 1)
    monkeypatch.undo()
    monkeypatch.setattr(Image.Image, "resize", short)
    with pytest.raises(BadImage, match=r"not enough memory for this image \(dog/7.png"):
        training_batch([("dog/7.png", noise(20, 30))], "none", 8, 1, 0)
    assert _judge(MemoryError(), Path())[1] == "out of memory: lower the stage's batch_size with -o"


def test_large_images_are_checked_one_at_a_time(photos: ShotSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded and hashed: what is held at once doesn't grow with the number of threads."""
    busy, most, lock = 0, 0, threading.Lock()

    def digest(image: Image.Image) -> bytes:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.02)
        with lock:
            busy -= 1
        return image.tobytes()

    monkeypatch.setattr(decoding, "LARGE_PIXELS", 10)
    monkeypatch.setattr(drawing, "pixel_digest", digest)
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 8)
    make_shot_set(open_source(photos.source["path"]), 2, 1)
    assert most == 1
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 1 << 30)
    make_shot_set(open_source(photos.source["path"]), 2, 1)
    assert most > 1  # small ones are not held up


def test_the_bank_counts_what_pillow_holds() -> None:
    bank = ImageBank([lambda: noise(10, 20)])
    bank[0]
    assert bank.held == 10 * 20 * PIXEL_BYTES
