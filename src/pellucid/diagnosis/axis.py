"""One axis of a picture: where a number lies on it, and which numbers are written beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

_LARGEST = 1e150
"""Numbers beyond are drawn at the edge: differences of larger ones overflow."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high` (both as plain numbers).

    Args:
        low, high: its ends, low < high; positive when logarithmic.
        log: logarithmic.
    """

    low: float
    high: float
    log: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a number has a place here."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def place(self, value: float) -> float:
        """Return 0 at `low`, 1 at `high`; what lies beyond is drawn at the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log10(value / self.low) / math.log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def base(self) -> float:
        """Where bars start: zero, or the low end of a logarithmic axis."""
        return self.low if self.log else min(max(0.0, self.low), self.high)

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Return roughly `about` round numbers on the axis and how they are written."""
        return self._log_ticks(about) if self.log else self._linear_ticks(about)

    def _linear_ticks(self, about: int) -> list[tuple[float, str]]:
        raw = (self.high - self.low) / max(about, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [i * step for i in range(first, last + 1)][: 4 * about]
        return [(value, _written(value, step)) for value in values]

    def _log_ticks(self, about: int) -> list[tuple[float, str]]:
        first = math.ceil(math.log10(self.low) - 1e-9)
        last = math.floor(math.log10(self.high) + 1e-9)
        decades = last - first + 1
        if decades >= 3:
            every = max(1, math.ceil(decades / (about + 1)))
            return [(10.0**k, _power(k)) for k in range(first, last + 1, every)]
        values = [
            m * 10.0**k
            for k in range(first - 1, last + 1)
            for m in (1, 2, 5)
            if self.low * 0.999 <= m * 10.0**k <= self.high * 1.001
        ]
        return [(v, f"{v:.3g}") for v in values] or [(self.low, f"{self.low:.3g}")]


def axis_over(
    values: Sequence[float], *, log: bool = False, room: bool = False, zero: bool = False
) -> Axis | None:
    """Fit an axis to the finite numbers among `values`; None when there are none.

    Args:
        values: what will be drawn.
        log: logarithmic; linear all the same when no number is positive.
        room: leave a little space at the ends.
        zero: include zero (bars); a linear axis that nearly reaches it does so anyway.
    """
    finite = [min(max(v, -_LARGEST), _LARGEST) for v in values if math.isfinite(v)]
    if not finite:
        return None
    positive = [v for v in finite if v > 1e-150]
    if log and positive:
        low, high = min(positive), max(positive)
        if zero:
            low /= 3  # the smallest bar has a height, too
        margin = max((high / low) ** 0.05, 1.02) if room or high == low else 1.0
        return Axis(low / margin, high * margin, log=True)
    low, high = min(finite), max(finite)
    if zero or (room and 0 <= low < 0.4 * high):
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)) or high - low < 1e-150:
        spread = max(abs(low), 1e-3) * 0.5
        low, high = low - spread * (not zero), high + spread
    if room:
        margin = 0.05 * (high - low)
        low, high = low - margin * (low != 0), high + margin * (high != 0)
    return Axis(low, high)


def _written(value: float, step: float) -> str:
    """Write a tick with as many digits as the step needs."""
    value = 0.0 if abs(value) < step * 1e-6 else value
    size = max(abs(value), step)
    if size >= 1e5 or step < 1e-4:
        return f"{value:.3g}"
    digits = max(0, -math.floor(math.log10(step * 1.0001)))
    digits += abs(step * 10**digits - round(step * 10**digits)) > 1e-6
    return f"{value:.{digits}f}".replace("-", "−")


def _power(exponent: int) -> str:
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)
