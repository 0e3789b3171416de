"""What evaluations share, so that their parts cannot differ.

Images, clips and stacks are evaluated in the same five steps:

1. choose held-out samples (`choose_held_out`);
2. one pass of the model over them, which measures everything on the way (`image_pass`,
   `waveform_pass`, `stack_pass`);
3. references on the same samples (`beside`, `audio_beside`, `stack_references`);
4. one record of both, with intervals (`record`, `audio_record`, `stack_record`);
5. evaluation.json, and pictures or sounds of some samples (`publish`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from pellucid.errors import DataError
from pellucid.functional.value_range import ValueRange
from pellucid.references.samples import spaced
from pellucid.run_folder import RunFolder

Progress = Callable[[int, int], None]


class Record(Interface):
    """The result of an evaluation."""

    def to_json(self) -> dict[str, Any]: ...


def choose_held_out(
    available: int, most: int, split: str, *, noun: str = "samples", further: str = ""
) -> list[int]:
    """Return at most `most` places among the held-out samples, evenly spaced.

    Args:
        available: how many there are.
        most: how many are wanted.
        split: which split they are, for messages.
        noun: what they are called.
        further: what else would give more of them, for messages.

    Raises:
        DataError: for fewer than two, which give no interval.
    """
    if min(available, most) < 2:
        raise DataError(
            f"too few {split} {noun} to evaluate on",
            expected="at least 2, for an interval",
            found=min(available, most),
            hint=f"hold more of the data out: data.validation, data.test{further}",
        )
    return spaced(available, most)


def publish(
    folder: RunFolder | None, result: Record, show: Callable[[RunFolder], None] | None
) -> None:
    """Write evaluation.json, then what `show` writes; nothing without a folder.

    Raises:
        RunError: when a file cannot be written.
    """
    if folder is None:
        return
    folder.write_json(folder.evaluation, result.to_json())
    if show is not None:
        show(folder)


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
