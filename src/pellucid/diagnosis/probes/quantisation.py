"""What quantisation costs behind the frozen decoder, and what other codebooks would cost.

Shape letters: N samples, M latent vectors, d channels, K codes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.probes.codes import code_use, kmeans
from pellucid.records import Latent

MAX_FITTED = 16_000
LARGEST = 2048


@dataclasses.dataclass(frozen=True)
class Quantised:
    """Mean squared errors of decode(…) on held samples.

    Args:
        mean: decode(z), before quantisation.
        own: decode(q(z)).
        latent_share: E‖z − q(z)‖² / Var(z).
    """

    mean: float
    own: float
    latent_share: float


@dataclasses.dataclass(frozen=True)
class OtherBooks:
    """The frozen decoder behind k-means codebooks fitted on training latents.

    Args:
        size: K, the model's own.
        same: error of decode(q(z)) with K vectors.
        wider: with 4·K vectors.
        same_share, wider_share: E‖z − q(z)‖² / Var(z).
    """

    size: int
    same: float
    wider: float
    same_share: float
    wider_share: float


def quantised(case: Case) -> Quantised | None:
    """Decode before and after quantisation; None where the two are not in one space."""
    latent = case.latent
    if latent.quantized is None or latent.quantized.shape != latent.mean.shape:
        return None
    if torch.equal(latent.quantized, latent.mean):
        return None  # only the quantised latent was handed over
    before = case.runner.roundtrip(case.x, lambda z, found, start: found.mean)[1]
    spread = centred_variance(latent.mean)
    return Quantised(
        mean=mean_square(before - case.x),
        own=case.mse,
        latent_share=mean_square(latent.quantized - latent.mean) / spread,
    )


def other_books(case: Case) -> OtherBooks | None:
    """Swap k-means codebooks of K and 4·K vectors in; None with levels or without a known K."""
    uses = case.measure(code_use)
    if len(uses) != 1 or case.measure(quantised) is None or not 2 <= uses[0].size <= LARGEST // 4:
        return None
    fit = case.fit[:: max(1, len(case.fit) // len(case.x))][: len(case.x)]
    vectors = flat(case.runner.encode(fit).mean)
    vectors = vectors[:: max(1, len(vectors) // MAX_FITTED)]
    size = uses[0].size
    if len(vectors) < 16 * size:
        return None  # 4·K vectors need at least four samples each
    errors, shares = [], []
    spread = centred_variance(case.latent.mean)
    for count in (size, 4 * size):
        book = kmeans(vectors, count)[0]
        squares: list[float] = []

        def swap(z: Tensor, found: Latent, start: int, book=book, squares=squares) -> Tensor:
            q = nearest(found.mean.float().cpu(), book)
            squares.append(mean_square(q - found.mean.float().cpu()))
            return q.to(z)

        x_hat = case.runner.roundtrip(case.x, swap)[1]
        errors.append(mean_square(x_hat - case.x))
        shares.append(sum(squares) / len(squares) / spread)
    return OtherBooks(size, errors[0], errors[1], shares[0], shares[1])


def centred_variance(z_NdP: Tensor) -> float:
    """Return the variance of latents about the mean of their channel."""
    vectors = flat(z_NdP).double()
    return max(mean_square(vectors - vectors.mean(0)), 1e-20)


def flat(z_NdP: Tensor) -> Tensor:
    """Return (M, d) vectors of all positions."""
    return z_NdP.movedim(1, -1).reshape(-1, z_NdP.shape[1]).float()


def nearest(z_NdP: Tensor, book_Kd: Tensor) -> Tensor:
    """Return z with each position replaced by its nearest vector."""
    parts = [torch.cdist(part, book_Kd).argmin(1) for part in flat(z_NdP).split(4096)]
    chosen = book_Kd[torch.cat(parts)]
    shape = (z_NdP.shape[0], *z_NdP.shape[2:], z_NdP.shape[1])
    return chosen.reshape(shape).movedim(-1, 1)
