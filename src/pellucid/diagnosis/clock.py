"""A time budget that is kept: who asks whether there is time left gets an honest answer."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Count down from a budget of seconds.

    Args:
        budget_seconds: the whole budget; must be positive.
        now: the monotonic clock, replaceable in tests.
    """

    def __init__(self, budget_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.budget_seconds = float(budget_seconds)
        self._now = now
        self._start = now()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds of the budget that remain, never negative."""
        return max(0.0, self.budget_seconds - self.elapsed)

    def share(self, fraction: float) -> Clock:
        """Return a clock of its own holding `fraction` of the whole budget, or what is left."""
        return Clock(min(self.left, fraction * self.budget_seconds), self._now)

    def has(self, seconds: float) -> bool:
        """Say whether work expected to last `seconds` still fits."""
        return self.left >= seconds

    @property
    def out(self) -> bool:
        """True when nothing is left."""
        return self.left <= 0
