"""metallic-artefacts: tones or hiss in the output that are not in the input.

An MSE-trained decoder only ever has too little energy in a band, which is `blur` at most. Metallic
sound is too much: lines at fixed frequencies (the stride's harmonics, a buzz), or high bands louder
than the input's, as adversarial and spectral losses leave them.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.rules.access import audio as missing

__all__ = ["Artefacts", "artefacts", "examine", "missing"]

FRAME = 1024
LINE = 4.0
"""A bin is a line when its error exceeds this many times the median of its neighbourhood."""


@dataclasses.dataclass(frozen=True)
class Artefacts:
    """Energy in the output that the input does not have.

    Args:
        line_share: error in spectral lines that are not the input's / all error.
        line_at: frequency of the strongest line, cycles per sample.
        excess_share: error in bands above the median frequency of x that are louder than x / all.
        excess_db: by how much those bands are louder.
        level: the larger of the two energies / variance of the data.
        flatness, own_flatness: spectral flatness of the upper half band of x and of x̂.
    """

    line_share: float
    line_at: float
    excess_share: float
    excess_db: float
    level: float
    flatness: float
    own_flatness: float


def artefacts(case: Case) -> Artefacts:
    """Average Hann-windowed periodograms of x, x̂ and the error over samples and frames."""
    data, output, error = (_periodogram(s) for s in (case.x, case.x_hat, case.x_hat - case.x))
    total = max(float(error.sum()), 1e-20)
    excess = (output - data).clamp_min(0)
    lines = _lines(error) & (output > 1.5 * data) & _lines(output)
    line_energy = float(torch.minimum(error, excess)[lines].sum())
    strongest = int((error * lines).argmax()) if lines.any() else 0
    upper = torch.arange(len(data)) > _median_bin(data)
    loud = upper & (output > 1.5 * data)
    loud_energy = float(torch.minimum(error, excess)[loud].sum())
    louder = float(output[loud].sum() / data[loud].sum().clamp_min(1e-20)) if loud.any() else 1.0
    half = len(data) // 2
    return Artefacts(
        line_share=line_energy / total,
        line_at=strongest / (2 * (len(data) - 1)),
        excess_share=loud_energy / total,
        excess_db=10 * float(torch.tensor(louder).log10()),
        level=max(line_energy, loud_energy) / max(float(data.sum()), 1e-20),
        flatness=_flatness(data[half:]),
        own_flatness=_flatness(output[half:]),
    )


def examine(case: Case) -> Finding | None:
    """Assert lines or loud high bands that make up much of the error."""
    found = case.measure(artefacts)
    tonal = case.threshold("metallic-artefacts.line_share").confidence(found.line_share)
    loud = case.threshold("metallic-artefacts.excess_share").confidence(found.excess_share)
    confidence = min(
        max(tonal, loud), case.threshold("metallic-artefacts.level").confidence(found.level)
    )
    if confidence < 0.1:
        return None
    rate = case.subject.sample_rate
    where = f"{found.line_at * rate:.0f} Hz" if rate else f"{found.line_at:.4f} cycles per sample"
    lines = tonal >= loud
    return Finding(
        id="metallic-artefacts",
        confidence=confidence,
        severity=found.line_share if lines else found.excess_share,
        severity_unit="share of the error",
        summary=f"{found.line_share:.0%} of the error are tones that the input does not have, the "
        f"strongest at {where}"
        if lines
        else f"high bands are {found.excess_db:.1f} dB louder than the input's; "
        f"{found.excess_share:.0%} of the error lies there",
        evidence=(
            Evidence("error in lines that are not the input's", found.line_share, "1", "0"),
            Evidence("error in high bands louder than the input's", found.excess_share, "1", "0"),
            Evidence("their energy / variance of the data", found.level, "1", "< 0.001"),
            Evidence(
                "spectral flatness of the upper half band",
                found.own_flatness,
                "1",
                f"{found.flatness:.3g} in the input",
            ),
        ),
        ruled_out=(RuledOut("blur", "energy is added here, not lost"),),
        treatment="multi-scale mel and several discriminators of different resolution; resize + "
        "convolution instead of transposed convolutions where lines sit at the stride's harmonics",
        expects=("lines and excess vanish", "flatness returns to the input's"),
    )


def _periodogram(x_NCT: Tensor) -> Tensor:
    """Return (F,) mean squared spectrum, summed to about the variance."""
    x = (x_NCT.double() - x_NCT.double().mean()).flatten(0, 1)
    frame = min(FRAME, x.shape[-1])
    frames = x.unfold(-1, frame, max(1, frame // 2)).flatten(0, 1)
    window = torch.hann_window(frame, dtype=torch.float64)
    power = torch.fft.rfft(frames * window).abs().square().mean(0)
    return power[1:] * 2 / (frame * float(window.square().sum()))


def _lines(power: Tensor) -> Tensor:
    """Say which bins tower over the median of 31 bins around them, with their two neighbours."""
    reach = 15
    padded = torch.nn.functional.pad(power[None], (reach, reach), mode="replicate")[0]
    median = padded.unfold(0, 2 * reach + 1, 1).median(1).values
    peak = (power > LINE * median) & (power >= _shift(power, 1)) & (power >= _shift(power, -1))
    return peak | _shift(peak, 1) | _shift(peak, -1)


def _shift(x: Tensor, by: int) -> Tensor:
    moved = torch.zeros_like(x)
    if by > 0:
        moved[by:] = x[:-by]
    else:
        moved[:by] = x[-by:]
    return moved


def _median_bin(power: Tensor) -> int:
    return int((power.cumsum(0) > 0.5 * power.sum()).nonzero()[0])


def _flatness(power: Tensor) -> float:
    """Return geometric over arithmetic mean: 1 for noise, 0 for tones."""
    safe = power.clamp_min(1e-30)
    return float(safe.log().mean().exp() / safe.mean())
