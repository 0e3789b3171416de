"""One pass of a waveform model over whole clips, and who the clips are.

Shape letters: T samples, N clips, F frames, L residual levels.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.data.audio.dataset import WaveSplit
from pellucid.errors import PellucidError
from pellucid.evaluation.audio_beside import CodecMeasurement, rates
from pellucid.evaluation.protocol import Steps
from pellucid.evaluation.waveform_codec import WaveformCodec
from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.waveforms import Measure, PairedWaveforms
from pellucid.records import MetricValue
from pellucid.references.audio_codecs import to_int16


class OwnPass:
    """Accumulate what the model reaches at one number of levels.

    Args:
        codec: the model.
        measures: of every clip.
        compensate_delay: move x̂ by its delay before it is measured.
        levels: residual levels to spend; None spends all.
    """

    def __init__(
        self,
        codec: WaveformCodec,
        measures: Sequence[Measure],
        compensate_delay: bool,
        levels: int | None = None,
    ) -> None:
        self.codec, self.levels = codec, levels
        self.paired = PairedWaveforms(
            codec.sample_rate, measures, compensate_delay=compensate_delay
        )
        self.bits: list[tuple[int, int]] = []
        self.usage: CodeUsage | None = None

    def update(self, x_T: np.ndarray, *, name: str, group: str) -> None:
        """Code and measure one clip."""
        coded = self.codec(x_T, levels=self.levels)
        self.paired.update(heard(coded.x_hat_T), x_T, name=name, group=group)
        if coded.codes_FL is None:
            return
        assert coded.file_bits is not None
        assert coded.payload_bits is not None
        assert self.codec.codebook_size is not None
        self.bits.append((coded.file_bits, coded.payload_bits))
        if self.usage is None:
            self.usage = CodeUsage(self.codec.codebook_size, coded.codes_FL.shape[-1])
        self.usage.update(coded.codes_FL[None])

    def metrics(
        self, seconds_N: Sequence[float], *, resamples: int, seed: int
    ) -> dict[str, MetricValue]:
        """Return means over the clips with their intervals: errors, rates, use of codes."""
        metrics = self.paired.compute(resamples=resamples, seed=seed)
        if self.bits:
            groups = self.paired.groups
            found = rates(self.bits, seconds_N, groups, resamples=resamples, seed=seed)
            how = "packed codes" if self.codec.tables is None else "entropy-coded where shorter"
            metrics |= {
                name: dataclasses.replace(value, convention=f"{value.convention}; .plc, {how}")
                for name, value in found.items()
            }
        if self.usage is not None:
            metrics |= self.usage.compute()
        return metrics


class ClipTable:
    """Collect who the clips are."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.names: list[str] = []
        self.groups: list[str] = []
        self.digests: list[str] = []
        self.lengths: list[int] = []

    def add(self, split: WaveSplit, number: int) -> tuple[np.ndarray, str, str]:
        """Return a clip's samples as a 16-bit file holds them, its name and its group."""
        clip, x_CT = split.whole(number)
        x_T = heard(x_CT[0].numpy())
        self.numbers.append(number)
        self.names.append(clip.name)
        self.groups.append(str(clip.group))
        self.digests.append(hashlib.blake2b(to_int16(x_T).tobytes(), digest_size=8).hexdigest())
        self.lengths.append(len(x_T))
        return x_T, clip.name, str(clip.group)

    def columns(self, paired: PairedWaveforms, seconds: list[float]) -> dict[str, list[Any]]:
        """Return one column per fact and metric."""
        return {
            "index": self.numbers,
            "name": self.names,
            "group": self.groups,
            "digest": self.digests,
            "seconds": seconds,
            **{
                name: [None if v is None else round(v, 6) for v in values]
                for name, values in paired.per_clip.items()
            },
        }


def sweep_clips(
    held_out: WaveSplit,
    chosen: Sequence[int],
    methods: Sequence[OwnPass | CodecMeasurement],
    steps: Steps,
) -> ClipTable:
    """Give every method the chosen clips, one after the other, and return who they are."""
    clips = ClipTable()
    for number in chosen:
        x_T, name, group = clips.add(held_out, number)
        for method in methods:
            method.update(x_T, name=name, group=group)
            steps.advance(1)
    return clips


def heard(x_T: np.ndarray) -> np.ndarray:
    """Return samples as a 16-bit file holds them.

    Raises:
        PellucidError: when they are not finite.
    """
    if not np.isfinite(x_T).all():
        raise PellucidError("the model's output is not finite", found="NaN or infinity")
    return to_int16(x_T).astype(np.float32) / 32768
