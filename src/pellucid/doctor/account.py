"""What examinations may cost: a share of the time the training itself has taken."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@dataclasses.dataclass
class Account:
    """Time trained, time spent, and what is left of the allowance.

    Args:
        overhead: share of the training time that may be spent.
        ceiling: seconds that one examination may last at most.
        spent: seconds spent so far, in this process and those it resumes.
        trained_before: seconds trained in the processes this one resumes.
        dearest: seconds of the longest examination so far.
        now: the clock, replaceable in tests.
    """

    overhead: float
    ceiling: float
    spent: float = 0.0
    trained_before: float = 0.0
    dearest: float = 0.0
    now: Callable[[], float] = time.perf_counter
    _started: float | None = None
    _aside: float = 0.0

    def start(self) -> None:
        """Begin to count training time."""
        self._started, self._aside = self.now(), 0.0

    @property
    def trained(self) -> float:
        """Seconds of training without whatever was charged or set aside."""
        here = 0.0 if self._started is None else self.now() - self._started - self._aside
        return self.trained_before + here

    @property
    def allowance(self) -> float:
        """Seconds that the next examination may last."""
        return max(0.0, min(self.ceiling, self.overhead * self.trained - self.spent))

    @property
    def share(self) -> float:
        """Spent over trained."""
        return self.spent / max(self.trained, 1e-9)

    @contextmanager
    def charged(self, *, examination: bool = False) -> Iterator[None]:
        """Charge what happens inside."""
        begin = self.now()
        try:
            yield
        finally:
            seconds = self.now() - begin
            self.spent += seconds
            self._aside += seconds
            if examination:
                self.dearest = max(self.dearest, seconds)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave what happens inside out of both sides: it has a budget of its own."""
        begin = self.now()
        try:
            yield
        finally:
            self._aside += self.now() - begin
