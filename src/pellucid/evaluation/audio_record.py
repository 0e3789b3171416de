"""The result of an evaluation of waveforms, as written to evaluation.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from pellucid.records import MetricValue


@dataclasses.dataclass(frozen=True)
class AudioReference:
    """A codec measured on the same clips.

    Args:
        metrics: as the model's, file_kbps and payload_kbps included.
        note: the command, and what to beware of.
    """

    metrics: dict[str, MetricValue]
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return metrics and note side by side, as an image's reference has them."""
        node: dict[str, Any] = {name: value.to_json() for name, value in self.metrics.items()}
        return {**node, "note": self.note}


@dataclasses.dataclass(frozen=True)
class AudioEvaluation:
    """Hold everything measured on the whole clips of one held-out split.

    Args:
        split: "test" or "validation".
        weights: which weights were evaluated.
        sample_rate: in hertz.
        seconds: of audio measured.
        metrics: name → mean over clips with its interval over groups.
        references: codec and setting, e.g. "opus-6" → its numbers.
        differences: reference → metric → this model minus it, paired clip by clip.
        rate_quality: one point per number of levels, all levels last: {"levels", metric: …}.
        codes: {"levels": [usage, perplexity, entropy_bits, dead_codes, counts]}, or empty.
        failures: metric → clip → why it has no value there.
        left_out: codec → why it was not compared with.
        remarks: what else a reader must know.
        samples: columns over the clips: index, name, group, digest, seconds and every metric (None
            where it failed). What `compare` pairs.
    """

    split: str
    weights: str
    sample_rate: int
    seconds: float
    metrics: dict[str, MetricValue]
    references: dict[str, AudioReference]
    differences: dict[str, dict[str, MetricValue]]
    rate_quality: list[dict[str, Any]]
    codes: dict[str, Any]
    failures: dict[str, dict[str, str]]
    left_out: dict[str, str]
    remarks: tuple[str, ...]
    samples: dict[str, list[Any]]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers; "kind" tells it from an image's."""
        node = dataclasses.asdict(self)
        node["references"] = {name: one.to_json() for name, one in self.references.items()}
        return {"kind": "audio", "precision": "float32", **node}
