"""blur: detail is lost that the model's own error does not have to cost.

A rate-limited regressor is softer than x, and rightly so: reverse water-filling at its own error
leaves 1 − D(f)/S(f) of each band. Two things are not on that curve. An output that is low-passed
*after* its content was decoded (post-filter, blurred target) has high bands that a gain per band
restores. A decoder that cannot draw high bands loses them even for one target with everything
free (R5). Both are told from a small latent, which has neither.
"""

from __future__ import annotations

import dataclasses

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.drawing import Drawing, one_target
from pellucid.diagnosis.probes.spectra import Spectra, band_gains, spectra, spectra_of
from pellucid.diagnosis.probes.training import outlearned


@dataclasses.dataclass(frozen=True)
class Lost:
    """Bands that the output loses against the curve.

    Args:
        share: error in these bands beyond the curve's / all error.
        ratio: energy of the output over the data's, in these bands together.
        expected: the same on the water-filling curve.
    """

    share: float
    ratio: float
    expected: float


def missing(case: Case) -> str | None:
    """Positions with a spectrum."""
    if case.x.ndim < 3 or min(case.x.shape[2:]) < 8:
        return "images, stacks or waveforms of at least 8 positions a side"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a low-pass behind the decoder, or one that the decoder cannot leave."""
    measured, (win_db, gains) = case.measure(spectra), case.measure(band_gains)
    lost = lost_bands(measured)
    filtered = min(
        case.threshold("blur.sharpening_db").confidence(win_db),
        case.threshold("blur.gain").confidence(_high_gain(measured, gains)),
    )
    if filtered >= ASSERTED:
        filtered = min(filtered, 1 - outlearned(case, win_db))
    drawn = _drawn(case)
    decoder = 0.0
    if drawn is not None:
        drawing, free = drawn
        decoder = min(
            case.threshold("blur.drawn_share").confidence(free.share),
            case.threshold("blur.drawn_fvu").confidence(drawing.fvu),
            case.threshold("blur.lost_share").confidence(lost.share),
        )
    confidence = max(filtered, decoder)
    if confidence < 0.1:
        return None
    by_filter = filtered >= decoder
    return Finding(
        id="blur",
        confidence=confidence,
        severity=win_db if by_filter else lost.share,
        severity_unit="dB" if by_filter else "share of the error",
        summary=_summary(lost, win_db, _high_gain(measured, gains), None if by_filter else drawn),
        evidence=(
            Evidence(
                "energy of x̂ over x in the bands below the curve",
                lost.ratio,
                "1",
                f"{lost.expected:.2f} by reverse water-filling at the model's own error",
            ),
            Evidence("error there beyond the curve's / all error", lost.share, "1", "small"),
            Evidence("won by one gain per band", win_db, "dB", "about 0: calibrated in each band"),
            *(
                ()
                if drawn is None
                else (Evidence("R5: error / R1 of one target", drawn[0].fvu, "1", "< 0.01"),)
            ),
        ),
        ruled_out=(
            RuledOut(
                "rate-starvation",
                f"at this error the curve allows {lost.expected:.2f} of the energy in those bands, "
                f"and {lost.ratio:.2f} is there",
            ),
        ),
        treatment=(
            "train against the unfiltered target, and drop whatever smooths the decoder's output"
            if by_filter
            else "give the decoder the resolution of the data: its last layers draw at too low a "
            "rate, or through a fixed low-pass; more rate or another loss will not help"
        ),
        expects=("the spectrum ratio rises to the curve", "PSNR/SNR rises"),
        suggests={"branch": "loss or output filter" if by_filter else "decoder"},
    )


def lost_bands(found: Spectra) -> Lost:
    """Return what is lost in bands with less than half the energy the curve allows."""
    expected = found.water_filled_F()
    below = (found.ratio_F < 0.5 * expected) & (expected > 0.1)
    data = float(found.data_F[below].sum())
    if data <= 0:
        return Lost(0.0, 1.0, 1.0)
    allowed = (1 - expected) * found.data_F
    beyond = (found.error_F - allowed).clamp_min(0)[below].sum() / found.error_F.sum()
    return Lost(
        float(beyond),
        float(found.output_F[below].sum()) / data,
        float((expected * found.data_F)[below].sum()) / data,
    )


def _drawn(case: Case) -> tuple[Drawing, Lost] | None:
    """Return what one target with everything free still loses, where parameters were free."""
    if not case.subject.modules or case.clock.out:
        return None
    drawing = case.measure(one_target)
    if drawing is None or not drawing.parameters:
        return None
    return drawing, lost_bands(spectra_of(drawing.target, drawing.best, case.mean_sample))


def _high_gain(found: Spectra, gains: torch.Tensor) -> float:
    """Return the error-weighted gain of the bands that ask for more than the lowest do."""
    weight = (gains - 1).clamp_min(0).square() * found.output_F
    return float((gains * weight).sum() / weight.sum().clamp_min(1e-20)) if weight.any() else 1.0


def _summary(lost: Lost, win_db: float, gain: float, drawn: tuple[Drawing, Lost] | None) -> str:
    where = f"the output keeps {lost.ratio:.2f} of the energy of bands where its own error allows "
    where += f"{lost.expected:.2f}; "
    if drawn is None:
        return where + (
            f"their content is there but low-passed: a gain of {gain:.2g} wins {win_db:.1f} dB "
            "(decoder output or loss, not rate)"
        )
    return where + (
        f"R5 is blurry too: one target with latent and decoder free keeps {drawn[1].ratio:.2f} "
        "of them (the decoder, not rate)"
    )
