"""Clips for training and evaluation: read once, split once, cropped on demand."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from pellucid.data.audio.clips import Grouping, open_clips
from pellucid.data.audio.dataset import Clip, ClipStore, WaveAugmentation, WaveSplit
from pellucid.data.audio.loudness import gain_to
from pellucid.data.audio.report import AudioReport, describe
from pellucid.data.audio.scan import Measurement, scan
from pellucid.data.splits import SPLITS, Fractions, division_record, keep_or_assign
from pellucid.errors import DataError
from pellucid.functional.value_range import ValueRange


class AudioData:
    """Read clips and offer `.train`, `.validation` and `.test`.

    Also `.splits` (JSON: who is where, with content digests), `.report` (`AudioReport`),
    `.value_range`, `.sample_rate`, `.size` (samples of a crop), `.channels` (1).

    Args:
        path: folder, manifest (.csv, .tsv, .jsonl) or file; see `clips.open_clips`.
        sample_rate: of everything, in hertz; files of other rates are resampled.
        length: samples of a crop.
        value_range: samples at full scale.
        validation: share of the groups held out for choices made while training.
        test: share of the groups held out for the final numbers.
        group: what is never divided between splits: "speaker" (named by a manifest), "folder",
            "stem", "file"; "auto" takes speakers where at least three are named, else files.
        splits: `.splits` of an earlier run to keep to.
        train_crops: crops per training clip and epoch.
        crops_per_clip: evaluation crops per clip, evenly spaced.
        random_crop: cut training crops anywhere, else at evenly spaced places.
        loudness_db: active level every clip is brought to, in dB of full scale; the gain is kept
            beside it. None leaves clips as they are.
        gain_db: random gain on training crops, ± dB.
        quiet_db: a training crop this far below its clip's level is drawn again.
        cache_megabytes: memory for samples; the rest is read when asked for.
        strict: fail on the first unusable clip instead of skipping and counting it.
        seed: of splits and augmentation.

    Raises:
        DataError: when the clips cannot be used; says which and what would do.
    """

    def __init__(
        self,
        path: str | None = None,
        sample_rate: int = 16000,
        length: int = 16000,
        value_range: tuple[float, float] = (-1.0, 1.0),
        validation: float = 0.1,
        test: float = 0.1,
        group: Grouping = "auto",
        splits: Mapping[str, Any] | None = None,
        train_crops: int = 8,
        crops_per_clip: int = 2,
        random_crop: bool = True,
        loudness_db: float | None = -25.0,
        gain_db: float = 6.0,
        quiet_db: float = 20.0,
        cache_megabytes: int = 2048,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        _check(path, sample_rate, length, train_crops, crops_per_clip, gain_db, seed)
        self.sample_rate, self.size, self.channels, self.seed = sample_rate, length, 1, seed
        self.value_range = ValueRange(*value_range)
        fractions = Fractions(validation, test)
        listed = open_clips(str(path), group)
        seen = scan(
            listed,
            sample_rate,
            shortest=length,
            cache_bytes=cache_megabytes * 1_000_000,
            strict=strict,
        )
        if not seen.usable:
            raise _nothing_usable(listed.where, seen.skipped, listed.names)
        groups = _merged([listed.groups[m.index] for m in seen.usable], seen.usable)
        names = [listed.names[m.index] for m in seen.usable]
        digests = {name: m.digest for name, m in zip(names, seen.usable, strict=True)}
        split_of = keep_or_assign(
            digests, groups, fractions, seed, where=listed.where, written=splits
        )
        self.splits = division_record(split_of, digests, where=listed.where, seed=seed)

        counts = collections.Counter(split for split in split_of if split)
        self.report: AudioReport = describe(
            listed, seen, sample_rate, examined=len(listed), splits=dict(counts)
        )
        numbers = {name: number for number, name in enumerate(sorted(set(groups)))}
        store = ClipStore(listed.paths, seen.samples, sample_rate)
        clips = {
            split: [
                Clip(m.index, name, numbers[group_], m.length, gain_to(m.level_db, loudness_db),
                     m.level_db)
                for m, name, group_, s in zip(seen.usable, names, groups, split_of, strict=True)
                if s == split
            ]
            for split in SPLITS
        }  # fmt: skip
        augmentation = WaveAugmentation(random_crop, gain_db, quiet_db, seed)
        self.train = _build(store, clips["train"], length, train_crops, augmentation)
        self.validation = _build(store, clips["validation"], length, crops_per_clip)
        self.test = _build(store, clips["test"], length, crops_per_clip)


def _build(
    store: ClipStore,
    clips: list[Clip],
    length: int,
    crops: int,
    augmentation: WaveAugmentation | None = None,
) -> WaveSplit:
    """Return a split with evenly spaced crops of every clip."""
    places = [
        (place, round((clip.length - length) * (crop + 0.5) / crops))
        for place, clip in enumerate(clips)
        for crop in range(crops)
    ]
    table = np.array(places, np.int64).reshape(-1, 2)
    return WaveSplit(store, clips, table, length, augmentation)


def _merged(groups: list[str], usable: list[Measurement]) -> list[str]:
    """Give identical clips one group, so that no copy is held out from itself."""
    first: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for group, m in zip(groups, usable, strict=True):
        renamed.setdefault(group, group)
        other = first.setdefault(m.digest, group)
        if _root(renamed, other) != _root(renamed, group):
            renamed[_root(renamed, group)] = _root(renamed, other)
    return [_root(renamed, group) for group in groups]


def _root(renamed: dict[str, str], group: str) -> str:
    while renamed[group] != group:
        group = renamed[group]
    return group


def _nothing_usable(where: str, skipped: list, names: tuple[str, ...]) -> DataError:
    counts = collections.Counter(skip.reason for skip in skipped)
    first = skipped[0]
    return DataError(
        "none of the clips can be used",
        where=where,
        found=", ".join(f"{n} × {reason}" for reason, n in counts.most_common())
        + f"; the first is {names[first.index]} ({first.reason}: {first.detail})",
        hint="choose a smaller data.length" if set(counts) == {"too short"} else None,
    )


def _check(
    path: str | None,
    sample_rate: int,
    length: int,
    train_crops: int,
    crops_per_clip: int,
    gain_db: float,
    seed: int,
) -> None:
    if path is None:
        raise DataError(
            "there are no clips", where="data.path", expected="a folder, a manifest or a file"
        )
    for key, value, least in (
        ("sample_rate", sample_rate, 1000),
        ("length", length, 1),
        ("train_crops", train_crops, 1),
        ("crops_per_clip", crops_per_clip, 1),
        ("gain_db", gain_db, 0),
        ("seed", seed, 0),
    ):
        if value < least:
            raise DataError(
                f"'{key}' is too small", where=f"data.{key}", expected=f"≥ {least}", found=value
            )
