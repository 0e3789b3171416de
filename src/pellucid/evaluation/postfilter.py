"""Fit a postfilter on held-out pairs, and measure what each strength of it costs and buys.

Shape letters: B batch, C channels, H height, W width, N images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.evaluation.passes import Reconstructor, batches
from pellucid.evaluation.protocol import Progress
from pellucid.functional.postfilter import (
    LeastSquaresFilter,
    filtered,
    identity_kernel,
    in_series,
    power_gains,
    radial_kernel,
)
from pellucid.functional.spectrum import RadialSpectra, radial_spectra
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.paired import PairedImages
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.samples import affordable, spaced

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
METRICS = ("psnr", "ssim", "perceptual", "sharpness", "coherence", "detail")
_AT_ONCE = 64


def fit_postfilter(
    autoencoder: Autoencoder,
    held_out_set: Any,
    value_range: ValueRange,
    *,
    max_samples: int = 512,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit the autoencoder's postfilter in place, on samples its weights were not trained on.

    Args:
        autoencoder: of images, with a postfilter; an earlier fit of it is forgotten.
        held_out_set: map-style dataset of {"x", "target"}: the validation split.
        value_range: of the samples.
        max_samples: at most so many, evenly spaced over the set.
        progress: called with (done, total) steps.

    Returns:
        {"samples", "taps", "strength", "frequency", "gain", "before", "points"}: the gains per ring
        that make the power whole, and `METRICS` on the same samples, before the filter and at
        each strength.

    Raises:
        PellucidError: when there is no postfilter, no sample, or one is below 11 pixels.
    """
    postfilter = autoencoder.postfilter
    if postfilter is None:
        raise PellucidError("this model has no postfilter", expected="a recipe with `postfilter:`")
    kernel_CCKK = postfilter.kernel_CCKK
    channels, side = kernel_CCKK.shape[0], kernel_CCKK.shape[-1]
    kernel_CCKK.copy_(identity_kernel(channels, side))
    pairs = _pairs(autoencoder, held_out_set, max_samples)
    strengths = sorted({*STRENGTHS, postfilter.strength})
    steps, total = iter(range(1, len(strengths) + 3)), len(strengths) + 2

    def advance() -> None:
        if progress is not None:
            progress(next(steps), total)

    least = LeastSquaresFilter(channels, postfilter.taps)
    for x_hat, x in pairs:
        least.update(x_hat, x)
    wiener_CCKK = least.solve()
    spectra = RadialSpectra.cat(
        [radial_spectra(filtered(x_hat, wiener_CCKK), x) for x_hat, x in pairs]
    )
    gain_R = power_gains(spectra)
    advance()
    before = _measure(pairs, None, value_range)
    advance()
    points = []
    for strength in strengths:
        radial = radial_kernel(spectra, 1 + strength * (gain_R - 1), postfilter.taps)
        kernel = in_series(wiener_CCKK, radial)
        if strength == postfilter.strength:
            kernel_CCKK.copy_(kernel)
        points.append({"strength": strength, **_measure(pairs, kernel, value_range)})
        advance()
    return {
        "samples": sum(len(x) for _, x in pairs),
        "taps": postfilter.taps,
        "strength": postfilter.strength,
        "frequency": spectra.frequency.tolist(),
        "gain": gain_R.tolist(),
        "before": before,
        "points": points,
    }


def _pairs(autoencoder: Autoencoder, held_out_set: Any, most: int) -> list[tuple[Tensor, Tensor]]:
    if len(held_out_set) == 0:
        raise PellucidError("a postfilter is fitted on held-out images", found="none")
    reconstruct = Reconstructor(autoencoder, "float32")
    elements = held_out_set[0]["target"].numel()
    chosen = spaced(len(held_out_set), min(most, affordable(elements)))
    return [
        (reconstruct(batch.x)[0].cpu(), batch.target.float())
        for batch in batches(held_out_set, chosen, _AT_ONCE)
    ]


@torch.no_grad()
def _measure(
    pairs: list[tuple[Tensor, Tensor]], kernel_CCKK: Tensor | None, value_range: ValueRange
) -> dict[str, float]:
    paired = PairedImages(value_range)
    for x_hat, x in pairs:
        paired.update(x_hat if kernel_CCKK is None else filtered(x_hat, kernel_CCKK), x)
    found = paired.compute(resamples=100)
    return {name: float(found[name].value) for name in METRICS}
