"""Data for somebody's model: images, waveforms or channel stacks, told apart by the files.

* a folder of images, or an array of 8- or 16-bit pixels: images, as `ImageData` reads them;
* .wav, .flac, .ogg: waveforms (N, 1, T), mixed to mono, at the model's rate, in crops;
* .tif with other than 1, 3 or 4 channels: stacks (N, C, H, W), in crops, values as they are;
* floating-point .npy, .npz, .safetensors: samples as the model takes them, (N, C, H, W), (N, C, T)
  or (N, T), values as they are.

Shape letters: N samples, C channels, H height, W width, T time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError, require

if TYPE_CHECKING:
    from pellucid.data import AudioData, CellData, ImageData, StackData

AUDIO = (".wav", ".flac", ".ogg")
ARRAYS = (".npy", ".npz", ".safetensors")
TIFF = (".tif", ".tiff")
HELD_OUT = 0.2
MOST = 1024  # crops in all: a diagnosis takes no more than a few hundred
_IMAGE_CHANNELS = (1, 3, 4)
ENOUGH, LEAST = 256, 4  # samples


def subject_data(
    path: str | Path,
    *,
    value_range: tuple[float, float],
    size: int | None = None,
    channels: Literal[1, 3] = 3,
    length: int | None = None,
    sample_rate: float | None = None,
) -> tuple[Any, Any]:
    """Read what lies at `path` and divide it: (train, held out), by file where there are several.

    Args:
        path: a folder or a file.
        value_range: of the model, for images.
        size: side of the crops of images and stacks; None takes 64.
        channels: 1 or 3, of images.
        length: samples of a waveform's crop; None takes 16384.
        sample_rate: in hertz, that the model works at; None takes the files'.

    Raises:
        DataError: when there is nothing there that can be read, with the reason.
    """
    place = Path(path).expanduser()
    files = _files(place)
    if _all(files, AUDIO):
        return _waveforms(files, length or 16384, sample_rate)
    if _all(files, TIFF) and _is_stack(files[0]):
        return _stacks(files, size or 64)
    if len(files) == 1 and _all(files, ARRAYS):
        named = _arrays(files[0])
        if not all(array.dtype in (torch.uint8, torch.uint16) for array in named.values()):
            return _samples(named, files[0])
    return _images(place, size or 64, channels, value_range)


def held_out(data: ImageData | AudioData | StackData | CellData) -> Any:
    """Return what images hold out: the test split, joined by validation where it is small.

    A diagnosis is no final score, and a better answer from more samples is worth more here.
    """
    from torch.utils.data import ConcatDataset

    if len(data.test) >= ENOUGH:
        return data.test
    both = ConcatDataset([data.validation, data.test])
    return both if len(both) >= LEAST else None


def _images(place: Path, size: int, channels: Literal[1, 3], value_range: tuple) -> tuple[Any, Any]:
    from pellucid.data import ImageData

    low, high = value_range
    data = ImageData(
        path=str(place), size=size, channels=channels, value_range=(float(low), float(high))
    )
    return data.train, held_out(data)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place] if place.is_file() else []
    return sorted(p for p in place.rglob("*") if p.is_file() and not p.name.startswith("."))


def _all(files: Sequence[Path], suffixes: tuple[str, ...]) -> bool:
    return bool(files) and all(p.suffix.lower() in suffixes for p in files)


# --- arrays ---------------------------------------------------------------------------------------


def _arrays(path: Path) -> dict[str, Tensor]:
    """Read the named arrays of a file; nothing that could execute is loaded."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = np.load(path, allow_pickle=False)
        named = dict(found) if path.suffix.lower() == ".npz" else {"x": found}
        numbers = {name: a for name, a in named.items() if a.dtype.kind in "fiu" and a.ndim > 1}
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in numbers.items()}
    except Exception as error:  # each format has errors of its own for damaged files
        raise DataError(
            "cannot read this array file",
            where=path,
            expected="plain numbers in .npy, .npz or .safetensors",
            found=(str(error).splitlines() or [type(error).__name__])[0],
        ) from error


def _samples(named: dict[str, Tensor], path: Path) -> tuple[Tensor, Tensor | None]:
    """Take `train` and `validation` where a file names them, else divide its only array."""
    if "train" in named:
        held = named.get("validation")
        return _shaped(named["train"], path), None if held is None else _shaped(held, path)
    x = named.get("x", next(iter(named.values())) if len(named) == 1 else None)
    if x is None:
        raise DataError(
            "this file does not say which array holds the samples",
            where=path,
            expected="one array, or `train` and `validation`, or `x`",
            found=", ".join(sorted(named)) or "no arrays of numbers",
        )
    return divided(_shaped(x, path))


def _shaped(x: Tensor, path: Path) -> Tensor:
    """Return (N, C, T) or (N, C, H, W) in floating point."""
    if x.ndim == 2:
        x = x[:, None]
    if x.ndim not in (3, 4):
        raise DataError(
            "these are no samples",
            where=path,
            expected="(N, C, H, W) images or stacks, (N, C, T) or (N, T) waveforms",
            found="×".join(map(str, x.shape)),
        )
    return x.float()


def divided(x_NCP: Tensor) -> tuple[Tensor, Tensor | None]:
    """Hold out every fifth of shuffled samples; None when there are too few to measure on."""
    order = torch.randperm(len(x_NCP), generator=torch.Generator().manual_seed(0))
    count = round(HELD_OUT * len(x_NCP))
    return (x_NCP, None) if count < LEAST else (x_NCP[order[count:]], x_NCP[order[:count]])


# --- files that are cut into crops ----------------------------------------------------------------


def _waveforms(
    files: list[Path], length: int, sample_rate: float | None
) -> tuple[Tensor, Tensor | None]:
    require("soundfile", extra="audio", purpose="reading waveforms")
    crops = []
    for path in files:
        x_T, rate = _mono(path)
        if sample_rate is not None and rate != sample_rate:
            x_T = _resampled(x_T, rate, sample_rate)
        crops.append(x_T.unfold(0, length, length)[:, None] if len(x_T) >= length else x_T[:0])
    return _by_file(crops, files, f"at least {length} samples per file (--length says fewer)")


def _mono(path: Path) -> tuple[Tensor, int]:
    import soundfile

    try:
        x_TC, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError("cannot read this waveform", where=path, found=error) from error
    return torch.from_numpy(x_TC).mean(1), int(rate)


def _resampled(x_T: Tensor, rate: int, wanted: float) -> Tensor:
    from scipy.signal import resample_poly

    common = math.gcd(rate, round(wanted))
    return torch.from_numpy(
        resample_poly(x_T.numpy(), round(wanted) // common, rate // common)
    ).float()


def _is_stack(path: Path) -> bool:
    shape = _tiff(path).shape
    return len(shape) == 3 and not {shape[0], shape[-1]} & set(_IMAGE_CHANNELS)


def _tiff(path: Path) -> np.ndarray:
    tifffile = require("tifffile", extra="image", purpose="reading channel stacks")
    try:
        return tifffile.imread(path)
    except Exception as error:  # tifffile has no base class for damaged files
        raise DataError("cannot read this TIFF", where=path, found=error) from error


def _stacks(files: list[Path], size: int) -> tuple[Tensor, Tensor | None]:
    crops = []
    for path in files:
        x_CHW = torch.from_numpy(_tiff(path).astype(np.float32))
        if crops and x_CHW.shape[0] != crops[0].shape[1]:
            raise DataError(
                "stacks have different channels",
                where=path,
                expected=f"{crops[0].shape[1]}, as {files[0].name}",
                found=x_CHW.shape[0],
            )
        fits = min(x_CHW.shape[1:]) >= size
        tiles = x_CHW.unfold(1, size, size).unfold(2, size, size) if fits else None
        crops.append(
            x_CHW.new_zeros(0, len(x_CHW), size, size)
            if tiles is None
            else tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)
        )
    return _by_file(crops, files, f"at least {size}×{size} pixels per file (--size says fewer)")


def _by_file(crops: list[Tensor], files: list[Path], expected: str) -> tuple[Tensor, Tensor | None]:
    """Divide by file, so that neighbouring crops never lie on both sides."""
    usable = [c for c in crops if len(c)]
    if not usable:
        raise DataError("no file is large enough", where=files[0].parent, expected=expected)
    most = max(4, MOST // len(usable))
    usable = [c[torch.linspace(0, len(c) - 1, min(len(c), most)).round().long()] for c in usable]
    held = round(HELD_OUT * len(usable))
    if held == 0:
        return _in_order(torch.cat(usable))
    order = torch.randperm(len(usable), generator=torch.Generator().manual_seed(0)).tolist()
    sides = [torch.cat([usable[i] for i in part]) for part in (order[held:], order[:held])]
    return (sides[0], sides[1]) if len(sides[1]) >= LEAST else divided(torch.cat(usable))


def _in_order(x_NCP: Tensor) -> tuple[Tensor, Tensor | None]:
    """Hold out the end of few files: crops beside each other stay on one side, but for one."""
    cut = len(x_NCP) - round(HELD_OUT * len(x_NCP))
    return (x_NCP, None) if len(x_NCP) - cut < LEAST else (x_NCP[:cut], x_NCP[cut:])
