"""Open images that lie in NumPy files.

* .npy is memory-mapped; so is an .npz member that was stored uncompressed (`np.savez`); a
  compressed member (`np.savez_compressed`) is loaded into memory.
* .npz holds one array, or `images` with optional `labels` and `groups` (one per image).
* Shapes: N×H×W, N×H×W×C or N×C×H×W with C = 1 or 3; when both ends fit, channels are last.
* uint8 as it is; uint16 divided by 65535; floats mapped from `float_range` (default 0 black,
  1 white). NaN, infinities and values outside the range are refused: nothing is guessed or clipped.
* Arrays of Python objects (pickles) are never loaded.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.annotations import pickled_dictionary
from pellucid.data.reading import FLOAT_TOLERANCE, Picture, from_float
from pellucid.data.sources import Source
from pellucid.errors import DataError, first_line, nearest

_KEYS = ("images", "labels", "groups")
_ROWS_PER_CHECK = 4096


class ArrayReader:
    """Read images by index from an (N, H, W, C) array.

    A memory-mapped array travels to worker processes as a file name, not as pixels.

    Args:
        images_NHWC: uint8, uint16 or floating point; C is 1 or 3.
        float_range: values of black and white in floating-point arrays.
    """

    def __init__(
        self, images_NHWC: np.ndarray, float_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.images_NHWC = images_NHWC
        self.float_range = float_range
        self.memory_mapped = _map_of(images_NHWC) is not None

    def read(self, index: int, short_side: int | None = None) -> Picture:
        """Return image `index`; 8-bit pixels are a view of the array."""
        pixels = self.images_NHWC[index]
        height, width, channels = pixels.shape
        kind = pixels.dtype
        if kind == np.uint8:
            unit = np.asarray(pixels)
        elif kind == np.uint16:
            unit = pixels.astype(np.float32) / 65535
        else:
            unit = from_float(pixels, self.float_range)
        mode = f"{'L' if channels == 1 else 'RGB'};{kind.name}"
        return Picture(unit, width, height, mode, kind.itemsize * 8)

    def digest(self, index: int) -> str:
        """Return a 64-bit hexadecimal hash of the image's bytes."""
        data = np.ascontiguousarray(self.images_NHWC[index])
        return hashlib.blake2b(data.data, digest_size=8).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        mapped = _map_of(self.images_NHWC)
        if mapped is not None:
            images = self.images_NHWC
            start = images.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
            state["images_NHWC"] = (
                str(mapped.filename), int(mapped.offset) + start,
                images.dtype, images.shape, images.strides,
            )  # fmt: skip
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.images_NHWC, tuple):
            filename, offset, dtype, shape, strides = self.images_NHWC
            last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
            raw = np.memmap(filename, np.uint8, "r", offset, (last,))
            self.images_NHWC = np.ndarray(shape, dtype, raw, 0, strides)


def open_array_file(path: Path, float_range: tuple[float, float] = (0.0, 1.0)) -> Source:
    """Open an .npy or .npz file as a source.

    Raises:
        DataError: when it is no such file, or its keys, shapes, types or values are not images.
    """
    try:
        if path.suffix.lower() == ".npz":
            arrays = _open_npz(path)
        else:
            arrays = {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        if isinstance(error, DataError):
            raise
        if path.suffix.lower() == ".npy" and "bject" in str(error):
            raise pickled_dictionary(path) from error
        raise DataError(
            "cannot read this array file",
            where=path,
            expected="plain numbers written by np.save, np.savez or np.savez_compressed",
            found=first_line(error),
            hint="arrays of Python objects are pickles and are never loaded"
            if "object" in str(error).lower() or "pickle" in str(error)
            else None,
        ) from error
    images_NHWC = channels_last(arrays["images"], path)
    check_values(images_NHWC, float_range, path)
    return array_source(str(path), images_NHWC, arrays, float_range)


def array_source(
    where: str,
    images_NHWC: np.ndarray,
    arrays: dict[str, np.ndarray],
    float_range: tuple[float, float] = (0.0, 1.0),
) -> Source:
    """Build a source from images and optional `labels` and `groups` of the same length."""
    count = len(images_NHWC)
    names = tuple(str(index) for index in range(count))
    labels, classes = None, ()
    if "labels" in arrays:
        values, inverse = np.unique(_per_image(arrays, "labels", count, where), return_inverse=True)
        labels = tuple(int(index) for index in inverse)
        classes = tuple(str(value) for value in values)
    groups = names
    if "groups" in arrays:
        groups = tuple(f"group {value}" for value in _per_image(arrays, "groups", count, where))
    return Source(where, names, groups, ArrayReader(images_NHWC, float_range), labels, classes)


def channels_last(images: np.ndarray, where: object) -> np.ndarray:
    """View an image array as (N, H, W, C).

    Raises:
        DataError: when shape or type are not those of a set of images.
    """
    numbers = images.dtype in (np.uint8, np.uint16) or images.dtype.kind == "f"
    if not numbers:
        raise DataError(
            "images of this type have no stated white",
            where=where,
            expected="uint8, uint16 or floating point",
            found=images.dtype,
        )
    shape = images.shape
    if len(shape) == 3 and shape[2] not in (1, 3) and min(shape) > 0:
        return images[..., None]
    if len(shape) == 4 and min(shape) > 0:
        if shape[3] in (1, 3):
            return images
        if shape[1] in (1, 3):
            return np.moveaxis(images, 1, 3)
    raise DataError(
        "this array is not a set of images",
        where=where,
        expected="N×H×W, N×H×W×C or N×C×H×W with C = 1 or 3",
        found="×".join(map(str, shape)) or "a single number",
        hint="one image cannot be split" if len(shape) == 3 and shape[2] in (1, 3) else None,
    )


def check_values(images_NHWC: np.ndarray, float_range: tuple[float, float], where: object) -> None:
    """Refuse floating-point arrays with NaN, infinities or values outside `float_range`.

    Raises:
        DataError: with counts, the first place, and the range that would fit.
    """
    if images_NHWC.dtype.kind != "f":
        return
    bad, first, low, high = 0, None, np.inf, -np.inf
    for start in range(0, len(images_NHWC), _ROWS_PER_CHECK):
        block = np.asarray(images_NHWC[start : start + _ROWS_PER_CHECK])
        finite = np.isfinite(block)
        if not finite.all():
            bad += int(block.size - np.count_nonzero(finite))
            if first is None:
                n, h, w, c = (int(axis[0]) for axis in np.nonzero(~finite))
                first = f"image {start + n}, row {h}, column {w}, channel {c}"
        if finite.any():
            low = min(low, float(block.min(where=finite, initial=np.inf)))
            high = max(high, float(block.max(where=finite, initial=-np.inf)))
    if bad:
        raise DataError(
            "NaN or infinite values",
            where=where,
            expected="finite values",
            found=f"{bad} of {images_NHWC.size} values, the first at {first}",
        )
    black, white = float_range
    slack = FLOAT_TOLERANCE * (white - black)
    if low < black - slack or high > white + slack:
        fits = [r for r in ((0, 1), (-1, 1), (0, 255), (0, 65535)) if r[0] <= low and high <= r[1]]
        raise DataError(
            "values outside the stated range",
            where=where,
            expected=f"float_range = [{black:g}, {white:g}] (black, white)",
            found=f"values from {low:.6g} to {high:.6g}",
            hint=f"if {fits[0][0]} is black and {fits[0][1]} is white, "
            f"say data.float_range=[{fits[0][0]},{fits[0][1]}]"
            if fits
            else "data.float_range states the values of black and white",
        )


def _open_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "images" in members:
            keys = [key for key in _KEYS if key in members]
        elif len(members) == 1:
            keys = list(members)
        else:
            guess = nearest("images", members)
            raise DataError(
                "this .npz does not say which array holds the images",
                where=path,
                expected="one array, or keys `images`, `labels` (optional), `groups` (optional)",
                found=", ".join(sorted(members)) or "no arrays",
                hint=f"rename '{guess}' to 'images'" if guess else None,
            )
        arrays = {}
        for key in keys:
            info = members[key]
            if info.compress_type == zipfile.ZIP_STORED:
                arrays[key] = _map_member(path, info)
            else:
                with archive.open(info) as file:
                    arrays[key] = np.lib.format.read_array(file, allow_pickle=False)
    return {"images" if key not in _KEYS else key: array for key, array in arrays.items()}


def _map_member(path: Path, info: zipfile.ZipInfo) -> np.ndarray:
    """Memory-map an uncompressed member: its bytes lie in the archive as they are."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", file.read(30))
        file.seek(info.header_offset + 30 + name_length + extra_length)
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        offset = file.tell()
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _map_of(array: np.ndarray) -> np.memmap | None:
    """Return the memory map that `array` is a view of, or None."""
    owner, mapped = array, None
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.filename is not None:
            mapped = owner
        owner = owner.base
    return mapped


def _per_image(arrays: dict[str, np.ndarray], key: str, count: int, where: object) -> np.ndarray:
    values = np.asarray(arrays[key])
    if values.shape in ((count,), (count, 1)) and values.dtype.kind in "iubUS":
        return values.reshape(count)
    raise DataError(
        f"`{key}` does not fit the images",
        where=where,
        expected=f"{count} integers or strings, one per image",
        found=f"{values.dtype} of shape {values.shape}",
    )
