"""Axes of a chart: a scale from values to pixels, round ticks, labels short enough to read."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale.

    Args:
        low: value at the start of the axis.
        high: value at its end; above `low`.
        start: pixel where `low` sits.
        end: pixel where `high` sits; may be below `start` (a y axis points up).
        log: whether the scale is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; values outside the axis stay at its ends."""
        low, high = self._warp(self.low), self._warp(self.high)
        share = (self._warp(value) - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values on the axis."""
        if not self.log:
            return linear_ticks(self.low, self.high, count)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        decades = last - first
        steps = (1, 2, 5) if decades <= 2 else (1,)
        stride = max(1, math.ceil(decades / (count + 1)))
        values = (s * 10.0**e for e in range(first, last + 1, stride) for s in steps)
        return [v for v in values if self.low <= v * (1 + 1e-9) and v <= self.high * (1 + 1e-9)]

    def _warp(self, value: float) -> float:
        return math.log(max(value, 1e-300)) if self.log else value


def axis_over(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    log: bool = False,
    zero: bool = False,
) -> Axis:
    """Build an axis that holds all values, with a little room and never of zero length.

    Args:
        values: finite numbers; with `log`, only positive ones count.
        zero: whether the axis must begin at (or include) zero.
    """
    kept = [v for v in values if v > 1e-300] if log else list(values)
    if not kept:
        return Axis(1.0, 10.0, start, end, log) if log else Axis(0.0, 1.0, start, end)
    low, high = min(kept), max(kept)
    if log:
        room = max((high / low) ** 0.05, 1.05)
        return Axis(max(low / room, 1e-300), high * room, start, end, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    bottom = low if zero and low == 0 else low - room
    top = high if zero and high == 0 and low < 0 else high + room
    return Axis(bottom, top, start, end)


def exact_axis(values: Iterable[float], start: float, end: float) -> Axis:
    """Build a linear axis from the smallest to the largest value, without room."""
    kept = list(values) or [0.0]
    low, high = min(kept), max(kept)
    return Axis(low, high if high > low else low + 1.0, start, end)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten that lie in [low, high]."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5) if m * power >= raw * 0.75), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_labels(ticks: list[float]) -> list[str]:
    """Return labels with just enough decimals to tell the ticks apart; 20k for 20 000."""
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    even = bool(gaps) and all(math.isclose(gap, gaps[0], rel_tol=1e-3) for gap in gaps)
    if not even:
        return [_minus(_alone(tick)) for tick in ticks]
    step, top = min(gaps), max(map(abs, ticks))
    if top < 2e-3:
        return [_minus(_scientific(tick, step)) for tick in ticks]
    unit, letter = next(
        (u, letter) for u, letter in _UNITS if (top >= 10 * u and step >= u / 10) or u == 1
    )
    places = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return [
        "0" if abs(tick) < step / 1e3 else _minus(f"{tick / unit:.{places}f}{letter}")
        for tick in ticks
    ]


_UNITS = ((10**6, "M"), (10**3, "k"), (1, ""))


def _alone(value: float) -> str:
    size = abs(value)
    if 0 < size < 1e-3 or size >= 1e7:
        return _scientific(value, size)
    return f"{value / 1e3:.4g}k" if size >= 1e4 else f"{value:.4g}"


def _scientific(value: float, step: float) -> str:
    if abs(value) < step / 1e3:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    places = max(0, exponent - math.floor(math.log10(step) + 1e-9))
    return f"{value / 10.0**exponent:.{places}f}e{exponent}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
