"""Mutated images, bombs, polyglots: a typed error or an image, in bounded time and memory, nothing run.

Each case is decoded in a process of its own kind: with a limit on its memory, and with a listener that hears of every
process, connection and file for writing that anything in it asks for.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datadream.data.decode import LARGE_PIXELS, MAX_BYTES, MAX_PIXELS, BadImage, decode
from datadream.data.folder import read_file
from tests.conftest import run_cli
from tests.faults.scale import record, scale

ROOT = Path(__file__).parents[2]
ALLOWANCE_MIB = 300  # what decoding one small or refused image may take
ACTS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "ctypes.dlopen")


def pixels(mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def saved(format_: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    pixels(mode).save(buffer, format=format_, **options)
    return buffer.getvalue()


def samples() -> list[bytes]:
    """Every format we read, plain and odd."""
    frames = {"save_all": True, "append_images": [pixels(), pixels()]}
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = io.BytesIO()
    Image.fromarray((np.arange(48 * 64, dtype=np.uint16) * 20).reshape(48, 64)).save(deep, "PNG")
    return [
        *(saved(format_) for format_ in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")),
        *(saved(format_, **frames) for format_ in ("GIF", "WEBP", "PNG", "TIFF")),
        *(saved("JPEG", "CMYK"), saved("JPEG", progressive=True), saved("JPEG", exif=exif), saved("PNG", "RGBA")),
        *(saved("PNG", "P"), saved("TIFF", "F"), saved("TIFF", compression="tiff_lzw"), saved("WEBP", lossless=True)),
        *(saved("TIFF", compression="jpeg"), saved("TIFF", "1", compression="group4"), deep.getvalue()),
    ]


TAILS = (b"<?php system('touch x'); ?>", b"<script>x</script>", b"PK\x03\x04" + b"\0" * 40, b"\n%!PS\n(x) (w) file\n")
HEADS = (b"MZ\x90\0", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"#!/bin/sh\ntouch x\n", b"%PDF-1.4\n", b"\x7fELF", b"<svg>")


def mutated(whole: bytes, dice: random.Random) -> bytes:
    data = bytearray(whole)
    place = dice.randrange(len(data))
    kind = dice.randrange(8)
    if kind == 0:
        return bytes(data[: len(data) * dice.randrange(20) // 20])
    if kind == 1:
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        data[place : place + 4] = dice.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
    elif kind == 3:
        data[place:place] = dice.randbytes(dice.randrange(1, 200))
    elif kind == 4:
        data += dice.choice(TAILS) + dice.randbytes(50)
    elif kind == 5:
        data[:0] = dice.choice(HEADS)
    elif kind == 6:  # in the header, where sizes and offsets are
        data[dice.randrange(min(64, len(data)))] = dice.randrange(256)
    else:
        data[place:] = data[place:][::-1]
    return bytes(data)


def mutations(count: int, seed: int) -> Iterable[bytes]:
    dice = random.Random(seed)
    originals = samples()
    return (mutated(dice.choice(originals), dice) for _ in range(count))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def zeros(size: int) -> bytes:
    return zlib.compress(b"\0" * size, 1)


def tiff_of(width: int, height: int, strips: int = 1) -> bytes:
    sizes = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    places = ((273, 4, strips, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, strips, 16))
    return tiff(*sizes, *places, following=8)  # and the next picture is this one again


SMALL = zlib.compress(b"\0" * 8 * 25)
BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 50,000 x 50,000": lambda: png(50_000, 50_000, data=zeros(200 << 20)),
    "png with a vast text": lambda: png(8, 8, chunk(b"zTXt", b"k\0\0" + zeros(200 << 20)), data=SMALL),
    "png with a vast profile": lambda: png(8, 8, chunk(b"iCCP", b"p\0\0" + zeros(200 << 20)), data=SMALL),
    "png with many texts": lambda: png(8, 8, *[chunk(b"zTXt", b"k\0\0" + zeros(1 << 20))] * 200, data=SMALL),
    "png longer than its size": lambda: png(8, 8, data=zeros(200 << 20)),
    "png of a million frames": lambda: png(8, 8, chunk(b"acTL", struct.pack(">II", 10**6, 0)), data=SMALL),
    "png of one row": lambda: png(2**31 - 1, 1, data=SMALL),
    "bmp": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "bmp of negative height": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 9, -(2**31), 1, 24, *[0] * 6),
    "ppm": lambda: b"P6 99999 99999 255\n" + b"\0" * 100,
    "ppm with an endless number": lambda: b"P6 " + b"9" * 10_000_000,
    "gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;",
    "jpeg": lambda: b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9",
    "webp": lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff" + b"\0" * 8,
    "tiff": lambda: tiff_of(100_000, 100_000),
    "tiff of many strips": lambda: tiff_of(64, 64, 2**31),
    "tiff going in circles": lambda: tiff_of(8, 8),
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(x) (w) file\n",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "pdf": lambda: b"%PDF-1.4\n1 0 obj\n<< /OpenAction << /S /JavaScript /JS (x) >> >>\n",
    "zip": lambda: b"PK\x03\x04" + b"\0" * 200,
    "elf": lambda: b"\x7fELF" + b"\0" * 200,
    "many frames": lambda: saved("GIF", save_all=True, append_images=[pixels()] * 60),
}  # fmt: skip

DEPTHS = {
    "1-bit": (1, 0, 8),
    "8-bit colours": (8, 2, 1 / 3),
    "16-bit greys": (16, 0, 1 / 2),
    "with alpha": (8, 6, 1 / 4),
}


def blank_png(total: int, kind: str) -> bytes:
    """A sound picture of about `total` pixels in a few kilobytes."""
    depth, colour, pixels_a_byte = DEPTHS[kind]
    side = int(total**0.5) // 8 * 8
    return png(side, side, data=zeros(int(side * (side / pixels_a_byte + 1))), depth=depth, colour=colour)


CHILD = "import sys, tests.faults.test_images as t; t.measure(*sys.argv[1:])"


def measure(folder: str, threads: str, allowance_mib: str) -> None:
    """Print what comes of decoding the files of `folder` in this process, with that much more memory and no more."""
    warnings.simplefilter("ignore")
    Image.init()
    decode((Path(folder) / "0").read_bytes(), "first")  # what is imported only once
    cases = [path.read_bytes() for path in sorted(Path(folder).iterdir(), key=lambda path: int(path.name))][1:]
    heard: list[str] = []
    sys.addaudithook(lambda event, args: heard.append(event) if _acts(event, args) else None)
    os.system("true")
    assert heard == ["os.system"]  # the listener listens
    heard.clear()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + (int(allowance_mib) << 20) + int(threads) * (80 << 20)  # each thread's stack and arena
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = peak_mib()

    def one(data: bytes) -> tuple[str, float]:
        began = time.monotonic()
        try:
            image = decode(data, "x")
            said = f"image {image.mode} {image.width} x {image.height}"
        except BadImage as error:
            said = f"refused: {error.message}"
        return said, time.monotonic() - began

    with ThreadPoolExecutor(int(threads)) as pool:
        results = list(pool.map(one, cases))
    grown = peak_mib() - before
    found = {"said": [said for said, _ in results], "ms": round(1000 * max(s for _, s in results)), "mib": grown}
    sys.stdout.write(json.dumps({**found, "heard": heard}))


def peak_mib() -> int:
    """The most memory this program ever held. Not ru_maxrss: that one is inherited from whoever started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10


def _acts(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ACTS


def measured(
    folder: Path, cases: Iterable[bytes], threads: int = 1, allowance_mib: int = ALLOWANCE_MIB
) -> dict[str, Any]:
    """`measure` in a child; nothing in the cases may have acted."""
    for number, data in enumerate([saved("PNG"), *cases]):
        (folder / str(number)).write_bytes(data)
    command = [sys.executable, "-c", CHILD, str(folder), str(threads), str(allowance_mib)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["heard"] == []
    return found


def test_mutated_images_are_decoded_or_refused(tmp_path: Path) -> None:
    count, seed = scale(40, 500), 13
    found = measured(tmp_path, mutations(count, seed))
    decoded = sum(said.startswith("image RGB") for said in found["said"])
    refused = sum(said.startswith("refused: ") for said in found["said"])
    assert decoded + refused == count
    assert decoded and refused
    record(
        "mutated-images", count=count, seed=seed, decoded=decoded, slowest_ms=found["ms"],
        memory_grown_mib=found["mib"], outcome="an image or a typed error, nothing run or written",
    )  # fmt: skip


@pytest.mark.parametrize(
    "names", scale([[*BOMBS]], [[name] for name in BOMBS]), ids=lambda names: names[0] if len(names) == 1 else "all"
)
def test_a_bomb_takes_little_memory(names: list[str], tmp_path: Path) -> None:
    found = measured(tmp_path, [BOMBS[name]() for name in names])
    assert found["mib"] < 100
    for name, said in zip(names, found["said"], strict=True):
        assert said.startswith("refused: ") or said in ("image RGB 8 x 8", "image RGB 64 x 48"), (name, said)
        record("image-bombs", case=name, ms=found["ms"], memory_grown_mib=found["mib"], outcome=said[:60])


@pytest.mark.parametrize("kind", DEPTHS)
def test_the_largest_image_allowed_takes_a_bounded_memory(kind: str, tmp_path: Path) -> None:
    total = scale(4_000_000, MAX_PIXELS)
    allowance = 20 * total // 2**20 + 100
    found = measured(tmp_path, [blank_png(total, kind)], allowance_mib=allowance)
    assert found["said"][0].startswith("image RGB")
    assert found["mib"] >= 4 * total >> 20  # Pillow holds 4 bytes a pixel: the meter must have seen them
    record("largest-image", kind=kind, pixels=total, ms=found["ms"], memory_grown_mib=found["mib"], outcome="decoded")


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path) -> None:
    """Eight threads, eight pictures that need 80 MB each while they are decoded: far from eight times that."""
    found = measured(tmp_path, [blank_png(LARGE_PIXELS + 500_000, "1-bit")] * 8, threads=8)
    assert all(said.startswith("image RGB") for said in found["said"])
    assert 4 * LARGE_PIXELS >> 20 <= found["mib"] < ALLOWANCE_MIB
    record("large-images-at-once", threads=8, ms=found["ms"], memory_grown_mib=found["mib"], outcome="one at a time")


def test_a_name_says_nothing_of_what_is_inside(tmp_path: Path) -> None:
    """Through the command line: right pictures under wrong extensions are used, wrong ones under right are listed."""
    for class_ in ("one", "two"):
        (tmp_path / "pictures" / class_).mkdir(parents=True)
        for i, data in enumerate(samples()[:10]):
            (tmp_path / "pictures" / class_ / f"{i}.{('jpg', 'png')[i % 2]}").write_bytes(data)
    made = run_cli("set", "make", tmp_path / "pictures", "--shots", 1, home=tmp_path / "home")
    assert made.returncode == 0, made.stderr
    (tmp_path / "pictures" / "one" / "evil.png").write_bytes(BOMBS["eps"]())
    (tmp_path / "pictures" / "two" / "torn.jpg").write_bytes(samples()[1][:-200])
    made = run_cli("set", "make", tmp_path / "pictures", "--shots", 1, "--seed", 2, home=tmp_path / "home")
    assert made.returncode == 2
    assert "2 images can't be used" in made.stderr
    assert "one/evil.png (not an image of a known format)" in made.stderr
    assert "two/torn.jpg (can't be decoded" in made.stderr
    assert len(made.stderr.splitlines()) == 1


def test_a_file_that_is_no_file_or_has_no_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "vast.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, words in (("vast", "bytes long"), ("pipe", "not a regular file"), ("zero", "not a regular file")):
        with pytest.raises(BadImage, match=words):
            read_file(tmp_path, f"{name}.png")
