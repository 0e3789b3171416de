"""What features are taken of: a run's own splits, or a user's files, batch by batch.

Shape letters: B batch, C channels, P positions, H height, W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError, unknown_name
from pellucid.workflows.run import Run

Split = Literal["all", "train", "validation", "test"]
GIVEN = "given"
"""The split of files that a user names."""
_BATCH = 64


@dataclasses.dataclass
class Source:
    """Samples in order, and what could not be used of them.

    Args:
        total: how many there are at most.
        batches: (x_BCP in the model's range, {column: B values}).
        skipped: (name, reason), filled while `batches` is read.
    """

    total: int
    batches: Iterator[tuple[Tensor, dict[str, list]]]
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def own_samples(run: Run, split: Split) -> Source:
    """Open the run's own data: evaluation crops of images, whole clips; nothing is augmented.

    Raises:
        RecipeError: for an unknown split.
        DataError: when the data are gone.
    """
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split), where="split")
    names = [name for name in get_args(Split)[1:] if split in ("all", name)]
    data: Any = run.data()
    if _is_audio(run):
        parts: Any = [(name, getattr(data, name)) for name in names]
        return Source(sum(len(part.clips) for _, part in parts), _clips(parts))
    parts = [(name, getattr(data, name).plain()) for name in names]
    return Source(sum(len(part) for _, part in parts), _crops(parts, data.classes))


def user_files(run: Run, path: str | Path) -> Source:
    """Open image, audio or stack files of any size; an unreadable one is counted.

    Raises:
        DataError: when there are none.
    """
    if _is_audio(run):
        from pellucid.data.audio.clips import open_clips

        listed = open_clips(path, "file")
        source = Source(len(listed), iter(()))
        source.batches = _user_clips(run, listed.names, listed.paths, source.skipped)
        return source
    if run.recipe.data.get("kind") == "stacks":
        from pellucid.workflows.feature_stacks import stack_tiles

        total, batches, skipped = stack_tiles(run, path, split=GIVEN)
        return Source(total, batches, skipped)
    from pellucid.workflows.reconstruct import image_files

    folder, files = image_files(Path(path))
    source = Source(len(files), iter(()))
    source.batches = _user_images(run, folder, files, source.skipped)
    return source


def read_image(path: Path, run: Run) -> Tensor:
    """Return (1, C, H, W) in the model's range, as large as the file.

    Raises:
        UnreadableImage: when the file cannot be used.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.data.preparing import to_channels
    from pellucid.data.reading import read_picture

    pixels_HWC = to_channels(read_picture(path).pixels_HWC, data_facts(run.recipe).channels)
    return to_model(pixels_HWC[None], run)


def to_model(pixels_BHWC: np.ndarray, run: Run) -> Tensor:
    """Return (B, C, H, W) in the model's range from uint8 or [0, 1] pixels."""
    scale = np.float32(255 if pixels_BHWC.dtype == np.uint8 else 1)
    unit_BHWC = torch.from_numpy((pixels_BHWC / scale).astype(np.float32))
    value_range = run.value_range
    if value_range is None:
        raise DataError("a model of stacks does not take pictures", where=run.path)
    return value_range.from_unit(unit_BHWC.permute(0, 3, 1, 2).contiguous())


def _is_audio(run: Run) -> bool:
    from pellucid.build.assemble import data_facts

    return data_facts(run.recipe).axes == 1


def _crops(
    parts: list[tuple[str, Any]], classes: tuple[str, ...]
) -> Iterator[tuple[Tensor, dict[str, list]]]:
    for split, part in parts:
        for start in range(0, len(part), _BATCH):
            indices = range(start, min(start + _BATCH, len(part)))
            batch = part.batch(indices)
            tops, lefts = part.places[list(indices), 1], part.places[list(indices), 2]
            half = part.size / 2
            told = {
                "name": [part.name(index) for index in indices],
                "split": [split] * len(indices),
                "group": batch["group"].tolist(),
                "top": tops.tolist(),
                "left": lefts.tolist(),
                "y": (tops + half).tolist(),
                "x": (lefts + half).tolist(),
            }
            if "label" in batch:
                labels = batch["label"].tolist()
                told["label"] = [classes[label] if classes else label for label in labels]
            yield batch["x"], told


def _clips(parts: list[tuple[str, Any]]) -> Iterator[tuple[Tensor, dict[str, list]]]:
    for split, part in parts:
        for number in range(len(part.clips)):
            clip, x_CT = part.whole(number)
            told = {
                "name": [clip.name],
                "split": [split],
                "group": [clip.group],
                "length": [clip.length],
            }
            yield x_CT[None].float(), told


def _user_images(
    run: Run, folder: Path, files: list[Path], skipped: list[tuple[str, str]]
) -> Iterator[tuple[Tensor, dict[str, list]]]:
    from pellucid.data.reading import UnreadableImage

    found = 0
    for file in files:
        try:
            x_BCHW = read_image(folder / file, run)
        except UnreadableImage as problem:
            skipped.append((file.as_posix(), str(problem)))
            continue
        found += 1
        height, width = x_BCHW.shape[-2:]
        yield (
            x_BCHW,
            {
                "name": [file.as_posix()],
                "split": [GIVEN],
                "group": [file.parent.as_posix()],
                "height": [height],
                "width": [width],
                "y": [height / 2],
                "x": [width / 2],
            },
        )
    _require(found, folder, skipped)


def _user_clips(
    run: Run, names: tuple[str, ...], paths: tuple[Path, ...], skipped: list[tuple[str, str]]
) -> Iterator[tuple[Tensor, dict[str, list]]]:
    import inspect

    from pellucid.build.assemble import data_facts
    from pellucid.data import AudioData
    from pellucid.data.audio.loudness import active_level_db, gain_to
    from pellucid.data.audio.reading import UnreadableClip, read_recording

    rate = data_facts(run.recipe).sample_rate or 0
    default = inspect.signature(AudioData).parameters["loudness_db"].default
    loudness = run.recipe.data.get("loudness_db", default)
    found = 0
    for name, path in zip(names, paths, strict=True):
        try:
            samples_T = read_recording(path, rate).samples_T
        except UnreadableClip as problem:
            skipped.append((name, str(problem)))
            continue
        found += 1
        gain_db = gain_to(active_level_db(samples_T, rate), loudness)
        scaled_T = torch.from_numpy(samples_T * np.float32(10 ** (gain_db / 20)))
        told = {
            "name": [name],
            "split": [GIVEN],
            "group": [Path(name).parent.as_posix()],
            "length": [len(samples_T)],
        }
        yield scaled_T[None, None].float(), told
    _require(found, paths[0].parent, skipped)


def _require(found: int, where: Path, skipped: list[tuple[str, str]]) -> None:
    if not found:
        raise DataError("none of the files could be read", where=where, found=skipped[0][1])
