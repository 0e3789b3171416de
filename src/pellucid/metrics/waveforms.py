"""Paired waveforms: every metric of every clip, what could not be measured, and the intervals.

Shape letters: T samples, N clips.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import bootstrap_interval
from pellucid.functional.snr import si_sdr, snr
from pellucid.metrics import speech_quality, waveform_errors
from pellucid.metrics.waveform_errors import Unmeasurable, advanced, delay
from pellucid.records import MetricValue

Better = Literal["higher", "lower", "nearer"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number of one clip.

    Args:
        name: its key in evaluation.json.
        unit: of the number.
        convention: whatever changes the number.
        of: (x̂, x), each (T,) float64, → the number.
        better: "higher", "lower", or "nearer" to what a copy has (0 dB, a ratio of 1).
        speech_rate: hears 16 kHz instead of the clip's own rate.
    """

    name: str
    unit: str
    convention: str
    of: Callable[[np.ndarray, np.ndarray], float]
    better: Better = "higher"
    speech_rate: bool = False


def waveform_measures(
    sample_rate: int, *, visqol: bool = False, dnsmos: str | None = None
) -> tuple[Measure, ...]:
    """Return the measures of a waveform at a sample rate.

    Args:
        sample_rate: in hertz.
        visqol: also measure ViSQOL, which takes seconds for each second of audio.
        dnsmos: path of `sig_bak_ovr.onnx`; None leaves DNSMOS out.

    Raises:
        MissingExtraError: when a package is not installed.
        DataError: when `dnsmos` is no such network.
    """
    errors = waveform_errors
    heard = "16 kHz" if sample_rate == speech_quality.RATE else "resampled to 16 kHz"
    measures = [
        Measure("pesq", "MOS-LQO", f"PESQ-WB, ITU-T P.862.2, {heard}", speech_quality.pesq_wb,
                speech_rate=True),
        Measure("stoi", "1", f"STOI, not extended, {heard}, 10 kHz inside", speech_quality.stoi,
                speech_rate=True),
        Measure("si_sdr", "dB", "scale-invariant; the mean is kept, so an offset counts",
                lambda a, b: float(si_sdr(*_pair(a, b)))),
        Measure("snr", "dB", "Σx²/Σ(x̂ − x)²; the mean is kept, so an offset counts",
                lambda a, b: float(snr(*_pair(a, b)))),
        Measure("log_mel", "dB", "mean |Δ| of 80 mel bands, window 1024, bands ≥ −80 dB",
                lambda a, b: errors.log_mel_distance(a, b, sample_rate), "lower"),
        Measure("log_spectral", "dB", "log-spectral distance, windows 512, 1024, 2048, ≥ −80 dB",
                errors.log_spectral_distance, "lower"),
        Measure("level_error", "dB", "rms(x̂)/rms(x)", errors.level_error, "nearer"),
        Measure("dc", "dB", "|mean(x̂ − x)|/rms(x)", errors.dc, "lower"),
        Measure("bandwidth", "1", "frequency below which 95 % of the power lies, x̂ over x",
                errors.bandwidth, "nearer"),
    ]  # fmt: skip
    if visqol:
        slow = speech_quality.Visqol()
        words = f"ViSQOL, speech mode, {slow.mapping}, {heard}"
        measures.append(Measure("visqol", "MOS-LQO", words, slow, speech_rate=True))
    if dnsmos is not None:
        words = f"DNSMOS P.835 overall; x̂ alone is heard, {heard}"
        network = speech_quality.DNSMOS(dnsmos)
        measures.append(Measure("dnsmos", "MOS", words, network, speech_rate=True))
    return tuple(measures)


class PairedWaveforms:
    """Collect the metrics of clips; one that fails on a clip is counted there, never averaged in.

    Args:
        sample_rate: in hertz.
        measures: what to measure.
        compensate_delay: move x̂ by its measured delay before anything else is measured.
    """

    def __init__(
        self, sample_rate: int, measures: Sequence[Measure], *, compensate_delay: bool = False
    ) -> None:
        self.sample_rate, self.measures = sample_rate, tuple(measures)
        self.compensate_delay = compensate_delay
        self.names: list[str] = []
        self.groups: list[str] = []
        self.per_clip: dict[str, list[float | None]] = {
            name: [] for name in ("delay", *(measure.name for measure in measures))
        }
        self.failures: dict[str, dict[str, str]] = {}

    def update(self, x_hat_T: np.ndarray, x_T: np.ndarray, *, name: str, group: str) -> None:
        """Measure one clip.

        Args:
            x_hat_T: (T,) reconstruction, full scale ±1.
            x_T: (T,) original.
            name: what failures are reported by.
            group: what intervals are over: its speaker or file.

        Raises:
            PellucidError: for waveforms of different lengths, empty or not finite.
        """
        x_hat_T, x_T = _checked(x_hat_T, name), _checked(x_T, name)
        if x_hat_T.shape != x_T.shape:
            raise PellucidError(
                "reconstruction and original differ in length",
                where=name,
                expected=len(x_T),
                found=len(x_hat_T),
            )
        self.names.append(name)
        self.groups.append(group)
        lag = self._try("delay", lambda: delay(x_hat_T, x_T, self.sample_rate))
        if self.compensate_delay and lag:
            x_hat_T = advanced(x_hat_T, int(lag))
        at_own = (x_hat_T, x_T)
        at_speech = tuple(speech_quality.at_speech_rate(y, self.sample_rate) for y in at_own)
        for measure in self.measures:
            heard = at_speech if measure.speech_rate else at_own
            self._try(measure.name, lambda of=measure.of, heard=heard: of(*heard))

    def compute(self, *, resamples: int = 2000, seed: int = 0) -> dict[str, MetricValue]:
        """Return each metric's mean over the clips it could measure, with its interval.

        A metric that could measure no clip has the value NaN and n = 0.

        Raises:
            PellucidError: when no clip was seen.
        """
        if not self.names:
            raise PellucidError("no clip was measured", where="PairedWaveforms", hint="call update")
        units = {"delay": ("samples", "lag of the largest |cross-correlation| within 50 ms")}
        units |= {measure.name: (measure.unit, measure.convention) for measure in self.measures}
        return {
            name: self._mean(name, unit, self._words(name, convention), resamples, seed)
            for name, (unit, convention) in units.items()
        }

    def _mean(
        self, name: str, unit: str, convention: str, resamples: int, seed: int
    ) -> MetricValue:
        pairs = zip(self.per_clip[name], self.groups, strict=True)
        known = [(value, group) for value, group in pairs if value is not None]
        if not known:
            return MetricValue(float("nan"), unit, None, None, 0, convention)
        values, groups = zip(*known, strict=True)
        found = bootstrap_interval(values, groups, resamples=resamples, seed=seed)
        return MetricValue(found.value, unit, found.low, found.high, found.n, convention)

    def _words(self, name: str, convention: str) -> str:
        words = f"{convention}; mean over clips"
        if self.compensate_delay and name != "delay":
            words += ", each moved by its delay first"
        failed = self.failures.get(name)
        if not failed:
            return words
        reasons = collections.Counter(failed.values()).most_common(2)
        why = ", ".join(f"{count} × {reason}" for reason, count in reasons)
        return f"{words}; not measurable on {len(failed)} of {len(self.names)} clips ({why})"

    def _try(self, name: str, of: Callable[[], float]) -> float | None:
        try:
            value = float(of())
            if not np.isfinite(value):
                raise Unmeasurable("not finite")
        except Unmeasurable as failure:
            self.failures.setdefault(name, {})[self.names[-1]] = str(failure)
            value = None
        self.per_clip[name].append(value)
        return value


def _pair(x_hat_T: np.ndarray, x_T: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(x_hat_T)[None], torch.from_numpy(x_T)[None]


def _checked(x_T: np.ndarray, name: str) -> np.ndarray:
    x_T = np.ascontiguousarray(x_T, np.float64)
    if x_T.ndim != 1 or not len(x_T):
        raise PellucidError("a clip is (samples,)", where=name, found=x_T.shape)
    if not np.isfinite(x_T).all():
        raise PellucidError("a waveform is not finite", where=name, found="NaN or infinity")
    return x_T
