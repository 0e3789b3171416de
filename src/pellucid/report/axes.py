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
        values: finite numbers; with `log`, those ≤ 0 are left out.
        zero: whether the axis must begin at (or include) zero.
    """
    kept = [v for v in values if v > 0] if log else list(values)
    if not kept:
        return Axis(1.0, 10.0, start, end, log) if log else Axis(0.0, 1.0, start, end)
    low, high = min(kept), max(kept)
    if log:
        room = max((high / low) ** 0.05, 1.05)
        return Axis(low / room, high * room, start, end, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    return Axis(
        low if zero and low == 0 else low - room,
        high if zero and high == 0 else high + room,
        start,
        end,
    )


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
    even = bool(gaps) and all(math.isclose(gap, gaps[0], rel_tol=1e-6) for gap in gaps)
    step = min(gaps) if even else None
    if even and max(map(abs, ticks)) < 2e-3:
        return [_minus(f"{tick:.4g}" if tick == 0 else _scientific(tick)) for tick in ticks]
    return [_minus(_label(tick, step)) for tick in ticks]


def _label(value: float, step: float | None) -> str:
    size = abs(value)
    if size < 1e-12 and (step is None or size < step * 1e-6):
        return "0"
    if size >= 1e6 and (step is None or step >= 1e5):
        return f"{value / 1e6:.4g}M"
    if size >= 1e4 and (step is None or step >= 100):
        return f"{value / 1e3:.4g}k"
    if size < 1e-3 and step is None:
        return _scientific(value)
    if step is None:
        return f"{value:.4g}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _scientific(value: float) -> str:
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    return f"{value / 10.0**exponent:.3g}e{exponent}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
