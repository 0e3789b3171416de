"""Borders that repeat along an axis: where tiles, chunks or patches meet.

Shape letters: N samples, C channels, P positions.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.deployed import paths

SMALLEST = 4


@dataclasses.dataclass(frozen=True)
class Seams:
    """The most conspicuous period of one axis.

    Args:
        period: positions between two borders.
        phase: the first position right of a border.
        axis: 2 is the first position axis.
        contrast: error next to borders / the largest error elsewhere (its 90th percentile).
        share: error next to borders beyond the median elsewhere / all error.
        jump: step across borders, x_hat against x, beyond the steps elsewhere (a ratio of squares).
        path_share: share of forward − decode(encode(x)) beside borders beyond an even spread.
    """

    period: int
    phase: int
    axis: int
    contrast: float
    share: float
    jump: float
    path_share: float


def seams(case: Case) -> Seams | None:
    """Search every axis of the deployed output for a period; None when nothing repeats."""
    deployed = case.measure(paths).output
    x_hat = case.x_hat if deployed is None else deployed
    difference = None if deployed is None else deployed - case.x_hat
    candidates = [
        found
        for axis in range(2, case.x.ndim)
        if (found := _along(case.x, x_hat, difference, axis)) is not None
    ]
    return max(candidates, key=lambda s: s.share, default=None)


def _along(x: Tensor, x_hat: Tensor, difference: Tensor | None, axis: int) -> Seams | None:
    length = x.shape[axis]
    if length < 4 * SMALLEST:
        return None
    error = _profile(x_hat - x, axis)
    jumps = _steps(x_hat, axis) / _steps(x, axis).clamp_min(1e-12 * float(x.double().var()) + 1e-30)
    apart = None if difference is None else _profile(difference, axis)
    best: Seams | None = None
    for period in _periods(length):
        for phase in _phases(period, length):
            found = _judge(error, jumps, apart, period, phase, axis)
            if best is None or _score(found) > 1.05 * _score(best):
                best = found
    return best


def _score(found: Seams) -> float:
    """Prefer periods whose every border stands out, then those that hold more of the error."""
    return found.share * min(found.contrast, 3.0)


def _judge(
    error: Tensor, jumps: Tensor, apart: Tensor | None, period: int, phase: int, axis: int
) -> Seams:
    """Compare the two positions next to each border with all others, ends left out."""
    length = len(error)
    borders = torch.arange(phase, length, period)
    borders = borders[(borders >= 2) & (borders <= length - 2)]
    beside = torch.zeros(length, dtype=torch.bool)
    beside[borders - 1] = beside[borders] = True
    inner = torch.zeros(length, dtype=torch.bool)
    inner[2:-2] = True
    near = torch.zeros(length, dtype=torch.bool)
    reach = max(1, min(8, period // 8))  # what a border spoils falls off over a few positions
    for offset in range(-1 - reach, reach + 1):
        near[(borders + offset).clamp(0, length - 1)] = True
    others = error[inner & ~near]
    if not len(borders) or len(others) < 4:
        return Seams(period, phase, axis, 0.0, 0.0, 0.0, 0.0)
    usual, high = others.median(), others.quantile(0.9).clamp_min(1e-20)
    share = (error[beside] - usual).sum() / error.sum().clamp_min(1e-20)
    step = jumps[borders - 1].median() / jumps[others_steps(borders, length)].median().clamp_min(
        1e-6
    )
    path = 0.0
    if apart is not None and float(apart.sum()) > 1e-12:
        path = float(apart[beside].sum() / apart.sum()) - float(beside.double().mean())
    weakest = error[borders - 1].maximum(error[borders]).quantile(0.25)
    return Seams(period, phase, axis, float(weakest / high), float(share), float(step), path)


def others_steps(borders: Tensor, length: int) -> Tensor:
    """Return the indices of steps (between p and p + 1) that cross no border."""
    crossing = torch.zeros(length - 1, dtype=torch.bool)
    crossing[borders - 1] = True
    return (~crossing).nonzero().flatten()


def _periods(length: int) -> list[int]:
    """Return every short period, and round long ones: people cut at multiples of 16 or 50."""
    long = [p for p in range(257, length // 2 + 1) if p % 16 == 0 or p % 50 == 0]
    return [*range(SMALLEST, min(256, length // 2) + 1), *long[:: max(1, len(long) // 512)]]


def _phases(period: int, length: int) -> list[int]:
    """Borders usually lie at multiples of the period; with few periods no other is trusted."""
    return [period] if length < 6 * period else [period, period // 2]


def _profile(e: Tensor, axis: int) -> Tensor:
    """Return mean squares by position along an axis."""
    return e.double().square().movedim(axis, -1).flatten(0, -2).mean(0)


def _steps(x: Tensor, axis: int) -> Tensor:
    """Return mean squared differences of neighbours along an axis."""
    return _profile(x.diff(dim=axis), axis)
