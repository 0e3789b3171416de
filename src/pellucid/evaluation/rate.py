"""What a latent costs in bits, by a stated rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from pellucid.evaluation.image_pass import Pass
from pellucid.evaluation.passes import Reconstructor, batches
from pellucid.evaluation.protocol import Protocol
from pellucid.metrics.quantised_latent import quantised_latent_bits
from pellucid.records import MetricValue
from pellucid.references.samples import spaced

_QUANTISED_SAMPLES = 128


def bits_per_sample(
    measured: Pass,
    reconstruct: Reconstructor,
    dataset: Any,
    indices: Sequence[int],
    protocol: Protocol,
) -> MetricValue:
    """Measure the bits of one sample's latent.

    Code bits (positions · Σ log₂K) where there are codes; ΣKL/ln 2 for a Gaussian posterior; the
    entropy of the uniformly quantised latent at ≤ 0.1 dB loss for any other continuous latent.

    Args:
        measured: the pass over the set.
        reconstruct: the model.
        dataset: the held-out set.
        indices: the samples that `measured` saw.
        protocol: of the evaluation.
    """
    cost = measured.latent
    if cost.usage is not None and cost.bits_per_position is not None:
        return MetricValue(
            cost.positions * cost.bits_per_position,
            "bits per sample",
            None,
            None,
            len(indices),
            f"code bits: {cost.positions} positions × {cost.bits_per_position:g} bits, "
            "no entropy coding",
        )
    if cost.rate is not None:
        return cost.rate.compute(resamples=protocol.resamples, seed=protocol.seed)["kl_bits"]
    few = [indices[i] for i in spaced(len(indices), _QUANTISED_SAMPLES)]
    parts = list(batches(dataset, few, protocol.batch_size))
    latents = torch.cat([reconstruct(part.x)[1].mean.float() for part in parts])
    return quantised_latent_bits(
        latents,
        torch.cat([part.target for part in parts]),
        reconstruct.decode,
        protocol.value_range,
        batch_size=protocol.batch_size,
    ).to_metric(len(few))


def per_pixel(bits: MetricValue, pixels: int) -> MetricValue:
    """Divide bits per sample by the pixels (height × width) of a sample."""
    return dataclasses.replace(
        bits,
        value=bits.value / pixels,
        low=None if bits.low is None else bits.low / pixels,
        high=None if bits.high is None else bits.high / pixels,
        unit="bits per pixel",
        convention=f"{bits.convention}; over {pixels} pixels",
    )
