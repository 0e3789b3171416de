"""Turn a measurement into a confidence, by its margin over a threshold kept as data.

The thresholds live in `thresholds.json`, each with its provenance: "default" (a daggered value of
the fault catalogue, not yet calibrated) or "calibrated" (measured on healthy controls).
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import importlib.resources
import json
import math
from collections.abc import Iterator
from typing import Any, Literal

from pellucid.errors import PellucidError

NINE_TO_ONE = math.log(9.0)
"""One scale beyond the threshold is nine to one: confidence 0.9."""

CEILING = 0.99
"""No statistical margin makes a finding certain."""

_RECORD: contextvars.ContextVar[list[tuple[str, float]] | None] = contextvars.ContextVar(
    "record", default=None
)


@contextlib.contextmanager
def recorded() -> Iterator[list[tuple[str, float]]]:
    """Collect (name, x) of every number held against a threshold inside the block."""
    record: list[tuple[str, float]] = []
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A number that evidence is held against.

    Args:
        value: where the confidence is exactly 0.5.
        scale: the margin that makes it 0.9; in the same unit, or a ratio when `ratio`.
        asserts: which side of the value speaks for the fault.
        unit: of value.
        ratio: measure the margin as log(x / value) / log(scale).
        low, high: where theory keeps `value`, whatever a calibration finds; None: anywhere.
        provenance: "default" or "calibrated".
        source: where the number comes from.
    """

    value: float
    scale: float
    asserts: Literal["above", "below"]
    unit: str
    provenance: Literal["default", "calibrated"]
    source: str
    ratio: bool = False
    low: float | None = None
    high: float | None = None

    def confidence(self, x: float) -> float:
        """Return a confidence in [0, 0.99]; 0.5 at the threshold, 0.9 one scale beyond it.

        Args:
            x: the measured number, in `unit`; NaN gives 0.
        """
        record = _RECORD.get()
        if record is not None:
            record.extend((name, x) for name, t in thresholds().items() if t is self)
        if math.isnan(x):
            return 0.0
        if self.ratio:
            margin = math.log(max(x, 1e-300) / self.value) / math.log(self.scale)
        else:
            margin = (x - self.value) / self.scale
        if self.asserts == "below":
            margin = -margin
        return CEILING / (
            1 + (2 * CEILING - 1) * math.exp(-NINE_TO_ONE * max(min(margin, 40), -40))
        )

    def passed(self, x: float) -> bool:
        """Say whether x lies on the asserting side."""
        return self.confidence(x) >= 0.5


@functools.cache
def thresholds() -> dict[str, Threshold]:
    """Read and check every threshold of the package, by name.

    Raises:
        PellucidError: when the data file is damaged.
    """
    path = importlib.resources.files("pellucid.diagnosis").joinpath("thresholds.json")
    node = json.loads(path.read_text(encoding="utf-8"))
    if node.get("schema") != 1:
        raise PellucidError("unknown threshold file", expected="schema 1", found=node.get("schema"))
    return {name: _checked(name, entry) for name, entry in node["thresholds"].items()}


def _checked(name: str, entry: dict[str, Any]) -> Threshold:
    """Build one threshold, refusing what cannot be meant."""
    try:
        threshold = Threshold(**entry)
    except TypeError as error:
        raise PellucidError("a threshold has wrong fields", where=name, found=str(error)) from error
    low = 1.0 if threshold.ratio else 0.0
    if not threshold.scale > low or (threshold.ratio and threshold.value <= 0):
        raise PellucidError("a threshold has no margin", where=name, found=threshold.scale)
    lowest = -math.inf if threshold.low is None else threshold.low
    highest = math.inf if threshold.high is None else threshold.high
    if not lowest <= threshold.value <= highest:
        raise PellucidError(
            "a threshold lies where theory forbids it",
            where=name,
            expected=f"{threshold.low} to {threshold.high}",
            found=threshold.value,
        )
    if threshold.asserts not in ("above", "below"):
        raise PellucidError("a threshold has no side", where=name, found=threshold.asserts)
    if threshold.provenance not in ("default", "calibrated"):
        raise PellucidError("a threshold has no provenance", where=name)
    return threshold
