"""Read one image file into pixels. The rules, all of them:

* PNG, JPEG, WebP, TIFF and BMP by extension, whatever its case; hidden files are left out.
* EXIF rotation is applied. Of a file with several frames the first is read.
* Alpha and transparent palette entries are composited over white.
* Grayscale stays one channel here (`preparing` replicates it or takes the luma of colour);
  palette, CMYK, YCbCr, LAB and HSV become RGB by Pillow's conversion without a colour profile.
* 8 bits stay uint8. 16 bits become float32 = value / 65535 (colour PNG through torchvision, colour
  TIFF through tifffile, because Pillow would cut both to 8 bits). 1 bit becomes 0 and 255.
* Floating-point TIFF is mapped from `float_range` to [0, 1]; NaN, infinities and values outside
  make the file unreadable. 32-bit integers have no stated white, so they are unreadable too.
* JPEG may be decoded at 1/2, 1/4 or 1/8 when that still leaves twice the short side asked for.
* A header that promises more pixels than Pillow's decompression-bomb limit (89 megapixels) is
  refused before anything is decoded.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pellucid.errors import PellucidError, require

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
FLOAT_TOLERANCE = 1e-4  # of the range's width: rounding in whatever wrote the file

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, TypeError)


class UnreadableImage(Exception):  # noqa: N818 - it states a fact that is counted
    """One file cannot be used; `reason` is a category that reports count by."""

    def __init__(self, reason: str, detail: object = "") -> None:
        super().__init__(reason, str(detail))
        self.reason = reason
        self.detail = str(detail)

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image as read.

    Args:
        pixels_HWC: uint8 in 0…255 or float32 in [0, 1]; C is 1 or 3.
        width: pixels of the upright image in the file, before any reduced decoding.
        height: likewise.
        mode: Pillow's name of what the file held, "RGB;16" for 16-bit colour.
        bits: per channel in the file: 1, 8, 16 or 32.
        notes: rules that changed something, e.g. "rotated by EXIF".
    """

    pixels_HWC: np.ndarray
    width: int
    height: int
    mode: str
    bits: int
    notes: tuple[str, ...] = ()


class FileReader:
    """Read images by index from a list of files.

    Args:
        paths: the files.
        float_range: values of black and white in floating-point TIFF.
    """

    memory_mapped = False

    def __init__(self, paths: list[Path], float_range: tuple[float, float] = (0.0, 1.0)) -> None:
        self.paths = paths
        self.float_range = float_range

    def read(self, index: int, short_side: int | None = None) -> Picture:
        """Read one image, see `read_picture`."""
        return read_picture(self.paths[index], short_side, self.float_range)

    def digest(self, index: int) -> str:
        """Return a 64-bit hexadecimal hash of the file's bytes."""
        with self.paths[index].open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def read_picture(
    path: Path, short_side: int | None = None, float_range: tuple[float, float] = (0.0, 1.0)
) -> Picture:
    """Read an image file by the rules at the head of this file.

    Args:
        path: the file.
        short_side: pixels the caller will shrink to; allows reduced JPEG decoding.
        float_range: values of black and white in floating-point TIFF.

    Raises:
        UnreadableImage: when the file is empty, broken, too large or without a stated scale.
        MissingExtraError: when 16-bit colour needs a package that is not installed.
    """
    try:
        data = path.read_bytes()
        if not data:
            raise UnreadableImage("empty file")
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _picture(image, data, short_side, float_range)
    except UnidentifiedImageError:
        raise UnreadableImage("not an image", "the content is in none of the formats") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage("too many pixels", error) from None
    except PellucidError:
        raise
    except _BROKEN as error:
        raise UnreadableImage("truncated or corrupt", error) from None


def _picture(
    image: Image.Image, data: bytes, short_side: int | None, float_range: tuple[float, float]
) -> Picture:
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise UnreadableImage("too many pixels", f"{width}×{height}, the limit is {limit}")
    mode, notes = image.mode, []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append("first of several frames")
    if _is_deep_colour(image, data):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        pixels, mode, bits = _deep_colour(image, data), f"{mode};16", 16
        upright = orientation
    else:
        _shrink_on_load(image, short_side)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        image.load()  # TIFF is turned here already, and its tag removed
        upright = image.getexif().get(ExifTags.Base.Orientation, 1)
        pixels, bits = _pixels(image, float_range)
    if orientation not in (0, 1):
        notes.append("rotated by EXIF")
    if pixels.shape[2] in (2, 4):
        pixels = _over_white(pixels)
        notes.append("alpha composited over white")
    pixels = np.ascontiguousarray(turn_upright(pixels, upright))
    if (pixels.shape[0] > pixels.shape[1]) != (height > width):
        width, height = height, width  # turned, by us or by Pillow
    return Picture(pixels, width, height, mode, bits, tuple(notes))


def _shrink_on_load(image: Image.Image, short_side: int | None) -> None:
    if short_side is not None and image.format in ("JPEG", "MPO"):
        scale = 2 * short_side / min(image.size)
        if scale < 1:
            image.draft(None, (round(image.width * scale), round(image.height * scale)))


def _pixels(image: Image.Image, float_range: tuple[float, float]) -> tuple[np.ndarray, int]:
    """Return HWC pixels with 1, 2, 3 or 4 channels (the even ones end in alpha), and their bits."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        pixels = np.asarray(image).astype(np.float32) / 65535
        return pixels[..., None], 16
    if mode == "F":
        return from_float(np.asarray(image), float_range)[..., None], 32
    if mode == "I":
        raise UnreadableImage("32-bit integers", "no white value is stated")
    if mode == "LA":
        return np.asarray(image), 8
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA")), 8
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None], 1 if mode == "1" else 8
    return np.asarray(image.convert("RGB")), 8


def from_float(values: np.ndarray, float_range: tuple[float, float]) -> np.ndarray:
    """Map floating-point values from `float_range` to float32 in [0, 1] (any shape).

    Raises:
        UnreadableImage: on NaN, infinities or values outside the range.
    """
    low, high = float_range
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise UnreadableImage("NaN or infinite values", f"{bad} of {values.size}")
    unit = (values.astype(np.float32) - low) / (high - low)
    if unit.min() < -FLOAT_TOLERANCE or unit.max() > 1 + FLOAT_TOLERANCE:
        raise UnreadableImage(
            "values outside float_range",
            f"{values.min():.6g}…{values.max():.6g}, float_range is {low:g}…{high:g}",
        )
    return unit.clip(0, 1)


def _is_deep_colour(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        depth, colour = data[24], data[25]  # IHDR; colour types 2, 4, 6: RGB, gray+alpha, RGBA
        return depth == 16 and colour in (2, 4, 6)
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # pyright: ignore[reportAttributeAccessIssue]
        return len(bits) > 1 and max(bits) == 16
    return False


def _deep_colour(image: Image.Image, data: bytes) -> np.ndarray:
    if image.format == "PNG":
        io_ = require("torchvision.io", extra="image", purpose="16-bit colour PNG")
        torch = require("torch", extra="image", purpose="16-bit colour PNG")
        try:
            pixels_CHW = io_.decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        except RuntimeError as error:
            raise UnreadableImage("truncated or corrupt", str(error).splitlines()[0]) from None
        pixels = pixels_CHW.permute(1, 2, 0).numpy()
    else:
        tifffile = require("tifffile", extra="image", purpose="16-bit colour TIFF")
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                page = tiff.pages[0]
                pixels = page.asarray()
                planar = page.planarconfig == 2
        except tifffile.TiffFileError as error:
            raise UnreadableImage("truncated or corrupt", error) from None
        pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4):
        raise UnreadableImage("not an image", f"16-bit data of shape {pixels.shape}")
    return pixels.astype(np.float32) / 65535


def _over_white(pixels_HWC: np.ndarray) -> np.ndarray:
    """Composite colour + alpha over white: α·c + (1 − α)·white, rounded for 8 bits."""
    colour, alpha = pixels_HWC[..., :-1], pixels_HWC[..., -1:]
    if pixels_HWC.dtype == np.uint8:
        wide, alpha = colour.astype(np.uint32), alpha.astype(np.uint32)
        return ((wide * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return colour * alpha + (1 - alpha)


def turn_upright(pixels_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation 1…8 (anything else is taken as 1).

    Source: Exif 2.32, tag 0x0112; parity with PIL.ImageOps.exif_transpose is tested.
    """
    x = pixels_HWC
    match orientation:
        case 2:
            return x[:, ::-1]
        case 3:
            return x[::-1, ::-1]
        case 4:
            return x[::-1]
        case 5:
            return x.swapaxes(0, 1)
        case 6:
            return x[::-1].swapaxes(0, 1)
        case 7:
            return x[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return x[:, ::-1].swapaxes(0, 1)
        case _:
            return x
