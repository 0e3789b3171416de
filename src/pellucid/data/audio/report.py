"""What a source of clips holds, as one JSON-able record."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np

from pellucid.data.audio.clips import Clips
from pellucid.data.audio.scan import CLIPPED_SHARE, Scan
from pellucid.data.report import Suggestion, by_reason, counts

_EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class AudioReport:
    """Describe a set of clips.

    Args:
        kind: "audio".
        source: path.
        found: clips found.
        examined: how many of them were read.
        count: how many of those can be used.
        skipped: reason → {"count", "examples": ["name: detail", …]}.
        ignored: files of other types per extension.
        groups: number of groups (never divided between splits).
        grouped_by: speaker, folder or file.
        seconds: {"total", "min", "median", "max"} of the usable clips.
        sample_rates: hertz in the files → count.
        channels: channels in the files → count.
        formats: file format → count.
        notes: rule that changed something → count.
        level_db: {"min", "median", "max"} active level, dB of full scale.
        clipped: {"count", "examples"} of clips with flat peaks.
        offset: {"count", "largest"}: clips whose mean is more than 1 % of full scale.
        duplicates: sets of clips with identical samples.
        splits: clips per split, empty before a split.
        suggestions: recipes that fit.
        remarks: what else a reader must know.
    """

    source: str
    found: int
    examined: int
    count: int
    skipped: dict[str, dict[str, Any]]
    ignored: dict[str, int]
    groups: int
    grouped_by: str
    seconds: dict[str, float]
    sample_rates: dict[str, int]
    channels: dict[str, int]
    formats: dict[str, int]
    notes: dict[str, int]
    level_db: dict[str, float]
    clipped: dict[str, Any]
    offset: dict[str, Any]
    duplicates: int
    splits: dict[str, int] = dataclasses.field(default_factory=dict)
    suggestions: tuple[Suggestion, ...] = ()
    remarks: tuple[str, ...] = ()
    kind: str = "audio"

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary written to data.json."""
        return dataclasses.asdict(self)


def describe(
    clips: Clips, seen: Scan, sample_rate: int, *, examined: int, splits: dict[str, int]
) -> AudioReport:
    """Summarise measurements; at least one clip is usable."""
    usable = seen.usable
    clipped = sorted((m for m in usable if m.clipped > CLIPPED_SHARE), key=lambda m: -m.clipped)
    shifted = [m for m in usable if abs(m.offset) > 0.01]
    copies = collections.Counter(m.digest for m in usable)
    seconds = [m.length / sample_rate for m in usable]
    return AudioReport(
        source=clips.where,
        found=len(clips),
        examined=examined,
        count=len(usable),
        skipped=by_reason((s.reason, f"{clips.names[s.index]}: {s.detail}") for s in seen.skipped),
        ignored=clips.ignored,
        groups=len({clips.groups[m.index] for m in usable}),
        grouped_by=clips.grouped_by,
        seconds={"total": round(sum(seconds), 3), **_spread(seconds)},
        sample_rates=counts([str(m.sample_rate) for m in usable]),
        channels=counts([str(m.channels) for m in usable]),
        formats=counts([m.format for m in usable]),
        notes=counts([note for m in usable for note in m.notes]),
        level_db=_spread([m.level_db for m in usable]),
        clipped={
            "count": len(clipped),
            "examples": [f"{clips.names[m.index]}: {m.clipped:.1%}" for m in clipped[:_EXAMPLES]],
        },
        offset={
            "count": len(shifted),
            "largest": max((abs(m.offset) for m in usable), default=0.0),
        },
        duplicates=sum(n > 1 for n in copies.values()),
        splits=splits,
    )


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3),
        "median": round(float(np.median(values)), 3),
        "max": round(max(values), 3),
    }
