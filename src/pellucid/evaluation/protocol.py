"""How one evaluation measures: shared by its parts, so that they cannot differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pellucid.functional.value_range import ValueRange

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Hold the settings every part of an evaluation shares.

    Args:
        value_range: of the samples.
        batch_size: samples at once.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap and of R0's pairing.
    """

    value_range: ValueRange
    batch_size: int = 64
    resamples: int = 1000
    seed: int = 0


class Steps:
    """Add the steps of several loops into one `(done, total)` report.

    Args:
        report: the caller's callback, or None.
        total: steps of all loops together.
    """

    def __init__(self, report: Progress | None, total: int) -> None:
        self.report = report
        self.total = total
        self.done = 0

    def advance(self, steps: int) -> None:
        """Say that `steps` more are done."""
        self.done += steps
        if self.report is not None:
            self.report(self.done, self.total)

    def finish(self) -> None:
        """Say that nothing is left, whatever was skipped."""
        self.advance(self.total - self.done)
