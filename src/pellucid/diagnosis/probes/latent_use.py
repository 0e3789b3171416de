"""Does the output depend on the latent, and only on it?"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.records import Latent


@dataclasses.dataclass(frozen=True)
class LatentUse:
    """Errors with the latent exchanged, all as fractions of R1 (the variance).

    Args:
        fvu: with its own latent.
        fvu_shuffled: with another sample's latent; about 2·explained for a good model.
        fvu_zeroed: with a latent of zeros.
        moved: mean squared change of the output when latents are exchanged.
        distance_to_mean: mean squared distance of the output to the mean sample.
        shuffle_cost_db: dB lost by exchanging latents.
    """

    fvu: float
    fvu_shuffled: float
    fvu_zeroed: float
    moved: float
    distance_to_mean: float
    shuffle_cost_db: float


def latent_use(case: Case) -> LatentUse:
    """Decode each sample with another sample's latent, right after encoding its own."""
    count = min(len(case.x), 256)
    x, z = case.x[:count], case.z[:count]
    exchanged = z.roll(max(1, count // 2), 0)

    def replace(own: Tensor, latent: Latent, start: int) -> Tensor:
        other = exchanged[start : start + len(own)]
        if len(other) < len(own):  # the padded tail of the last batch
            other = other.repeat(-(-len(own) // len(other)), *[1] * (other.ndim - 1))[: len(own)]
        return other.to(own)

    _, shuffled = case.runner.roundtrip(x, replace)
    _, zeroed = case.runner.roundtrip(x, lambda own, latent, start: own * 0)
    own = case.x_hat[:count]
    fvu = mean_square(own - x) / case.variance
    fvu_shuffled = mean_square(shuffled - x) / case.variance
    return LatentUse(
        fvu=fvu,
        fvu_shuffled=fvu_shuffled,
        fvu_zeroed=mean_square(zeroed - x) / case.variance,
        moved=mean_square(shuffled - own) / case.variance,
        distance_to_mean=mean_square(own - case.mean_sample) / case.variance,
        shuffle_cost_db=decibels(fvu_shuffled / max(fvu, 1e-12)),
    )
