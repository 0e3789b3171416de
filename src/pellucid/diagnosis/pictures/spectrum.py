"""Power against frequency: data, reconstruction, and what the error alone would leave.

At mean squared error D, reverse water-filling spends D(f) = min(θ, S(f)) with ΣD(f) = D, and a
model on that curve returns the power S(f) − D(f): Cover & Thomas, Elements of Information Theory,
section 10.3. Shape letters: N samples, C channels, F frequency bins, R rings.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import evenly, numbers
from pellucid.diagnosis.plot import Plot, Series

SAMPLES, LONGEST, RINGS = 96, 4096, 48


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Power per ring of frequency, in squared data units.

    Args:
        frequency: centre of each ring, in cycles per element, or hertz where the rate is known.
        unit: of the frequency.
        data: (R,) S(f).
        output: (R,) power of the reconstruction.
        expected: (R,) S(f) − D(f) at the model's own error.
    """

    frequency: Tensor
    unit: str
    data: Tensor
    output: Tensor
    expected: Tensor


def power_spectrum(case: Case) -> Plot | None:
    """Draw S(f), the reconstruction's power and S(f) − D(f)."""
    found = case.measure(spectra)
    if found is None:
        return None
    x = numbers(found.frequency)
    return Plot(
        kind="lines",
        title="power spectrum",
        x_label=f"frequency, {found.unit}",
        y_label="power, squared data units",
        series=(
            Series("x", x, numbers(found.data)),
            Series("x̂", x, numbers(found.output)),
            Series("x̂ on the water-filling curve", x, numbers(found.expected), reference=True),
        ),
        x_log=case.is_audio,
        y_log=True,
    )


def kept_power(case: Case) -> Plot | None:
    """Draw power of x̂ over power of x, beside 1 − D(f)/S(f)."""
    found = case.measure(spectra)
    if found is None:
        return None
    x = numbers(found.frequency)
    data = found.data.clamp_min(1e-30)
    return Plot(
        kind="lines",
        title="share of the power that comes back",
        x_label=f"frequency, {found.unit}",
        y_label="power of x̂ / power of x",
        series=(
            Series("this model", x, numbers(found.output / data)),
            Series("1 − D(f)/S(f) at the same error", x, numbers(found.expected / data), True),
        ),
        x_log=case.is_audio,
    )


def spectra(case: Case) -> Spectra | None:
    """Measure on some samples, under a Hann window so that borders do not leak."""
    if case.x.ndim < 3 or min(case.x.shape[2:]) < 8:
        return None
    kept = evenly(len(case.x), SAMPLES)
    x, x_hat = (t[kept][..., :LONGEST].double() for t in (case.x, case.x_hat))
    mean = x.mean(dim=(0, *range(2, x.ndim)), keepdim=True)
    data, output, error = (_power(t) for t in (x - mean, x_hat - mean, x_hat - x))
    expected = data - water_filled(data, float(error.sum()))
    ring, count = _rings(tuple(x.shape[2:]))
    rate = case.subject.sample_rate if case.is_audio else None
    centres = (torch.arange(count) + 0.5) / count * 0.5
    live = torch.bincount(ring, minlength=count) > 0
    live[0] = False  # the mean is no frequency

    def per_ring(power: Tensor) -> Tensor:
        sums = torch.zeros(count, dtype=power.dtype).index_add_(0, ring, power.flatten())
        return (sums / torch.bincount(ring, minlength=count).clamp_min(1))[live]

    return Spectra(
        frequency=(centres * (rate or 1.0))[live],
        unit="Hz" if rate else "cycles per sample" if case.is_audio else "cycles per pixel",
        data=per_ring(data),
        output=per_ring(output),
        expected=per_ring(expected),
    )


def water_filled(power_F: Tensor, distortion: float) -> Tensor:
    """Return D(f) = min(θ, S(f)) with ΣD(f) = min(distortion, ΣS(f)), by bisection."""
    low, high = 0.0, float(power_F.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(power_F.clamp_max(middle).sum()) < distortion:
            low = middle
        else:
            high = middle
    return power_F.clamp_max(high)


def _power(x_NCS: Tensor) -> Tensor:
    """Return the mean power per frequency bin over samples and channels; the window's is undone."""
    axes = tuple(range(2, x_NCS.ndim))
    window = torch.ones((), dtype=x_NCS.dtype)
    for size in x_NCS.shape[2:]:
        window = window[..., None] * torch.hann_window(size, dtype=x_NCS.dtype)
    power = torch.fft.fftn(x_NCS * window, dim=axes).abs().square().mean((0, 1))
    return power / (window.square().sum() * window.numel())


def _rings(shape: tuple[int, ...]) -> tuple[Tensor, int]:
    """Return the ring of every frequency bin (flattened), and how many rings there are."""
    squares = torch.zeros(())
    for size in shape:
        squares = squares[..., None] + torch.fft.fftfreq(size).square()
    count = max(4, min(RINGS, min(shape) // 2))
    return (squares.sqrt() * 2 * count).long().clamp_max(count - 1).flatten(), count
