"""Mutated images, bombs, polyglots: a typed error or an image, in bounded time and memory, nothing run."""

from __future__ import annotations

import io
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datadream.data.decode import BadImage, decode
from tests.faults.scale import record, scale

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def sample(format_: str) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format_)
    return buffer.getvalue()


def mutated(whole: bytes, dice: random.Random) -> bytes:
    data = bytearray(whole)
    kind = dice.randrange(5)
    if kind == 0:
        return bytes(data[: dice.randrange(len(data))])
    if kind == 1:
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        place = dice.randrange(len(data))
        data[place : place + 4] = dice.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
    elif kind == 3:
        place = dice.randrange(len(data))
        data[place:place] = dice.randbytes(dice.randrange(1, 200))
    else:
        data += b"<?php system('x'); ?><script>x</script>PK\x03\x04" + dice.randbytes(50)
    return bytes(data)


def test_mutated_images_are_decoded_or_refused() -> None:
    count, seed = scale(60, 500), 13
    dice = random.Random(seed)
    samples = [sample(format_) for format_ in FORMATS]
    decoded, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        data = mutated(dice.choice(samples), dice)
        began = time.monotonic()
        try:
            image = decode(data, "x")
            assert image.mode == "RGB"
            decoded += 1
        except BadImage:
            pass
        slowest = max(slowest, time.monotonic() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert 0 < decoded < count
    record(
        "mutated-images", count=count, seed=seed, decoded=decoded, slowest_ms=round(1000 * slowest),
        memory_grown_mib=round(grown), outcome="an image or a typed error",
    )  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, pixels: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


ZEROS = zlib.compress(b"\0" * (200 << 20), 9)
BOMBS = {
    "wide png": png(50_000, 50_000, pixels=ZEROS),
    "text png": png(8, 8, chunk(b"zTXt", b"k\0\0" + ZEROS), pixels=zlib.compress(b"\0" * 8 * 25)),
    "profile png": png(8, 8, chunk(b"iCCP", b"p\0\0" + ZEROS), pixels=zlib.compress(b"\0" * 8 * 25)),
    "long png": png(8, 8, pixels=ZEROS),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm": b"P6 99999 99999 255\n" + b"\0" * 100,
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(x) (w) file\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "pdf": b"%PDF-1.4\n1 0 obj\n<< /OpenAction << /S /JavaScript /JS (x) >> >>\n",
    "zip": b"PK\x03\x04" + b"\0" * 200,
    "elf": b"\x7fELF" + b"\0" * 200,
}
CHILD = """
import resource, sys
from pathlib import Path
from datadream.data.decode import BadImage, decode
import PIL.PngImagePlugin, PIL.BmpImagePlugin, PIL.PpmImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    image = decode(Path(sys.argv[1]).read_bytes(), "x")
    said = f"image {image.size}"
except BadImage as error:
    said = f"refused {error.message}"
print(said)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[name])
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    said, grown = result.stdout.splitlines()
    assert said.startswith("refused") or said == "image (8, 8)", said
    assert int(grown) < 100
    record("image-bombs", case=name, memory_grown_mib=int(grown), outcome=said[:60])
