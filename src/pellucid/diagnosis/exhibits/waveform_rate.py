"""What SNR the bitrate of a waveform subject buys, by the Gaussian reference on its own data."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Exhibit
from pellucid.diagnosis.pictures.thinning import numbers
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.bits import bits_per_second, frame_spectra
from pellucid.functional.water_filling import FrameSpectra

TARGETS_DB = (20.0, 30.0)
_POINTS = 25


def show(case: Case) -> Exhibit | None:
    """Say what the rate gives and what the goal needs; None where no bitrate is known."""
    rate, spectra = case.measure(bits_per_second), case.measure(frame_spectra)
    if rate is None or spectra is None or rate[0] < 1:
        return None
    own = rate[0] / 1000
    snr = case.db(case.mse)
    wanted = TARGETS_DB if case.goal is None or case.goal[0] != "snr" else (case.goal[1],)
    needs = ", ".join(f"{db:g} dB needs about {_kilobits(spectra.bits_for(db))}" for db in wanted)
    text = (
        f"{needs}; you have {own:.3g} kb/s ({rate[1]}), which buys {spectra.snr_at(rate[0]):.1f} "
        f"dB where this model reaches {snr:.1f}. Gaussian sound of the same 20 ms spectra, equal "
        "bits per frame, reverse water-filling over frequency; a reference, not a bound: pitch can "
        "beat it."
    )
    return Exhibit("SNR for this bitrate", text, (_picture(spectra, own, snr),))


def _picture(spectra: FrameSpectra, own_kbps: float, snr: float) -> Plot:
    kbps = own_kbps * torch.logspace(-1, 1, _POINTS, dtype=torch.float64)
    curve = tuple(spectra.snr_at(1000 * k) for k in kbps.tolist())
    return Plot(
        kind="lines",
        title="SNR against bitrate",
        x_label="bitrate, kb/s",
        y_label="SNR, dB",
        series=(
            Series("this model", (own_kbps,), (snr,)),
            Series("Gaussian reference on this sound", numbers(kbps), curve, reference=True),
        ),
        x_log=True,
    )


def _kilobits(bits: float) -> str:
    return f"{bits / 1000:.3g} kb/s"
