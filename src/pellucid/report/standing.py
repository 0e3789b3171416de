"""Where a run stands: its PSNR against each reference, as ahead, level or behind."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pellucid.records import MetricValue
from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.wording import interval, number, places_for, title

Relation = Literal["ahead", "level", "behind"]

# A bit rate this far from the run's own is not "the same bits".
SAME_BITS = 0.05


@dataclasses.dataclass(frozen=True)
class Standing:
    """The run against one reference.

    Args:
        name: the reference's key, e.g. "webp".
        label: the reference in words, e.g. "WebP at the same bits".
        psnr: the reference's own PSNR.
        difference: run minus reference in dB.
        low: lower end of the 95 % interval of the paired difference, None when unpaired.
        high: its upper end.
        relation: "level" when the interval holds zero (unpaired: when within 0.1 dB).
    """

    name: str
    label: str
    psnr: MetricValue
    difference: float
    low: float | None
    high: float | None
    relation: Relation

    def places(self) -> int:
        """Return the decimals that the difference's interval justifies."""
        return places_for(self.difference, self.low, self.high, "dB")

    def spread(self) -> str:
        """Return the interval of the difference, empty when unpaired."""
        return interval(self.low, self.high, places=self.places())

    def in_words(self) -> str:
        """Say the difference: `+2.3 dB over patch-PCA (+2.0 to +2.6)`."""
        inside, places = self.spread(), self.places()
        after = f" ({inside})" if inside else " (unpaired)"
        if self.relation == "level":
            signed = number(self.difference, places=places, signed=True)
            return f"level with {self.label} ({signed} dB{', ' + inside if inside else ''})"
        size = number(abs(self.difference), places=places)
        if self.relation == "ahead":
            return f"+{size} dB over {self.label}{after}"
        return f"{size} dB below {self.label}{after}"


def standings(contents: RunContents) -> list[Standing]:
    """Compare the run's PSNR with every reference that has one, weakest reference first."""
    own = measured(contents.evaluated("metrics", "psnr"))
    if own is None:
        return []
    found = []
    for name, node in mapping(contents.evaluated("references")).items():
        psnr = measured(part(node, "psnr"))
        if psnr is not None:
            found.append(_against(contents, own, str(name), node, psnr))
    return sorted(found, key=lambda standing: standing.psnr.value)


def reference_label(contents: RunContents, name: str) -> str:
    """Return a reference in words, with the terms of the comparison: equal numbers, bits."""
    node = contents.evaluated("references", name)
    if name == "mean":
        return "the mean image"
    if name == "pca":
        patch = "patch" in str(part(node, "note") or "").lower()
        return f"{'patch-' if patch else ''}PCA with equal numbers"
    known = "a linear coder" if name == "linear" else title(name)
    own = measured(contents.evaluated("metrics", "bits_per_pixel"))
    theirs = measured(part(node, "bits_per_pixel"))
    if theirs is None:
        return known
    if own is None or own.value <= 0:
        return f"{known} at {number(theirs.value)} bits per pixel"
    if abs(theirs.value / own.value - 1) <= SAME_BITS:
        return f"{known} at the same bits"
    return f"{known} at {number(theirs.value)} bits per pixel (this run: {number(own.value)})"


def paired_difference(contents: RunContents, name: str) -> MetricValue | None:
    """Find run minus reference in PSNR, with the interval over the same images."""
    return measured(contents.evaluated("differences", name, "psnr"))


def _against(
    contents: RunContents, own: MetricValue, name: str, node: Any, psnr: MetricValue
) -> Standing:
    paired = paired_difference(contents, name)
    difference = paired.value if paired else own.value - psnr.value
    low, high = (paired.low, paired.high) if paired else (None, None)
    if low is not None and high is not None:
        relation: Relation = "ahead" if low > 0 else "behind" if high < 0 else "level"
    else:
        relation = "level" if abs(difference) < 0.1 else "ahead" if difference > 0 else "behind"
    label = reference_label(contents, name)
    return Standing(name, label, psnr, difference, low, high, relation)
