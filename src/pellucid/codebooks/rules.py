"""How a latent gets its code: one rule for points that were fitted on and points never seen.

"nearest"  the code whose vector is nearest in latent L2.
"graph"    the code whose medoid is nearest through the graph of fitted points: over the point's k
           nearest fitted points, the least (edge length to it) + (path length from it to its
           medoid). When none of them reaches a medoid, the rule is "nearest".
"decoded"  the code whose decoded patch is nearest to the pixels under the position, when the
           sample's own latents are decoded.

Shape letters: B batch, D latent channels, P positions, N fitted points, n points to assign,
K codes, E numbers of a decoded patch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pellucid.bottlenecks.rows import to_rows
from pellucid.errors import RunError
from pellucid.functional.nearest_code import nearest_code

RULES = ("nearest", "graph", "decoded")
Decode = Callable[[Tensor], Tensor]


class Rule(Protocol):
    """What every rule offers."""

    @property
    def name(self) -> str:
        """Its name in codebook.json."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it needs besides the vectors, for the file."""
        ...

    def __call__(self, mean_BDP: Tensor) -> Tensor:
        """Return codes (B, P…) int64."""
        ...


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Take the nearest vector.

    Args:
        vectors_KD: the codebook.
    """

    vectors_KD: Tensor
    name: str = "nearest"

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def __call__(self, mean_BDP: Tensor) -> Tensor:
        codes = nearest_code(to_rows(mean_BDP).float(), self.vectors_KD)
        return codes.view(mean_BDP.shape[0], *mean_BDP.shape[2:])


@dataclasses.dataclass(frozen=True)
class ThroughGraph:
    """Take the medoid that is nearest through the graph of fitted points.

    Args:
        vectors_KD: the medoids.
        anchors_ND: the fitted points.
        distance_N: path length from each to its medoid; infinite when it reaches none.
        codes_N: that medoid's code.
        neighbours: k, how many fitted points a new one is joined to.
        metric_NDD: pull-back metric JᵀJ at each fitted point, which then measures the edges to it;
            None measures them as they were found.
        cosine: whether the graph joins directions; else L2.
    """

    vectors_KD: Tensor
    anchors_ND: Tensor
    distance_N: Tensor
    codes_N: Tensor
    neighbours: int
    metric_NDD: Tensor | None = None
    cosine: bool = False
    name: str = "graph"

    def tensors(self) -> dict[str, Tensor]:
        found = {
            "anchors": self.anchors_ND,
            "anchor_distance": self.distance_N,
            "anchor_codes": self.codes_N,
            "neighbours": torch.tensor(self.neighbours),
            "cosine": torch.tensor(self.cosine),
        }
        return found if self.metric_NDD is None else {**found, "anchor_metric": self.metric_NDD}

    def __call__(self, mean_BDP: Tensor) -> Tensor:
        from pellucid.geometry.neighbours import neighbours

        rows_nD = to_rows(mean_BDP).float()
        found = neighbours(
            rows_nD.numpy(),
            self.neighbours,
            among=self.anchors_ND.numpy(),
            metric="cosine" if self.cosine else "l2",
        )
        index_nk = torch.from_numpy(found.index)
        length_nk = torch.from_numpy(found.distance)
        if self.metric_NDD is not None:
            length_nk = self._pulled_back(rows_nD, index_nk)
        through_nk = length_nk + self.distance_N[index_nk]
        shortest = through_nk.min(dim=1)
        codes_n = self.codes_N[index_nk.gather(1, shortest.indices[:, None])[:, 0]]
        stranded_n = shortest.values.isinf()
        if stranded_n.any():
            codes_n[stranded_n] = nearest_code(rows_nD[stranded_n], self.vectors_KD)
        return codes_n.view(mean_BDP.shape[0], *mean_BDP.shape[2:])

    def _pulled_back(self, rows_nD: Tensor, index_nk: Tensor) -> Tensor:
        assert self.metric_NDD is not None
        lengths = []
        for rows, index in zip(rows_nD.split(1024), index_nk.split(1024), strict=True):
            step_nkD = rows[:, None] - self.anchors_ND[index]
            square = torch.einsum("nkd,nkde,nke->nk", step_nkD, self.metric_NDD[index], step_nkD)
            lengths.append(square.clamp(min=0).sqrt())
        return torch.cat(lengths)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Take the code whose decoded patch looks most like the position's own.

    Args:
        centres_KE: decoded patch of each code.
        patches: (B, D, P…) latents → (B·P, E) decoded patches, one per position.
    """

    centres_KE: Tensor
    patches: Decode
    name: str = "decoded"

    def tensors(self) -> dict[str, Tensor]:
        return {"centres": self.centres_KE}

    def __call__(self, mean_BDP: Tensor) -> Tensor:
        codes = nearest_code(self.patches(mean_BDP), self.centres_KE)
        return codes.view(mean_BDP.shape[0], *mean_BDP.shape[2:])


def read_rule(name: str, tensors: dict[str, Tensor], patches: Decode) -> Rule:
    """Build the rule that a codebook's file describes.

    Raises:
        RunError: for a rule or a file this version does not know.
    """
    try:
        if name == "nearest":
            return Nearest(tensors["vectors"])
        if name == "graph":
            return ThroughGraph(
                tensors["vectors"],
                tensors["anchors"],
                tensors["anchor_distance"],
                tensors["anchor_codes"],
                int(tensors["neighbours"]),
                tensors.get("anchor_metric"),
                bool(tensors["cosine"]),
            )
        if name == "decoded":
            return Decoded(tensors["centres"], patches)
    except KeyError as error:
        raise RunError("a codebook's file is incomplete", found=f"no {error}") from error
    raise RunError("unknown assignment rule", expected=", ".join(RULES), found=name)


def grid_patches(decode: Decode, stride: int) -> Decode:
    """Return the function from latents to the decoded patch under every position.

    (B, D, R, Q) → (B·R·Q, C·stride²): every latent is decoded inside its own sample's grid.
    """

    def patches(mean_BDP: Tensor) -> Tensor:
        parts = []
        for mean in mean_BDP.split(64):
            x_hat = decode(mean)
            B, C = x_hat.shape[:2]
            R, Q = mean.shape[2:]
            tiles = x_hat.reshape(B, C, R, stride, Q, stride).permute(0, 2, 4, 1, 3, 5)
            parts.append(tiles.reshape(B * R * Q, C * stride * stride))
        return torch.cat(parts)

    return patches


def as_points(latents_NDP: np.ndarray) -> Tensor:
    """Return (N·P, D) float32 points of latents (N, D, P…), samples in order."""
    return to_rows(torch.from_numpy(np.array(latents_NDP))).float()  # a copy: maps are read-only
