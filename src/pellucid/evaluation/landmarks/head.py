"""A heat-map head on frozen features: one linear map at every cell, a softmax over the cells.

log p(cell | landmark) = w·f(cell) − log Σ exp(w·f), fitted to Gaussian heat maps by cross-entropy
with a ridge; convex, so the answer depends on neither seed nor patience. The sum runs over all
cells near the points and a weighted sample of the others, which is enough and far cheaper.

Shape letters: K images, L landmarks, D features, N sampled cells, R rows and Q columns of cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.functional.heatmaps import gaussian_heatmaps, soft_argmax

RIDGES = (1e-1, 1e-2, 1e-3)
"""Tried by inner cross-validation, strongest first; beside standardised features."""
SIGMA = 1.0
"""Of the heat maps, in cells."""
RADIUS = 2
"""Of the soft-argmax, in cells."""
_NEAR = 6.0
_BACKGROUND = (128, 1024)
"""Fewest and most cells per image that stand for those away from the points."""
_NUMBERS = 2**26
"""About how many features of sampled cells are kept in memory, of all images together."""
_PER_HEAD = 8192
"""About how many background cells a head learns from. With few labels, a place that looks like a
landmark and was not drawn is a wrong answer later; with many, each image needs fewer."""
_FOLDS = 3
_STEPS = 30


@dataclasses.dataclass(frozen=True)
class Cells:
    """The sampled cells of one image.

    Args:
        f_ND: standardised features.
        log_weight_N: log of how many cells each stands for.
        target_LN: normalised heat maps; zeros for missing points.
        near: how many of them, the first, are near a point; the others stand for all the rest.
    """

    f_ND: Tensor
    log_weight_N: Tensor
    target_LN: Tensor
    near: int

    def thinned(self, background: int) -> Cells:
        """Return the cells near the points and at most so many of the others, weighted up."""
        total, kept = len(self.f_ND), min(len(self.f_ND), self.near + background)
        if kept == total:
            return self
        log_weight_N = self.log_weight_N[:kept].clone()
        log_weight_N[self.near :] += np.log((total - self.near) / (kept - self.near))
        target_LN = self.target_LN[:, :kept]
        share = target_LN.sum(1, keepdim=True).clamp_min(1e-12)  # of a heat map's last tails
        target_LN = target_LN * self.target_LN.sum(1, keepdim=True) / share
        return Cells(self.f_ND[:kept], log_weight_N, target_LN, self.near)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Feature maps of a set of images, and their sampled cells.

    Args:
        maps: (D, R, Q) per image, float32, possibly memory-mapped.
        cell: pixels of the image per cell, one per image.
        mean_D: of the features over all images; likewise `scale_D`.
        cells: what heads learn from.
    """

    maps: Sequence[np.ndarray]
    cell: Sequence[float]
    mean_D: Tensor
    scale_D: Tensor
    cells: Sequence[Cells]

    @classmethod
    def build(
        cls, maps: Sequence[np.ndarray], points_KL2: np.ndarray, cell: Sequence[float]
    ) -> Fields:
        """Standardise by the statistics of all images, which need no labels, and sample cells."""
        points = torch.from_numpy(points_KL2).float()
        first = second = torch.zeros(len(maps[0]))
        for index in range(len(maps)):
            f_DN = _flat(maps[index])
            first = first + f_DN.mean(1) / len(maps)
            second = second + f_DN.square().mean(1) / len(maps)
        scale = (second - first.square()).clamp_min(1e-12).sqrt()
        generator = torch.Generator().manual_seed(0)
        fewest, most = _BACKGROUND
        background = max(fewest, min(most, _NUMBERS // (len(maps) * len(first))))
        cells = [
            _sampled(maps[i], points[i], float(cell[i]), first, scale, background, generator)
            for i in range(len(maps))
        ]
        return cls(maps, cell, first, scale, cells)

    def heat(self, weights_DL: Tensor, index: int) -> Tensor:
        """Return the logits (L, R, Q) of one image."""
        f_DN = (_flat(self.maps[index]) - self.mean_D[:, None]) / self.scale_D[:, None]
        return (weights_DL.T @ f_DN).unflatten(1, self.maps[index].shape[-2:])

    def points(self, weights_DL: Tensor, index: int) -> np.ndarray:
        """Return the points (L, 2) of one image, in pixels."""
        heat = self.heat(weights_DL, index)
        return soft_argmax(heat, cell=float(self.cell[index]), radius=RADIUS).numpy()


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted head.

    Args:
        weights: (D, L).
        ridge: what inner cross-validation chose.
    """

    weights: Tensor
    ridge: float


def fit_head(fields: Fields, points_KL2: np.ndarray, images: Sequence[int]) -> Head:
    """Fit on the labelled `images`, with the ridge that predicts best inside them.

    The folds are stretches of consecutive images, so that neighbours in time do not vouch for each
    other.

    Args:
        fields: of all images.
        points_KL2: in pixels, NaN where missing.
        images: indices, at least two.
    """
    ordered = sorted(images)
    background = max(_BACKGROUND[0], _PER_HEAD // len(ordered))
    cells = {index: fields.cells[index].thinned(background) for index in ordered}
    errors = np.zeros(len(RIDGES))
    for held in np.array_split(ordered, min(_FOLDS, len(ordered))):
        rest = [index for index in ordered if index not in held]
        weights = None
        for row, ridge in enumerate(RIDGES):
            weights = _minimise([cells[i] for i in rest], ridge, weights)
            for index in held:
                gaps = np.linalg.norm(fields.points(weights, index) - points_KL2[index], axis=-1)
                errors[row] += np.nan_to_num(gaps).sum()
    ridge = RIDGES[int(errors.argmin())]
    return Head(_minimise([cells[i] for i in ordered], ridge, None), ridge)


def _minimise(cells: Sequence[Cells], ridge: float, start: Tensor | None) -> Tensor:
    """Return the (D, L) weights of least mean cross-entropy + ½·ridge·‖w‖²."""
    f_KND = torch.nn.utils.rnn.pad_sequence([c.f_ND for c in cells], batch_first=True)
    offset_KN = torch.nn.utils.rnn.pad_sequence(
        [c.log_weight_N for c in cells], batch_first=True, padding_value=-torch.inf
    )
    target_KNL = torch.nn.utils.rnn.pad_sequence([c.target_LN.T for c in cells], batch_first=True)
    shown = target_KNL.sum((0, 1)).clamp_min(1.0)
    weights = torch.zeros(f_KND.shape[-1], target_KNL.shape[-1]) if start is None else start.clone()
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = f_KND @ weights
        partition = torch.logsumexp(logits + offset_KN[..., None], dim=1, keepdim=True)
        fit = (target_KNL * (partition - logits)).sum((0, 1)) / shown
        loss = fit.sum() + 0.5 * ridge * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return weights.detach()


def _sampled(
    map_DRQ: np.ndarray,
    points_L2: Tensor,
    cell: float,
    mean_D: Tensor,
    scale_D: Tensor,
    background: int,
    generator: torch.Generator,
) -> Cells:
    grid = (map_DRQ.shape[-2], map_DRQ.shape[-1])
    target_LN = gaussian_heatmaps(points_L2, grid, cell=cell, sigma=SIGMA).flatten(1)
    close = gaussian_heatmaps(points_L2, grid, cell=cell, sigma=_NEAR).flatten(1).amax(0) > 0.6
    near, far = close.nonzero().flatten(), (~close).nonzero().flatten()
    drawn = far[torch.randperm(len(far), generator=generator)[:background]]
    chosen = torch.cat([near, drawn])
    log_weight = torch.zeros(len(chosen))
    log_weight[len(near) :] = np.log(len(far) / max(1, len(drawn)))
    f_ND = (_flat(map_DRQ).T[chosen] - mean_D) / scale_D
    target = target_LN[:, chosen]
    total = target.sum(1, keepdim=True)
    target = torch.where(total > 0, target / total.clamp_min(1e-12), 0.0)
    return Cells(f_ND, log_weight, target, len(near))


def _flat(map_DRQ: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(map_DRQ, np.float32)).flatten(1)
