"""References on the same held-out images: the mean image, PCA, JPEG and WebP at the same bits.

Shape letters: N samples, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from pellucid.evaluation.image_pass import Pass
from pellucid.evaluation.protocol import Protocol, Steps
from pellucid.evaluation.record import Reference
from pellucid.functional.bootstrap import paired_difference
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.paired import PairedImages
from pellucid.records import MetricValue
from pellucid.references.codecs import Codec, code_at_bits
from pellucid.references.linear import LinearVAEReference, MeanSample, PCAReference


@dataclasses.dataclass(frozen=True)
class ReferenceImages:
    """Hold a reference's reconstructions.

    Args:
        images: (N, C, H, W) uint8.
        note: what it is.
        bits_per_image: measured, where it has bits.
    """

    images: Tensor
    note: str
    bits_per_image: float | None = None


@dataclasses.dataclass(frozen=True)
class MeasuredReference:
    """Hold a reference's numbers beside the model's.

    Args:
        images: its reconstructions.
        reference: its numbers.
        differences: metric → this model minus the reference, paired image by image.
        per_image: its (N,) psnr, ssim and ms_ssim.
    """

    images: ReferenceImages
    reference: Reference
    differences: dict[str, MetricValue]
    per_image: dict[str, np.ndarray]


def reference_images(
    train_NCHW: Tensor,
    x_NCHW: Tensor,
    pca: PCAReference,
    codecs: Sequence[Codec],
    bits_per_image: float,
    value_range: ValueRange,
    *,
    coded: bool,
) -> dict[str, ReferenceImages]:
    """Reconstruct `x_NCHW` by every reference: "mean", "pca", "linear" and the codecs.

    Args:
        train_NCHW: training samples, in `value_range`.
        x_NCHW: held-out samples, in `value_range`.
        pca: fitted on the training samples; left out where it is exact, which says nothing.
        codecs: "jpeg", "webp"; left out where images are neither grey nor RGB, or the model
            spends no bits.
        bits_per_image: what the model spends.
        value_range: of the samples.
        coded: the model spends its bits on codes; it then also faces "linear", the linear VAE at
            the same bits, since equal numbers would be no fair match for codes.
    """
    mean = MeanSample.fit(train_NCHW).reconstruct(x_NCHW)
    found = {
        "mean": ReferenceImages(
            value_range.to_uint8(mean), f"mean of {len(train_NCHW)} training samples"
        )
    }
    if not pca.exact:
        found["pca"] = ReferenceImages(value_range.to_uint8(pca.reconstruct(x_NCHW)), pca.note)
    if coded and pca.numbers and bits_per_image > 0:
        linear = LinearVAEReference.at_bits(pca, bits_per_image)
        note = f"linear VAE at {bits_per_image:.4g} bits, decoded from a sample; {pca.note}"
        found["linear"] = ReferenceImages(
            value_range.to_uint8(linear.sample(x_NCHW)), note, bits_per_image
        )
    if x_NCHW.shape[1] in (1, 3) and bits_per_image > 0:
        original = value_range.to_uint8(x_NCHW)
        for codec in codecs:
            files = code_at_bits(original, codec, bits_per_image)
            found[codec] = ReferenceImages(files.images, files.note, files.bits_per_image)
    return found


def measure_references(
    references: Mapping[str, ReferenceImages],
    x_NCHW: Tensor,
    measured: Pass,
    chosen: Sequence[int],
    protocol: Protocol,
    steps: Steps,
) -> dict[str, MeasuredReference]:
    """Measure every reference beside the model.

    Args:
        references: their reconstructions of `x_NCHW`.
        x_NCHW: the originals.
        measured: the model's pass.
        chosen: places of the originals in that pass.
        protocol: of the evaluation.
        steps: advanced by the images done.
    """
    own = {name: values[chosen] for name, values in measured.paired.per_image.items()}
    groups = [measured.samples["group"][i] for i in chosen]
    return {
        name: _measure(images, x_NCHW, own, groups, protocol, steps)
        for name, images in references.items()
    }


def _measure(
    images: ReferenceImages,
    x_NCHW: Tensor,
    model_per_image: dict[str, np.ndarray],
    groups: Sequence[str],
    protocol: Protocol,
    steps: Steps,
) -> MeasuredReference:
    """Measure one reference; `groups` says which photograph each image comes from."""
    paired = PairedImages(protocol.value_range)
    original = protocol.value_range.to_uint8(x_NCHW)
    for start in range(0, len(x_NCHW), protocol.batch_size):
        part = slice(start, start + protocol.batch_size)
        paired.update(images.images[part], original[part], groups[part])
        steps.advance(len(original[part]))
    metrics = paired.compute(resamples=protocol.resamples, seed=protocol.seed)
    per_image = paired.per_image
    differences = {}
    for name in ("psnr", "ssim"):
        found = paired_difference(
            model_per_image[name],
            per_image[name],
            groups,
            resamples=protocol.resamples,
            seed=protocol.seed,
        )
        convention = f"this model minus the reference, paired over {len(groups)} images"
        differences[name] = MetricValue(
            found.value, metrics[name].unit, found.low, found.high, found.n, convention
        )
    curves = paired.spectrum_json()
    reference = Reference(
        psnr=metrics["psnr"],
        ssim=metrics["ssim"],
        note=images.note,
        bits_per_pixel=_bits_per_pixel(images),
        spectrum={name: curves[name] for name in ("ratio", "coherence")},
    )
    return MeasuredReference(images, reference, differences, per_image)


def _bits_per_pixel(images: ReferenceImages) -> MetricValue | None:
    if images.bits_per_image is None:
        return None
    n, _, height, width = images.images.shape
    return MetricValue(
        images.bits_per_image / (height * width),
        "bits per pixel",
        None,
        None,
        n,
        "mean over the set of contact-sheet bits, headers included",
    )
