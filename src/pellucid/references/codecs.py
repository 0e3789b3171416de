"""JPEG and WebP at a model's own bits per image.

A single small crop is unfair to a file format: at 64×64 pixels a JPEG is mostly header. So crops
are laid out on contact sheets (cells padded to whole 16×16 macroblocks, so that no transform
block holds two crops) and a sheet's bits are divided by its crops. That spreads headers and
entropy-coder tables over the set, as a model's weights are spread over it, and leaves the codec
the better side of any doubt. What separate files would cost is measured too and stated.

Shape letters: N images, C channels (1 or 3), H height, W width.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.errors import DataError, unknown_name
from pellucid.references.samples import spaced

CODECS = ("jpeg", "webp")
Codec = Literal["jpeg", "webp"]

_BLOCK = 16
_SHEET_SIDE = 1024
_TOLERANCE = 0.02
_MATCHED = 0.05
_MAX_TRIALS = 8
_SEPARATE_FILES = 32
_FINEST = 0.003
"""Settings closer than this give the same file: WebP has 128 quantiser steps."""


@dataclasses.dataclass(frozen=True)
class CodedImages:
    """Hold what a codec made of a set of images.

    Args:
        codec: "jpeg" or "webp".
        images: (N, C, H, W) uint8 reconstructions.
        bits_per_image: contact-sheet bits / N, headers included.
        target_bits: what was asked for.
        matched: whether `bits_per_image` is within 5 % of the target.
        separate_bits: mean bits of separate files at the same setting, headers included.
        header_bits: bits of a one-colour file, a constant that separate files carry.
        note: all of this in words.
    """

    codec: str
    images: Tensor
    bits_per_image: float
    target_bits: float
    matched: bool
    separate_bits: float
    header_bits: float
    note: str


def code_at_bits(images_NCHW: Tensor, codec: Codec, bits_per_image: float) -> CodedImages:
    """Encode at the smallest setting that costs at least `bits_per_image`, and decode.

    Args:
        images_NCHW: uint8, one or three channels.
        codec: JPEG (4:2:0, optimised Huffman tables, the smaller of baseline and progressive) or
            WebP (lossy, method 6).
        bits_per_image: mean over the set; the codec may spend more on one image than another.

    Raises:
        DataError: for images a photograph codec cannot hold.
        RecipeError: for another codec.
    """
    if codec not in CODECS:
        raise unknown_name("codec", codec, CODECS, where="evaluation.codecs")
    _check(images_NCHW)
    sheets = _Sheets(images_NCHW)
    encode = functools.partial(_ENCODERS[codec], grey=images_NCHW.shape[1] == 1)

    def files_at(setting: float) -> list[bytes]:
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            return list(pool.map(lambda sheet: encode(sheet, setting), sheets.sheets))

    setting, files = _search(files_at, bits_per_image * len(images_NCHW))
    bits = 8 * sum(map(len, files)) / len(images_NCHW)
    few = [_to_pil(images_NCHW[i]) for i in spaced(len(images_NCHW), _SEPARATE_FILES)]
    flat = _to_pil(torch.full_like(images_NCHW[0], 100))
    separate = float(np.mean([8 * len(encode(image, setting)) for image in few]))
    header = 8.0 * len(encode(flat, setting))
    return CodedImages(
        codec=codec,
        images=sheets.cut([_from_file(data, images_NCHW.shape[1]) for data in files]),
        bits_per_image=bits,
        target_bits=bits_per_image,
        matched=abs(bits / bits_per_image - 1) <= _MATCHED,
        separate_bits=separate,
        header_bits=header,
        note=_note(codec, setting, bits, bits_per_image, sheets.per_sheet, separate, header),
    )


def _check(images_NCHW: Tensor) -> None:
    if images_NCHW.dtype != torch.uint8 or images_NCHW.ndim != 4 or len(images_NCHW) == 0:
        raise DataError(
            "a codec takes 8-bit images",
            expected="uint8 (N, C, H, W), N ≥ 1",
            found=f"{images_NCHW.dtype} {tuple(images_NCHW.shape)}",
        )
    if images_NCHW.shape[1] not in (1, 3):
        raise DataError(
            "JPEG and WebP hold grey or RGB images",
            expected="1 or 3 channels",
            found=f"{images_NCHW.shape[1]} channels",
        )


def _search(files_at: Callable[[float], list[bytes]], target: float) -> tuple[float, list[bytes]]:
    """Return the setting in [0, 1] (0 the smallest files) whose bits just reach `target`.

    Bits grow about exponentially with the setting, so false position on log(bits) with the
    Illinois rule (halve the value at an end that stays twice) needs few encodings.
    """
    half = math.log1p(_TOLERANCE) / 2

    def miss(files: list[bytes]) -> float:
        return math.log(8 * sum(map(len, files)) / target) - half

    low, files = 0.0, files_at(0.0)
    if (miss_low := miss(files)) >= -half:
        return low, files
    high, miss_high = low, miss_low
    for high in (0.5, 1.0):
        files = files_at(high)
        if (miss_high := miss(files)) >= -half:
            break
        low, miss_low = high, miss_high
    trials, side = 0, 0
    while miss(files) > half and trials < _MAX_TRIALS and high - low > _FINEST:
        trials += 1
        middle = low + (high - low) * miss_low / (miss_low - miss_high)
        tried = files_at(middle)
        if (miss_middle := miss(tried)) >= -half:
            high, miss_high, files = middle, miss_middle, tried
            miss_low, side = (miss_low / 2 if side > 0 else miss_low), 1
        else:
            low, miss_low = middle, miss_middle
            miss_high, side = (miss_high / 2 if side < 0 else miss_high), -1
    return high, files


class _Sheets:
    """Lay crops out on sheets and cut them back."""

    def __init__(self, images_NCHW: Tensor) -> None:
        self.shape = tuple(images_NCHW.shape)
        self.cell_h = math.ceil(self.shape[2] / _BLOCK) * _BLOCK
        self.cell_w = math.ceil(self.shape[3] / _BLOCK) * _BLOCK
        most = max(1, _SHEET_SIDE // self.cell_h) * max(1, _SHEET_SIDE // self.cell_w)
        count = math.ceil(self.shape[0] / most)
        self.per_sheet = math.ceil(self.shape[0] / count)
        self.columns = math.ceil(math.sqrt(self.per_sheet))
        self.sheets = [self._paste(part) for part in images_NCHW.cpu().split(self.per_sheet)]

    def _paste(self, images_NCHW: Tensor) -> Image.Image:
        n, c, h, w = images_NCHW.shape
        pad = ((0, 0), (0, 0), (0, self.cell_h - h), (0, self.cell_w - w))
        cells = np.pad(images_NCHW.numpy(), pad, mode="edge")
        rows = math.ceil(n / self.columns)
        # Unused cells repeat the last crop's corner colour, which costs almost nothing.
        grid = np.empty((rows * self.columns, c, self.cell_h, self.cell_w), np.uint8)
        grid[:n], grid[n:] = cells, cells[-1, :, -1:, -1:]
        grid = grid.reshape(rows, self.columns, c, self.cell_h, self.cell_w)
        sheet = grid.transpose(2, 0, 3, 1, 4).reshape(c, rows * self.cell_h, -1)
        return _to_pil(torch.from_numpy(sheet))

    def cut(self, sheets_CHW: list[Tensor]) -> Tensor:
        """Return (N, C, H, W) from decoded sheets."""
        crops = []
        for sheet in sheets_CHW:
            c = sheet.shape[0]
            grid = sheet.view(c, -1, self.cell_h, self.columns, self.cell_w)
            crops.append(grid.permute(1, 3, 0, 2, 4).flatten(0, 1)[: self.per_sheet])
        return torch.cat(crops)[: self.shape[0], :, : self.shape[2], : self.shape[3]].contiguous()


def _to_pil(image_CHW: Tensor) -> Image.Image:
    array = image_CHW.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _from_file(data: bytes, channels: int) -> Tensor:
    image = Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB")
    array = np.array(image)
    return torch.from_numpy(array).view(image.height, image.width, channels).permute(2, 0, 1)


def _jpeg(image: Image.Image, setting: float, *, grey: bool) -> bytes:
    options = {"optimize": True, "qtables": _jpeg_tables(setting)[: 1 if grey else 2]}
    if not grey:
        options["subsampling"] = "4:2:0"
    files = []
    for progressive in (False, True):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", progressive=progressive, **options)
        files.append(buffer.getvalue())
    return min(files, key=len)


def _jpeg_tables(setting: float) -> list[list[int]]:
    """Scale the standard tables continuously: 0 is libjpeg quality 1, 1 is quality 99."""
    percent = 5000.0 ** (1 - setting) * 2.0**setting
    return [
        [min(255, max(1, int((step * percent + 50) // 100))) for step in table]
        for table in _standard_tables()
    ]


@functools.cache
def _standard_tables() -> list[list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=50)
    tables = Image.open(buffer).quantization  # type: ignore[attr-defined]
    return [list(tables[0]), list(tables[1])]


def _webp(image: Image.Image, setting: float, *, grey: bool) -> bytes:
    buffer = io.BytesIO()
    # A smooth step spreads both ends of the scale, where bits change fastest.
    quality = 100 * setting**2 * (3 - 2 * setting)
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[..., bytes]] = {"jpeg": _jpeg, "webp": _webp}


def _note(
    codec: str,
    setting: float,
    bits: float,
    target: float,
    per_sheet: int,
    separate: float,
    header: float,
) -> str:
    how = (
        f"contact sheets of {per_sheet} crops, bits divided by crops; as separate files "
        f"{separate:.0f} bits each, {header:.0f} of which a one-colour file costs too"
    )
    name = {"jpeg": "JPEG 4:2:0, optimised", "webp": "WebP method 6"}[codec]
    if bits > (1 + _MATCHED) * target and setting == 0:
        return f"{name}: its smallest file is {bits:.0f} bits per image, not {target:.0f} ({how})"
    if bits < target * (1 - _MATCHED):
        return f"{name}: its largest file is {bits:.0f} bits per image, not {target:.0f} ({how})"
    return f"{name} at {bits:.0f} bits per image, the model has {target:.0f} ({how})"
