"""Speech codecs on the same clips as the model, each at its own measured bits.

Shape letters: T samples, N clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.errors import PellucidError
from pellucid.evaluation.audio_record import AudioReference
from pellucid.functional.bootstrap import bootstrap_interval, paired_difference
from pellucid.metrics.waveforms import Measure, PairedWaveforms
from pellucid.records import MetricValue
from pellucid.references.audio_codecs import CodecSetting, SpeechCodec, code_waveform
from pellucid.references.lyra import KBPS as LYRA_KBPS

CODEC2_BITS = 3200
SPEEX_QUALITY = 1  # wideband, about 6 kb/s
OPUS_LEAST_KBPS = 6.0


def settings_of(
    codecs: Sequence[SpeechCodec], opus_kbps: Sequence[float], lyra: str | None = None
) -> list[CodecSetting]:
    """Return every codec's settings, Opus and Lyra at each of their rates.

    Args:
        codecs: which.
        opus_kbps: rates that Opus is asked for.
        lyra: the folder of Lyra's networks.

    Raises:
        PellucidError: for a rate that Opus does not take.
    """
    if not opus_kbps or min(opus_kbps) < OPUS_LEAST_KBPS or max(opus_kbps) > 256:
        raise PellucidError(
            "Opus does not take this rate",
            where="evaluation.opus_kbps",
            expected=f"one or more of {OPUS_LEAST_KBPS:g} … 256 kb/s",
            found=tuple(opus_kbps),
        )
    at = {"opus": sorted(opus_kbps), "codec2": [CODEC2_BITS], "speex": [SPEEX_QUALITY]}
    found = [CodecSetting(codec, s) for codec in codecs for s in at.get(codec, ())]
    if "lyra" in codecs and lyra is not None:
        found += [CodecSetting("lyra", kbps, lyra) for kbps in LYRA_KBPS]
    return found


class CodecMeasurement:
    """Measure one codec at one setting over the clips.

    Args:
        setting: codec and rate.
        sample_rate: in hertz.
        measures: as for the model.
    """

    def __init__(
        self, setting: CodecSetting, sample_rate: int, measures: Sequence[Measure]
    ) -> None:
        self.setting, self.sample_rate = setting, sample_rate
        self.paired = PairedWaveforms(sample_rate, measures)
        self.bits: list[tuple[int, int]] = []

    def update(self, x_T: np.ndarray, *, name: str, group: str) -> None:
        """Code and measure one clip."""
        coded = code_waveform(x_T, self.sample_rate, self.setting)
        self.paired.update(coded.x_hat_T, x_T, name=name, group=group)
        self.bits.append((coded.file_bits, coded.payload_bits))

    def reference(self, seconds_N: Sequence[float], *, resamples: int, seed: int) -> AudioReference:
        """Return its numbers."""
        metrics = self.paired.compute(resamples=resamples, seed=seed)
        metrics |= rates(self.bits, seconds_N, self.paired.groups, resamples=resamples, seed=seed)
        return AudioReference(metrics, self.setting.note)


def differences(
    model: PairedWaveforms, other: PairedWaveforms, *, resamples: int, seed: int
) -> dict[str, MetricValue]:
    """Return this model minus the codec, over the clips that both could be measured on."""
    found = {}
    for measure in model.measures:
        own, theirs = model.per_clip[measure.name], other.per_clip.get(measure.name, [])
        pairs = [
            (a, b, group)
            for a, b, group in zip(own, theirs, model.groups, strict=False)
            if a is not None and b is not None
        ]
        if not pairs:
            continue
        a, b, groups = zip(*pairs, strict=True)
        gap = paired_difference(a, b, groups, resamples=resamples, seed=seed)
        words = f"this model minus the codec, paired over {len(pairs)} clips"
        found[measure.name] = MetricValue(gap.value, measure.unit, gap.low, gap.high, gap.n, words)
    return found


def rates(
    bits: Sequence[tuple[int, int]],
    seconds_N: Sequence[float],
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, MetricValue]:
    """Return file_kbps and payload_kbps: all bits over all seconds.

    Args:
        bits: (file, payload) of every clip.
        seconds_N: its duration.
        groups: its group.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    words = {
        "file_kbps": "bits of the files, headers included, over seconds",
        "payload_kbps": "bits of the coded frames, without headers, over seconds",
    }
    found = {}
    for column, (name, convention) in enumerate(words.items()):
        ratio = bootstrap_interval(
            np.array([(b[column], s) for b, s in zip(bits, seconds_N, strict=True)]),
            groups,
            statistic=lambda means: means[..., 0] / means[..., 1] / 1000,
            resamples=resamples,
            seed=seed,
        )
        found[name] = MetricValue(ratio.value, "kb/s", ratio.low, ratio.high, ratio.n, convention)
    return found
