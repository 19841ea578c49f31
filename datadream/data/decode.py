"""One way from the bytes of an image file to RGB pixels; it trusts no file and mends none.

Knows: formats, bombs, torn files, EXIF rotation, transparency, deep pixels. Doesn't: colour profiles, which
are ignored, as the released code of the field ignores them.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from datadream.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
MAX_PIXELS = 80_000_000  # below Pillow's own warning (89 million), so what Pillow would warn of is refused
MAX_BYTES = 700_000_000  # of a file: as many pixels with 64 bits each, and some
LARGE_PIXELS = 16_000_000  # above this, one at a time: a few kilobytes may become a gigabyte, in every thread at once
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
ORIENTATION = 0x0112  # the EXIF tag
BAND = 256  # rows that are converted at once
_large = threading.Lock()


class BadImage(UserError):
    """An image that can't be used; `message` is the reason, `at` its name."""


@contextmanager
def handling(name: str) -> Iterator[None]:
    """Name the image that is being worked on when memory runs out; raises BadImage from the MemoryError then."""
    try:
        yield
    except MemoryError as error:
        hint = "free some memory, or use a smaller image"
        raise BadImage("not enough memory for this image", at=name, hint=hint) from error


def decode(data: bytes, name: str) -> Image.Image:
    """The first frame of an image file as upright 8-bit RGB; equal bytes give equal pixels.

    Transparency is laid on white, 16-bit greys are scaled to 8 bits, EXIF rotation is applied. Raises BadImage
    with `name` and the reason: not one of FORMATS, torn or broken, over MAX_PIXELS (judged by the header, before a
    pixel is decoded), or more than the memory that is left.
    """
    return decoded(data, name, lambda image: image)


def decoded(data: bytes, name: str, use: Callable[[Image.Image], T]) -> T:
    """What `use` makes of the decoded image (see `decode`); of large images one at a time in all threads, `use`
    included.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it; a torn photo must not pass
    hint = "replace or remove the file"
    try:
        with handling(name), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise BadImage(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}", at=name, hint=hint)
            with _large if pixels > LARGE_PIXELS else nullcontext():
                image.load()
                return use(_upright(_rgb(image), _orientation(image)))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not an image of a known format" if data else "an empty file", at=name, hint=hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels", at=name, hint=hint) from error
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        raise BadImage(f"can't be decoded ({error})", at=name, hint=hint) from error


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    straight = image.convert("LA") if image.mode == "La" else image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys as RGB. 16 bits: 65535 is white.

    32-bit and float TIFFs name no white: it is the smallest of 1 (floats only), 255 and 65535 that holds every
    pixel; with none such, or below zero, the image's own minimum is black and its maximum white.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # either is a NaN when any pixel is
        raise ValueError("some pixels are not finite numbers")
    whites = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(image.mode, (65535.0,))
    if image.format in ("PNG", "PPM") and image.mode == "I":  # Pillow's word for their 16 bits, by version
        whites = (65535.0,)
    if low >= 0 and high <= whites[-1]:
        black, white = 0.0, next(white for white in whites if high <= white)
    else:
        black, white = low, high if high > low else low + 1
    grey = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), BAND):
        scaled = (values[top : top + BAND].astype(np.float64) - black) / (white - black) * 255
        grey[top : top + BAND] = np.rint(scaled).clip(0, 255)
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    # TIFF is turned by its own decoder, which then drops the tag: so ask after load()
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1  # damaged metadata around whole pixels: shown unturned, as viewers do
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
