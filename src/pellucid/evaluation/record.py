"""The result of an evaluation, as written to evaluation.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pellucid.errors import RunError
from pellucid.records import MetricValue
from pellucid.references.ladder import Ladder


@dataclasses.dataclass(frozen=True)
class Reference:
    """Hold a reference measured on the same held-out images.

    Args:
        psnr: dB.
        ssim: 1 for equal images.
        note: what it is, how it was fitted or encoded.
        bits_per_pixel: where the reference has bits.
        spectrum: ratio and coherence over the frequencies of `Evaluation.spectrum`.
    """

    psnr: MetricValue
    ssim: MetricValue
    note: str
    bits_per_pixel: MetricValue | None = None
    spectrum: Mapping[str, list[float | None]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Hold everything measured on one held-out split.

    Args:
        split: "test" or "validation".
        weights: which weights were evaluated, e.g. "EMA, best".
        precision: in which the model computed.
        metrics: name → value with interval, n and convention.
        ladder: R0–R3.
        references: "mean", "pca", "linear" and the codecs asked for.
        differences: reference → metric → this model minus it, paired image by image.
        codes: {"levels": [usage, perplexity, entropy_bits, dead_codes, counts]}, or empty.
        latent: numbers, shape and rate of the latent.
        spectrum: frequency, ratio, coherence and water_filling of the radial spectra.
        labels: label → {"n", "psnr", "ssim"}, or empty.
        samples: columns over the held-out samples: index, name, group, digest of the target's
            8-bit pixels, psnr, ssim, ms_ssim, perceptual. What `compare` pairs.
        colour: "colour" and "grayscale" → paired metrics, or empty without both.
    """

    split: str
    weights: str
    precision: str
    metrics: dict[str, MetricValue]
    ladder: Ladder
    references: dict[str, Reference]
    differences: dict[str, dict[str, MetricValue]]
    codes: dict[str, Any]
    latent: dict[str, Any]
    spectrum: dict[str, Any]
    labels: dict[str, Any]
    samples: dict[str, list[Any]]
    colour: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers."""
        node = dataclasses.asdict(self)
        ladder = self.ladder.to_json()
        node["ladder"] = ladder.pop("rungs")
        node["ladder_basis"] = ladder
        return node

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` returned ("version", "symmetry" and "probe" are allowed and ignored).

        Raises:
            RunError: when a part is missing or of another form.
        """
        try:
            basis, parts = node["ladder_basis"], dict(node)
            for key in ("version", "ladder_basis", "symmetry", "probe"):
                parts.pop(key, None)
            parts["ladder"] = Ladder.from_json({"rungs": node["ladder"], **basis})
            parts["metrics"] = _metrics(node["metrics"])
            parts["differences"] = {k: _metrics(v) for k, v in node["differences"].items()}
            parts["references"] = {k: _reference(v) for k, v in node["references"].items()}
            return cls(**parts)
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(
                "this is not an evaluation",
                where="evaluation.json",
                expected=", ".join(field.name for field in dataclasses.fields(cls)),
                found=f"{type(error).__name__}: {error}",
                hint="run `pellucid evaluate` again",
            ) from error


def _metrics(node: Mapping[str, Any]) -> dict[str, MetricValue]:
    return {name: MetricValue.from_json(value) for name, value in node.items()}


def _reference(node: Mapping[str, Any]) -> Reference:
    bits = node["bits_per_pixel"]
    return Reference(
        psnr=MetricValue.from_json(node["psnr"]),
        ssim=MetricValue.from_json(node["ssim"]),
        note=node["note"],
        bits_per_pixel=None if bits is None else MetricValue.from_json(bits),
        spectrum=node["spectrum"],
    )
