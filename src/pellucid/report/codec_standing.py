"""Where a waveform run stands: its quality against each codec, as ahead, level or behind."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pellucid.records import MetricValue
from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.wording import interval, number, places_for, title

HEADLINES = ("pesq", "stoi", "si_sdr")
"""What a run is judged by: the first of these that could be measured."""


@dataclasses.dataclass(frozen=True)
class CodecStanding:
    """The run against one codec at one rate.

    Args:
        name: the reference's key, e.g. "opus-6".
        codec: the codec in words, e.g. "Opus".
        kbps: kilobits per second of its files.
        value: its own quality.
        difference: run minus codec with its interval, or None.
        relation: "level" when the interval holds zero; empty without an interval.
    """

    name: str
    codec: str
    kbps: float | None
    value: MetricValue
    difference: MetricValue | None
    relation: Literal["ahead", "level", "behind", ""]

    @property
    def label(self) -> str:
        """The codec and its measured rate: `Opus at 6.1 kb/s`."""
        return self.codec if self.kbps is None else f"{self.codec} at {self.kbps:.1f} kb/s"

    def gap(self) -> str:
        """Say the difference: `+0.12 (+0.05 to +0.19)`."""
        return signed(self.difference)

    def in_words(self, unit: str) -> str:
        """Say the difference as a clause: `0.12 above Opus at 6.1 kb/s (0.05–0.19)`."""
        gap = self.difference
        if gap is None:
            return self.label
        places = places_for(gap.value, gap.low, gap.high, gap.unit)
        inside = interval(gap.low, gap.high, places=places)
        inside = f" ({inside})" if inside else ""
        if self.relation == "level":
            return f"level with {self.label}{inside}"
        side = "above" if gap.value > 0 else "below"
        return f"{number(abs(gap.value), places=places)}{unit} {side} {self.label}{inside}"


def headline_metric(contents: RunContents) -> str | None:
    """Return the metric that the run is judged by."""
    known = (name for name in HEADLINES if measured(contents.evaluated("metrics", name)))
    return next(known, None)


def codec_standings(contents: RunContents, metric: str) -> list[CodecStanding]:
    """Compare the run with every codec by one metric, worst codec first."""
    found = []
    for name, node in mapping(contents.evaluated("references")).items():
        value, kbps = measured(part(node, metric)), measured(part(node, "file_kbps"))
        if value is None:
            continue
        gap = measured(contents.evaluated("differences", name, metric))
        codec = title(str(name).split("-")[0])
        rate = kbps.value if kbps else None
        found.append(CodecStanding(str(name), codec, rate, value, gap, _relation(gap)))
    return sorted(found, key=lambda standing: standing.value.value)


def signed(gap: MetricValue | None) -> str:
    """Return a difference with its sign and interval; empty without one."""
    if gap is None:
        return ""
    places = places_for(gap.value, gap.low, gap.high, gap.unit)
    inside = interval(gap.low, gap.high, places=places)
    text = number(gap.value, places=places, signed=True)
    return f"{text} ({inside})" if inside else text


def _relation(gap: MetricValue | None) -> Literal["ahead", "level", "behind", ""]:
    if gap is None or gap.low is None or gap.high is None:
        return ""
    return "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"
