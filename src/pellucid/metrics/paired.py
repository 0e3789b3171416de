"""Metrics of pairs: how close a reconstruction is to the very image the model was given.

Shape letters: B batch, C channels, H height, W width, N images so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import Groups, group_names, interval_of, resample_means
from pellucid.functional.psnr import psnr
from pellucid.functional.shapes import check_images, check_pair
from pellucid.functional.spectrum import SHARPNESS_BAND, RadialSpectra, radial_spectra
from pellucid.functional.ssim import ms_ssim, scales_that_fit, ssim
from pellucid.functional.steerable import steerable_distance
from pellucid.functional.value_range import ValueRange
from pellucid.records import MetricValue

ROUNDING_ERROR = 1 / 255**2 / 12  # variance of rounding to 8 bits, in unit values
ROUNDING_BAND = ROUNDING_ERROR * math.pi * (SHARPNESS_BAND[1] ** 2 - SHARPNESS_BAND[0] ** 2)
PAIR = "both images clamped to the range, ×255, rounded"
PER_IMAGE = "mean of per-image values"
BAND = "0.1875–0.3125 cycles per pixel (around half Nyquist), Hann window, sums over all images"

_AT_ONCE = 2**22  # values per call of the perceptual distance, which holds eight answers to each

# Means over images of psnr, ssim, ms_ssim, perceptual, power, power_hat, cross → the metric.
_STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "psnr": lambda m: m[..., 0],
    "ssim": lambda m: m[..., 1],
    "ms_ssim": lambda m: m[..., 2],
    "perceptual": lambda m: m[..., 3],
    "sharpness": lambda m: m[..., 5] / m[..., 4],
    "coherence": lambda m: m[..., 6] ** 2 / (m[..., 4] * m[..., 5]),
    "detail": lambda m: m[..., 6] / m[..., 4],
}


def eight_bit_pair(x_hat: Tensor, x: Tensor, value_range: ValueRange) -> tuple[Tensor, Tensor]:
    """Return both as float32 in [0, 1] after clamp → ×255 → round (uint8 passes through)."""
    pair = (t if t.dtype == torch.uint8 else value_range.to_uint8(t) for t in (x_hat, x))
    first, second = (t.float() / 255 for t in pair)
    return first, second


def eight_bit_psnr(x_hat: Tensor, x: Tensor, value_range: ValueRange) -> Tensor:
    """Measure the PSNR of each 8-bit pair: (B,) dB, at most 58.92 dB.

    The MSE counts as no less than the variance of rounding itself, so equal images are finite.
    """
    first, second = eight_bit_pair(x_hat, x, value_range)
    return psnr(first, second, data_range=1.0, smallest_error=ROUNDING_ERROR)


class PairedImages:
    """Accumulate PSNR, SSIM, MS-SSIM, perceptual distance, sharpness, coherence and detail.

    Every pair is compared as 8-bit images. One instance may see images of different sizes, batch
    by batch. Values per image are kept, so that two runs on the same images can be compared with
    `functional.bootstrap.paired_difference(a.per_image["psnr"], b.per_image["psnr"], a.groups)`.

    Args:
        value_range: the range of the images handed to `update`.
    """

    def __init__(self, value_range: ValueRange) -> None:
        self.value_range = value_range
        names = ("psnr", "ssim", "ms_ssim", "perceptual")
        self._values: dict[str, list[Tensor]] = {name: [] for name in names}
        self._spectra: list[RadialSpectra] = []
        self._groups: list[str] = []
        self._scales: set[int] = set()

    def update(
        self, x_hat_BCHW: Tensor, x_BCHW: Tensor, groups: Groups | Tensor | None = None
    ) -> None:
        """Measure one batch.

        Args:
            x_hat_BCHW: reconstructions, float in `value_range` or uint8.
            x_BCHW: the images the model was given (not another crop, not the augmented ones).
            groups: (B,) which photograph each comes from; None makes each image its own group.

        Raises:
            PellucidError: for different shapes, non-finite reconstructions, images below 11
                pixels, or groups of another length.
        """
        check_pair(x_hat_BCHW, x_BCHW, where="PairedImages")
        check_images(x_BCHW, smallest=11, where="PairedImages", hint="SSIM's window is 11 pixels")
        for name, images in (("reconstructions", x_hat_BCHW), ("originals", x_BCHW)):
            if images.is_floating_point() and not images.isfinite().all():
                raise PellucidError(f"the {name} hold NaN or infinity", where="PairedImages")
        self._groups += group_names(groups, size=len(x_BCHW), first=len(self._groups))
        with torch.no_grad():
            x_hat, x = eight_bit_pair(x_hat_BCHW, x_BCHW, self.value_range)
            error = psnr(x_hat, x, data_range=1.0, smallest_error=ROUNDING_ERROR)
            self._values["psnr"].append(error.cpu())
            self._values["ssim"].append(ssim(x_hat, x, data_range=1.0).cpu())
            self._values["ms_ssim"].append(ms_ssim(x_hat, x, data_range=1.0).cpu())
            self._values["perceptual"].append(_perceptual(x_hat, x).cpu())
            self._spectra.append(radial_spectra(x_hat, x).cpu())
        self._scales.add(scales_that_fit(x_BCHW.shape[-2], x_BCHW.shape[-1]))

    @property
    def groups(self) -> np.ndarray:
        """(N,) group names in the order of `update`."""
        return np.asarray(self._groups)

    @property
    def per_image(self) -> dict[str, np.ndarray]:
        """(N,) values per image of psnr (dB), ssim, ms_ssim and perceptual, as they were given."""
        self._require_images()
        return {name: torch.cat(parts).double().numpy() for name, parts in self._values.items()}

    def spectra(self) -> RadialSpectra:
        """Return the radial spectra summed over all images: one row of 16 rings."""
        self._require_images()
        return RadialSpectra.cat(self._spectra).total()

    def spectrum_json(self) -> dict[str, list[float | None]]:
        """Return the curves a report draws: frequency, ratio, coherence, water_filling.

        A ring without power (a flat set, very small images) has None.
        """
        spectra = self.spectra()
        curves = {
            "frequency": spectra.frequency,
            "ratio": spectra.ratio[0],
            "coherence": spectra.coherence[0],
            "water_filling": spectra.water_filling[0],
        }
        return {
            name: [v if np.isfinite(v) else None for v in curve.tolist()]
            for name, curve in curves.items()
        }

    def compute(
        self,
        *,
        confidence: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
        rows: np.ndarray | None = None,
    ) -> dict[str, MetricValue]:
        """Return every metric with its cluster-bootstrap interval.

        psnr, ssim, ms_ssim, perceptual, sharpness (power of x̂ over x around half Nyquist: noise
        raises it), coherence (how much of it is the right detail) and detail (the right detail that
        is there, over all there was: noise cannot raise it).

        Args:
            confidence: probability that an interval covers the truth.
            resamples: bootstrap resamples of whole groups.
            seed: of the resampling.
            rows: (N,) which images count; None takes all.

        Raises:
            PellucidError: when no image was seen.
        """
        values = self.per_image
        columns = np.stack([*values.values(), *self._band_columns()], axis=1)
        groups = self.groups
        if rows is not None:
            columns, groups = columns[rows], groups[rows]
        replicates, n = resample_means(columns, groups, resamples=resamples, seed=seed)
        results = {}
        for name, (unit, convention) in self._conventions().items():
            statistic = _STATISTICS[name]
            value = float(statistic(columns.mean(0)))
            interval = interval_of(value, statistic(replicates), n=n, confidence=confidence)
            results[name] = MetricValue(
                interval.value, unit, interval.low, interval.high, n, convention
            )
        return results

    def _conventions(self) -> dict[str, tuple[str, str]]:
        scales = " or ".join(str(s) for s in sorted(self._scales))
        window = "Gaussian window 11 px σ 1.5, valid positions, mean over channels"
        multi = f"{scales} of 5 scales, weights renormalised"
        return {
            "psnr": ("dB", f"{PER_IMAGE}, at most 58.92 dB; {PAIR}"),
            "ssim": ("1", f"{PER_IMAGE}; {window}; {PAIR}"),
            "ms_ssim": ("1", f"{PER_IMAGE}; {multi}; {window}; {PAIR}"),
            "perceptual": (
                "1",
                f"{PER_IMAGE}; steerable-band distance, structure and strength, luma and a quarter "
                f"of each chroma, up to 4 octaves, 0 equal; {PAIR}",
            ),
            "sharpness": ("1", f"power of x̂ over power of x in {BAND}; {PAIR}"),
            "coherence": ("1", f"squared coherence of x̂ and x in {BAND}; {PAIR}"),
            "detail": ("1", f"cross-power of x̂ and x over power of x in {BAND}; {PAIR}"),
        }

    def _band_columns(self) -> list[np.ndarray]:
        """Return (N,) power, power_hat and cross around half Nyquist, lifted by rounding noise.

        The lift makes two flat images equal (ratio and coherence 1) instead of undefined, and is
        far below any visible texture.
        """
        band = RadialSpectra.cat([spectra.band() for spectra in self._spectra])
        powers = (band.power, band.power_hat, band.cross)
        return [power[:, 0].double().numpy() + ROUNDING_BAND for power in powers]

    def _require_images(self) -> None:
        if not self._spectra:
            raise PellucidError("no image was measured", where="PairedImages", hint="call update")


def _perceptual(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the distance of each pair, a few images at a time."""
    count = max(1, _AT_ONCE // x[0].numel())
    pairs = zip(x_hat.split(count), x.split(count), strict=True)
    return torch.cat([steerable_distance(*pair) for pair in pairs])
