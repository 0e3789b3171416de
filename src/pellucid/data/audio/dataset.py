"""One split of clips as a map-style dataset whose samples are a pure function of (seed, epoch,
index).

Shape letters: B batch, T samples of a crop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.addressing import AddressedSplit, sample_generator
from pellucid.data.audio.reading import read_recording
from pellucid.data.order import Address

_TRIES = 4
"""Random places drawn for a crop; the first that is not quiet is taken, else the loudest."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """One usable clip.

    Args:
        index: its place in the list of clips.
        name: of it.
        group: number of its group.
        length: samples.
        gain_db: brings it to the target loudness.
        level_db: its active level before that gain.
    """

    index: int
    name: str
    group: int
    length: int
    gain_db: float
    level_db: float


class ClipStore:
    """Samples by clip: held in memory up to a budget, read again otherwise.

    Args:
        paths: file of every clip of the list.
        samples: what is held, None where the budget was spent.
        sample_rate: wanted, in hertz.
    """

    def __init__(
        self, paths: Sequence[Any], samples: list[np.ndarray | None], sample_rate: int
    ) -> None:
        self.paths, self._samples, self.sample_rate = paths, samples, sample_rate

    def samples(self, index: int) -> np.ndarray:
        """Return (T,) float32; not to be written to."""
        held = self._samples[index]
        if held is not None:
            return held
        return read_recording(self.paths[index], self.sample_rate).samples_T


@dataclasses.dataclass(frozen=True)
class WaveAugmentation:
    """What a training crop may undergo.

    Args:
        random_crop: cut anywhere instead of at the sample's own place.
        gain_db: widest random gain, ± dB.
        quiet_db: a crop this far below its clip's level is drawn again.
        seed: of all draws.
    """

    random_crop: bool
    gain_db: float
    quiet_db: float
    seed: int


class WaveSplit(AddressedSplit[WaveAugmentation]):
    """Yield {"x", "target", "index", "group"}; x and target are the same (1, T) float32.

    Args:
        store: samples by clip.
        clips: the clips of this split.
        places: (samples, 2) place in `clips` and first sample of each crop.
        length: T of a crop.
        augmentation: for training.
    """

    def __init__(
        self,
        store: ClipStore,
        clips: Sequence[Clip],
        places: np.ndarray,
        length: int,
        augmentation: WaveAugmentation | None = None,
    ) -> None:
        super().__init__(places, augmentation)
        self.store, self.clips, self.length = store, clips, length

    def name(self, index: int) -> str:
        """Return the name of the clip behind a sample."""
        return self.clips[int(self.places[index, 0])].name

    def _stacked(self, addresses: Sequence[Address]) -> dict[str, Tensor]:
        crops = np.stack([self._crop(index, epoch) for index, epoch in addresses])
        x = torch.from_numpy(crops)[:, None]
        clips = [self.clips[int(self.places[index, 0])] for index, _ in addresses]
        return {
            "x": x,
            "target": x,
            "index": torch.tensor([index for index, _ in addresses]),
            "group": torch.tensor([clip.group for clip in clips]),
        }

    def whole(self, number: int) -> tuple[Clip, Tensor]:
        """Return clip `number` of the split and all of it, (1, T), at its target loudness."""
        clip = self.clips[number]
        samples = torch.from_numpy(self.store.samples(clip.index).copy())
        return clip, samples[None] * 10 ** (clip.gain_db / 20)

    def _crop(self, index: int, epoch: int) -> np.ndarray:
        place, start = self.places[index].tolist()
        clip = self.clips[place]
        samples_T = self.store.samples(clip.index)
        gain_db = clip.gain_db
        if self.augmentation is not None:
            rng = sample_generator(self.augmentation.seed, index, epoch)
            draws = rng.random(_TRIES + 1)  # always as many: options do not shift draws
            if self.augmentation.random_crop:
                start = self._loud_enough(samples_T, clip, draws[:-1])
            gain_db += (2 * draws[-1] - 1) * self.augmentation.gain_db
        crop = samples_T[start : start + self.length]
        return (crop * 10 ** (gain_db / 20)).astype(np.float32)

    def _loud_enough(self, samples_T: np.ndarray, clip: Clip, draws: np.ndarray) -> int:
        assert self.augmentation is not None
        best, best_power = 0, -1.0
        floor = 10 ** ((clip.level_db - self.augmentation.quiet_db) / 10)
        for draw in draws:
            start = int(draw * (clip.length - self.length + 1))
            crop = samples_T[start : start + self.length]
            power = float(np.square(crop, dtype=np.float64).mean())
            if power >= floor:
                return start
            if power > best_power:
                best, best_power = start, power
        return best
