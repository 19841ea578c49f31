"""Decoding gives upright 8-bit RGB or one sentence about why not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from datadream.data.decode import MAX_PIXELS, ORIENTATION, BadImage, decode
from datadream.errors import UserError

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(size: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    image = noise()
    assert (np.asarray(decode(encoded(image, format), "a")) == np.asarray(image)).all()


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_decode_to_rgb_of_the_same_size_every_time_the_same(format: str) -> None:
    data = encoded(noise(), format)
    image = decode(data, "a")
    assert (image.mode, image.size) == ("RGB", (64, 64))
    assert image.tobytes() == decode(data, "a").tobytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(format: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), BLUE)
    upright.paste(RED, (0, 0, 16, 8))  # red in the top left quarter
    turn = Image.Transpose
    stored = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    stored |= {6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    as_stored = upright.transpose(stored[orientation]) if orientation in stored else upright
    image = decode(encoded(as_stored, format, exif=exif.tobytes()), "a")
    assert image.size == (32, 16)
    for spot, colour in {(4, 4): RED, (28, 4): BLUE, (4, 12): BLUE, (28, 12): BLUE}.items():
        assert np.abs(np.subtract(image.getpixel(spot), colour)).max() < 20


def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(noise(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode(data, "a").size == (64, 64)


def test_transparency_is_laid_on_white() -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    rgba.putpixel((1, 0), (255, 0, 0, 255))
    la = Image.new("LA", (2, 1), (10, 0))
    la.putpixel((1, 0), (10, 255))
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    keyed = Image.new("RGB", (2, 1), RED)
    keyed.putpixel((1, 0), BLUE)
    for image, options, second in [
        (rgba, {}, RED),
        (la, {}, (10, 10, 10)),
        (palette, {"transparency": 0}, BLUE),
        (keyed, {"transparency": RED}, BLUE),
    ]:
        got = decode(encoded(image, "PNG", **options), "a")
        assert [got.getpixel((0, 0)), got.getpixel((1, 0))] == [WHITE, second], image.mode
    assert decode(encoded(palette, "GIF", transparency=0), "a").getpixel((0, 0)) == WHITE


def test_half_transparency_is_mixed_with_white() -> None:
    got = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 51))), "a")
    assert got.getpixel((0, 0)) == (204, 204, 204)  # 255 * (1 - 51 / 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(format: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    got = decode(encoded(Image.fromarray(values), format), "a")
    assert np.asarray(got)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "bytes_"),
    [
        (np.array([[0, 0.5, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 100, 200]], dtype=np.float32), [0, 100, 200]),
        (np.array([[0, 32767.5, 65535]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-1, 0, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-5, -5, -5]], dtype=np.float32), [0, 0, 0]),
        (np.array([[0, 7, 255]], dtype=np.int32), [0, 7, 255]),
        (np.array([[0, 257, 65535]], dtype=np.int32), [0, 1, 255]),
        (np.array([[0, 500_000, 1_000_000]], dtype=np.int32), [0, 128, 255]),
    ],
)
def test_float_and_32_bit_greys_take_the_smallest_white_that_holds_them(values: np.ndarray, bytes_: list[int]) -> None:
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF"), "a"))[0, :, 0].tolist() == bytes_


def test_pixels_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(BadImage, match="not finite"):
        decode(encoded(Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)), "TIFF"), "a")


def test_one_bit_palette_and_cmyk_become_rgb() -> None:
    assert decode(encoded(Image.new("1", (8, 8), 1)), "a").getpixel((0, 0)) == WHITE
    assert decode(encoded(Image.new("RGB", (8, 8), RED).convert("P")), "a").getpixel((0, 0)) == RED
    cyanless = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), "a")
    assert cyanless.mode == "RGB"
    assert np.abs(np.subtract(cyanless.getpixel((0, 0)), RED)).max() < 10


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_only_the_first_frame_of_an_animation_counts(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert decode(data, "a").getpixel((4, 4)) == RED


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_torn_file_is_refused_by_name(format: str, kept: float) -> None:
    data = encoded(noise(), format)
    with pytest.raises(BadImage) as caught:
        decode(data[: int(len(data) * kept)], "cats/torn.img")
    assert caught.value.at == "cats/torn.img"


def test_a_torn_file_is_refused_even_when_another_library_allowed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(), "JPEG")
    with pytest.raises(BadImage):
        decode(data[: len(data) // 2], "a")


@pytest.mark.parametrize("data", [b"", b"hello, I am a text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg></svg>"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage) as caught:
        decode(data, "a/b.png")
    assert isinstance(caught.value, UserError)
    assert "a/b.png" in str(caught.value)


def test_formats_outside_the_list_are_refused() -> None:
    with pytest.raises(BadImage, match="known format"):
        decode(encoded(noise(32), "ICO"), "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS // 1000, 1001), (9_500, 9_500), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(BadImage, match="80,000,000"):
        decode(png_header(width, height), "bomb.png")


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_also_where_warnings_are_errors() -> None:
    with pytest.raises(BadImage, match="80,000,000"):
        decode(png_header(9_500, 9_500), "bomb.png")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "PPM", "BMP"]))
def test_damaged_bytes_give_an_image_or_a_bad_image_and_nothing_else(data: st.DataObject, format: str) -> None:
    raw = bytearray(encoded(noise(16), format))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(raw), "a").mode == "RGB"
    except BadImage as error:
        assert error.at == "a"
