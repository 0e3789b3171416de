"""Per-marker fidelity of stacks: R² and Pearson by channel, cosine by pixel, gradient error.

Everything is a ratio of sums, so that a bootstrap over blocks resamples the sums themselves.

Shape letters: B batch, C channels, H height, W width, T tiles so far, R resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import interval_of, resample_means
from pellucid.functional.shapes import check_pair
from pellucid.functional.spatial_gradient import spatial_gradient
from pellucid.records import MetricValue

WORST = 0.1
"""Share of the markers in the worst decile."""


@dataclasses.dataclass(frozen=True)
class MarkerTable:
    """Per-marker numbers with 95 % intervals, (C,) each.

    Args:
        r2: 1 − Σ(x − x̂)² / Σ(x − x̄)², x̄ the marker's own mean over the measured tiles.
        r2_low: lower ends.
        r2_high: upper ends.
        pearson: correlation of x̂ with x.
        gradient: Σ|∇(x̂ − x)| / Σ|∇x|.
    """

    r2: np.ndarray
    r2_low: np.ndarray
    r2_high: np.ndarray
    pearson: np.ndarray
    gradient: np.ndarray


class MarkerErrors:
    """Accumulate what per-marker numbers are made of, tile by tile.

    Args:
        cosine: also measure the cosine between pixels' marker vectors; needs two channels.
        cells: what comes are single cells (B, C, 1), which have no gradient to compare.
    """

    def __init__(self, *, cosine: bool = True, cells: bool = False) -> None:
        self.cosine, self.cells = cosine, cells
        self._sums: list[Tensor] = []
        self._cosines: list[Tensor] = []
        self.groups: list[str] = []

    def update(self, x_hat_BCHW: Tensor, x_BCHW: Tensor, groups: Sequence[str]) -> None:
        """Measure a batch.

        Raises:
            PellucidError: for different shapes, or values that are not finite.
        """
        check_pair(x_hat_BCHW, x_BCHW, where="MarkerErrors")
        if not x_hat_BCHW.isfinite().all():
            raise PellucidError("the reconstructions hold NaN or infinity", where="MarkerErrors")
        y, x = x_hat_BCHW.double().flatten(2), x_BCHW.double().flatten(2)
        edges = [
            torch.zeros_like(x[..., 0])
            if self.cells
            else sum(part.abs().double().flatten(2).sum(2) for part in spatial_gradient(image))
            / x.shape[2]
            for image in (x_hat_BCHW - x_BCHW, x_BCHW)
        ]
        columns = [
            (y - x).square().mean(2), x.mean(2), x.square().mean(2), y.mean(2),
            y.square().mean(2), (x * y).mean(2), *edges,
        ]  # fmt: skip
        self._sums.append(torch.stack([torch.as_tensor(c) for c in columns], 2).cpu())
        if self.cosine and x.shape[1] > 1:
            there = x.norm(dim=1) > 0
            found = torch.nn.functional.cosine_similarity(x, y, dim=1)
            count = there.sum(1).clamp_min(1)
            self._cosines.append(torch.where(there, found, 0.0).sum(1).div(count).cpu())
        self.groups += [str(group) for group in groups]

    @property
    def sums_TCK(self) -> np.ndarray:
        """Means over the pixels of every tile: (T, C, 8)."""
        if not self._sums:
            raise PellucidError("no tile was measured", where="MarkerErrors", hint="call update")
        return torch.cat(self._sums).numpy()

    def table(self, *, resamples: int = 1000, seed: int = 0) -> MarkerTable:
        """Return every marker's numbers."""
        whole, draws, n = self.replicates(resamples=resamples, seed=seed)
        r2, r2_draws = _r2(whole), _r2(draws)
        ends = [
            interval_of(float(value), column, n=n)
            for value, column in zip(r2, r2_draws.T, strict=True)
        ]
        nan = float("nan")
        return MarkerTable(
            r2,
            np.array([nan if e.low is None else e.low for e in ends]),
            np.array([nan if e.high is None else e.high for e in ends]),
            _pearson(whole),
            _gradient(whole),
        )

    def replicates(self, *, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the sums over all tiles (C, K), resampled ones (R, C, K), and the groups."""
        sums = self.sums_TCK
        flat = sums.reshape(len(sums), -1)
        draws, n = resample_means(flat, self.groups, resamples=resamples, seed=seed)
        return sums.mean(0), draws.reshape(len(draws), *sums.shape[1:]), n

    def summary(
        self, live: Sequence[int], *, resamples: int = 1000, seed: int = 0
    ) -> dict[str, MetricValue]:
        """Return the numbers over live markers: median and worst decile, cosine, gradient error."""
        whole, draws, n = self.replicates(resamples=resamples, seed=seed)
        chosen = list(live)
        over = f"over {len(chosen)} live markers; interval over {n} blocks or regions"
        found = {}
        for name, (statistic, words) in _SUMMARIES.items():
            if self.cells and name == "gradient_error":
                continue
            value = float(statistic(whole[chosen]))
            ends = interval_of(value, statistic(draws[:, chosen]), n=n)
            found[name] = MetricValue(value, "1", ends.low, ends.high, n, f"{words} {over}")
        if self._cosines:
            cosine = torch.cat(self._cosines).numpy()
            means, n = resample_means(cosine[:, None], self.groups, resamples=resamples, seed=seed)
            ends = interval_of(float(cosine.mean()), means[:, 0], n=n)
            what = "cells" if self.cells else "pixels"
            words = f"mean over {what} with a signal of the cosine between marker vectors"
            found["cosine"] = MetricValue(ends.value, "1", ends.low, ends.high, n, words)
        return found


def median_gain(
    model: MarkerErrors, other: MarkerErrors, live: Sequence[int], *, resamples: int, seed: int
) -> dict[str, MetricValue]:
    """Return medians of the model minus the other's, with the same blocks drawn for both."""
    own, own_draws, n = model.replicates(resamples=resamples, seed=seed)
    their, their_draws, _ = other.replicates(resamples=resamples, seed=seed)
    chosen = list(live)
    found = {}
    for name in ("r2", "r2_worst_decile", "pearson"):
        statistic, words = _SUMMARIES[name]
        value = float(statistic(own[chosen]) - statistic(their[chosen]))
        draws = statistic(own_draws[:, chosen]) - statistic(their_draws[:, chosen])
        ends = interval_of(value, draws, n=n)
        told = f"this model minus the reference, {words}; the same {n} blocks drawn for both"
        found[name] = MetricValue(value, "1", ends.low, ends.high, n, told)
    return found


def _r2(sums: np.ndarray) -> np.ndarray:
    variance = sums[..., 2] - sums[..., 1] ** 2
    return 1 - sums[..., 0] / np.maximum(variance, 1e-20)


def _pearson(sums: np.ndarray) -> np.ndarray:
    covariance = sums[..., 5] - sums[..., 1] * sums[..., 3]
    x, y = sums[..., 2] - sums[..., 1] ** 2, sums[..., 4] - sums[..., 3] ** 2
    return covariance / np.sqrt(np.maximum(x * y, 1e-30))


def _gradient(sums: np.ndarray) -> np.ndarray:
    return sums[..., 6] / np.maximum(sums[..., 7], 1e-20)


def _median(values: np.ndarray) -> np.ndarray:
    return np.median(values, axis=-1)


def _worst(values: np.ndarray) -> np.ndarray:
    count = max(1, round(WORST * values.shape[-1]))
    return np.sort(values, axis=-1)[..., :count].mean(-1)


_SUMMARIES = {
    "r2": (lambda sums: _median(_r2(sums)), "median R²"),
    "r2_worst_decile": (lambda sums: _worst(_r2(sums)), "mean R² of the worst tenth"),
    "pearson": (lambda sums: _median(_pearson(sums)), "median correlation"),
    "gradient_error": (
        lambda sums: _median(_gradient(sums)),
        "median of Σ|∇(x̂ − x)| / Σ|∇x|",
    ),
}
