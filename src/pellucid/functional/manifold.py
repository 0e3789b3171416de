"""Precision and recall of generated samples by nearest neighbours in feature space.

Shape letters: N real and M generated samples, D features.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.functional.frechet import check_features

_ROWS = 1024  # of a distance matrix at once


@dataclasses.dataclass(frozen=True)
class PrecisionRecall:
    """How much of one set lies on the other's manifold.

    Args:
        precision: share of generated samples inside the real manifold.
        recall: share of real samples inside the generated manifold.
        neighbours: the k of the manifolds' radii.
    """

    precision: float
    recall: float
    neighbours: int


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest member of a set for every query.

    Args:
        index: (M,) its row.
        distance: (M,) L2 distance in feature units.
    """

    index: Tensor
    distance: Tensor


def precision_recall(
    real_ND: Tensor, generated_MD: Tensor, *, neighbours: int = 3
) -> PrecisionRecall:
    """Count who lies within the k-th neighbour's distance of some member of the other set.

    A set's manifold is the union of balls around its members, each reaching to its own k-th
    nearest neighbour in the set. Source: Kynkäänniemi et al. 2019, eq. 1–2 (k = 3).

    Raises:
        DataError: when a set has no more than `neighbours` samples, or widths differ.
    """
    check_features(real_ND, least=neighbours + 1)
    check_features(generated_MD, least=neighbours + 1)
    if real_ND.shape[1] != generated_MD.shape[1]:
        raise DataError(
            "features of different networks cannot be compared",
            expected=f"{real_ND.shape[1]} features",
            found=generated_MD.shape[1],
        )
    real_ND, generated_MD = real_ND.float(), generated_MD.float()
    return PrecisionRecall(
        precision=_inside(generated_MD, real_ND, _radii(real_ND, neighbours)),
        recall=_inside(real_ND, generated_MD, _radii(generated_MD, neighbours)),
        neighbours=neighbours,
    )


def nearest_neighbours(queries_MD: Tensor, set_ND: Tensor) -> Nearest:
    """Find the member of a set nearest to each query, by L2 distance.

    Raises:
        DataError: for an empty set or values that are not finite.
    """
    check_features(set_ND, least=1)
    check_features(queries_MD, least=1)
    found = [torch.cdist(part, set_ND).min(dim=1) for part in queries_MD.split(_ROWS)]
    return Nearest(torch.cat([f.indices for f in found]), torch.cat([f.values for f in found]))


def _radii(x_ND: Tensor, neighbours: int) -> Tensor:
    """Return the distance of every sample to its k-th neighbour (itself not counted)."""
    parts = [
        torch.cdist(part, x_ND).kthvalue(neighbours + 1, dim=1).values for part in x_ND.split(_ROWS)
    ]
    return torch.cat(parts)


def _inside(queries_MD: Tensor, set_ND: Tensor, radii_N: Tensor) -> float:
    """Return the share of queries that some ball of the set covers."""
    hits = [(torch.cdist(part, set_ND) <= radii_N).any(1) for part in queries_MD.split(_ROWS)]
    return float(torch.cat(hits).double().mean())
