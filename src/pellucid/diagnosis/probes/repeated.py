"""Do encode and decode answer the same question twice in the same way?"""

from __future__ import annotations

import dataclasses

import torch

from pellucid.diagnosis.case import Case, decibels, mean_square

SAMPLES = 32
"""Enough to compare calls: their difference is averaged over all elements."""


@dataclasses.dataclass(frozen=True)
class Repeated:
    """Variation between repeated calls.

    Args:
        latent_share: noise variance of encode's mean / its variance over samples.
        output_share: noise variance of decode(z) / R1.
        average_win_db: dB won by averaging decodes (what the noise costs, extrapolated).
        follows_latent: mean squared change of the seeded output when latents are exchanged, /R1.
    """

    latent_share: float
    output_share: float
    average_win_db: float
    follows_latent: float


def repeated(case: Case) -> Repeated:
    """Encode and decode one part of the samples repeatedly, with moving and with fixed seeds."""
    count = min(len(case.x), SAMPLES)
    x, z = case.x[:count], case.z[:count]
    means = [case.latent.mean[:count], case.runner.encode(x).mean]  # the base pass was the first
    spread = max(float(case.latent.mean.double().var(0).mean()), 1e-20)
    latent_share = mean_square(means[0] - means[1]) / 2 / spread
    first, second = case.runner.decode(z, x), case.runner.decode(z, x)
    noise = mean_square(first - second) / 2
    single = (mean_square(first - x) + mean_square(second - x)) / 2
    return Repeated(
        latent_share=latent_share,
        output_share=noise / case.variance,
        average_win_db=decibels(single / max(single - noise, 1e-20)),
        follows_latent=_seeded_change(case, count) / case.variance,
    )


def _seeded_change(case: Case, count: int) -> float:
    """Return how far the output moves when latents are exchanged under one and the same seed."""
    x, z = case.x[:count], case.z[:count]
    answers = []
    for latents in (z, z.roll(max(1, count // 2), 0)):
        torch.manual_seed(1234)
        answers.append(case.runner.decode(latents, x))
    return mean_square(answers[0] - answers[1])
