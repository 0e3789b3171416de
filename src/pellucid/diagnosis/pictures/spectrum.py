"""Power against frequency: data, reconstruction, and what the error alone would leave.

At mean squared error D, reverse water-filling spends D(f) = min(θ, S(f)) with ΣD(f) = D, and a
model on that curve returns S(f) − D(f): Cover & Thomas, Elements of Information Theory, 10.3.
"""

from __future__ import annotations

from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import numbers
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.spectra import Spectra, spectra


def power_spectrum(case: Case) -> Plot | None:
    """Draw S(f), the reconstruction's power and S(f) − D(f), per coefficient."""
    if case.x.ndim < 3:
        return None
    found = case.measure(spectra)
    x, label = _frequency(case, found)
    ideal = found.data_F * found.water_filled_F()
    return Plot(
        kind="lines",
        title="power spectrum",
        x_label=label,
        y_label="power, squared data units",
        series=(
            Series("x", x, numbers(found.data_F / found.modes_F)),
            Series("x̂", x, numbers(found.output_F / found.modes_F)),
            Series("x̂ on the water-filling curve", x, numbers(ideal / found.modes_F), True),
        ),
        y_log=True,
    )


def kept_power(case: Case) -> Plot | None:
    """Draw power of x̂ over power of x, beside 1 − D(f)/S(f)."""
    if case.x.ndim < 3:
        return None
    found = case.measure(spectra)
    x, label = _frequency(case, found)
    return Plot(
        kind="lines",
        title="share of the power that comes back",
        x_label=label,
        y_label="power of x̂ / power of x",
        series=(
            Series("this model", x, numbers(found.ratio_F)),
            Series("1 − D(f)/S(f) at the same error", x, numbers(found.water_filled_F()), True),
        ),
    )


def _frequency(case: Case, found: Spectra) -> tuple[tuple[float, ...], str]:
    """Return the bands' centres and the axis label: hertz where the rate is known."""
    rate = case.subject.sample_rate if case.is_audio else None
    nyquist: float = rate / 2 if rate else 0.5
    centres: Tensor = found.frequency_F * nyquist
    unit = "Hz" if rate else "cycles per sample" if case.is_audio else "cycles per pixel"
    return numbers(centres), f"frequency, {unit}"
