"""One picture file as bytes: upright, on a background, and scaled where its values have a known range."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from aepretrain.errors import DataError
from aepretrain.storage.guard import open_regular

Background = Literal["white", "black"]
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Formats that are read, recognized by content. EPS must never join: Pillow starts Ghostscript for it."""
DEEP = 65535
"""Largest value of 16 bits."""
WHITE_IS_ZERO = 0
"""Value of TIFF's tag 262 for pictures in which 0 is white."""
PHOTOMETRIC = 262
STEPS = {"L;2": 85, "L;4": 17}
"""Step of a grey level in files of 2 and 4 bits: Pillow scales the levels, but not the transparent one."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture, and what is to be known of its file.

    Args:
        image: Mode L or RGB.
        pages: Number of pages in the file, of which the first was decoded.
        largest: Largest value before scaling, of 65,535; ``None`` for pictures of 8 bits.
        is_unturned: Whether its EXIF data cannot be read, so that it is as it lies in the file.
        is_cut: Whether the colours have 16 bits in the file, of which Pillow gives the upper 8.
        is_blank: Whether nothing can be seen on the background, though the file has an alpha channel.
        is_cropped: Whether its sides were cut off to make it square.
    """

    image: Image.Image
    pages: int
    largest: int | None
    is_unturned: bool
    is_cut: bool
    is_blank: bool
    is_cropped: bool = False


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that the installed Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def endings() -> frozenset[str]:
    """The endings of picture files, in lower case.

    Example:
        >>> ".jfif" in endings(), ".eps" in endings()
        (True, False)
    """
    known = formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in known)


def read_picture(path: Path, *, grey: bool, background: Background) -> Picture:
    """Decode the first page of a picture file.

    Args:
        path: The file.
        grey: Whether to return one grey channel instead of three colour channels.
        background: What shows through where the picture is transparent.

    Raises:
        DataError: If it cannot be decoded, or its values have no known range.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp(), "a.png")
        >>> Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(path)
        >>> np.asarray(read_picture(path, grey=True, background="white").image).tolist()
        [[0, 1, 255]]
    """
    try:
        if path.is_symlink() and not path.exists():
            raise DataError("it is a link that leads nowhere")
        # Opened by its name, Pillow would map a plain TIFF file into memory, and turn one that lies on a side wrongly.
        with io.BufferedReader(open_regular(path)) as stream, Image.open(stream, formats=formats()) as file:
            return _decode(file, "L" if grey else "RGB", background)
    except UnidentifiedImageError as error:
        known = ", ".join(formats())
        raise DataError(f"{path} cannot be decoded: its content is none of {known}") from error
    # A damaged file makes Pillow raise nearly everything: zlib's and struct's errors, KeyError, OverflowError.
    except Exception as error:
        raise DataError(f"{path} cannot be decoded: {_reason(error)}") from error


def _decode(file: Any, mode: str, background: Background) -> Picture:
    pages, rawmode = getattr(file, "n_frames", 1), _rawmode(file)
    # Before load(), after which a TIFF file has no tags.
    is_negative = getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    _scale_transparency(file, rawmode)
    image, is_unturned = _turn(file)
    largest = None
    if image.mode == "F":
        raise DataError("its values are floats, whose range is not known. Save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image, largest = _to_bytes(image, 4095 if rawmode == "I;12" else DEEP, is_negative)
    image, is_blank = _on_background(image, background)
    is_cut = ";16" in rawmode and largest is None
    return Picture(image.convert(mode), pages, largest, is_unturned, is_cut, is_blank)


def _turn(file: Image.Image) -> tuple[Image.Image, bool]:
    """A picture turned as its EXIF data say, and whether they cannot be read."""
    file.load()
    try:
        return ImageOps.exif_transpose(file), False
    # The pixels are sound: what is raised now is all about damaged EXIF data, which Pillow parses by struct.
    except Exception:
        return file.copy(), True


def _reason(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__


def _rawmode(file: Any) -> str:
    """The layout of the values in the file, in Pillow's words; empty where it does not say."""
    if not file.tile:
        return ""
    arguments = file.tile[0].args
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return rawmode if isinstance(rawmode, str) else ""


def _scale_transparency(file: Image.Image, rawmode: str) -> None:
    level = file.info.get("transparency")
    if rawmode in STEPS and isinstance(level, int):
        file.info["transparency"] = level * STEPS[rawmode]
    if ";16" in rawmode and isinstance(level, tuple):
        raise DataError("it has 16 bits per colour and a transparent colour. Save it with an alpha channel")


def _to_bytes(image: Image.Image, full: int, is_negative: bool) -> tuple[Image.Image, int]:
    """A picture of whole numbers with 8 bits, mode L or LA, and its largest value, of 65,535.

    Args:
        image: Mode I or one of the modes I;16.
        full: The value of white.
        is_negative: Whether 0 is white instead.
    """
    values: NDArray[Any] = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > full:
        raise DataError(f"its values reach from {low:,} to {high:,}, beyond {full:,}. Save it with 8 or 16 bits")
    grey = Image.fromarray(((values * 510 + full) // (2 * full)).astype(np.uint8))
    if is_negative:
        grey = ImageOps.invert(grey)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey, high * DEEP // full


def _on_background(image: Image.Image, background: Background) -> tuple[Image.Image, bool]:
    """A picture without transparency, and whether it looks empty because of the background."""
    if not image.has_transparency_data:
        return image, False
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = image.convert(mode + "A")
    alpha = image.getchannel("A")
    page = Image.new(mode, image.size, background)
    page.paste(image.convert(mode), mask=alpha)
    return page, _is_flat(page) and not (_is_flat(alpha) and alpha.getpixel((0, 0)) == 255)


def _is_flat(image: Image.Image) -> bool:
    """Whether all pixels are alike."""
    return image.getcolors(1) is not None
