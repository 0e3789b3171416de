"""Ridge regression and the linear classifier made of it.

Shape letters: N samples, D features, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.errors import PellucidError

ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclasses.dataclass(frozen=True)
class RidgeClassifier:
    """Classify by the largest of K ridge regressions on ±1.

    Args:
        mean_D: of the training features.
        scale_D: their standard deviation; constant features have 1.
        weight_DK: of standardised features.
        bias_K: intercepts.
        alpha: the penalty per sample that did best on held-back training samples.
    """

    mean_D: Tensor
    scale_D: Tensor
    weight_DK: Tensor
    bias_K: Tensor
    alpha: float

    def predict(self, x_ND: Tensor) -> Tensor:
        """Return (N,) class numbers."""
        standard = (x_ND.double() - self.mean_D) / self.scale_D
        return (standard @ self.weight_DK + self.bias_K).argmax(1)


def fit_ridge_classifier(
    x_ND: Tensor, labels_N: Tensor, *, alphas: Sequence[float] = ALPHAS, folds: int = 4
) -> RidgeClassifier:
    """Fit on standardised features; the penalty is chosen by cross-validation inside `x_ND`.

    minimise ‖Xw − y‖² / N + α‖w‖² per class, X centred and scaled, y = ±1.

    Args:
        x_ND: features; samples of one group should lie side by side (folds are contiguous).
        labels_N: classes 0 … K − 1.
        alphas: penalties to try.
        folds: of the cross-validation.

    Raises:
        PellucidError: when features are not finite or there is one class only.
    """
    x, labels = x_ND.double(), labels_N.long()
    classes = int(labels.max()) + 1 if len(labels) else 0
    if len(x) != len(labels) or not x.isfinite().all() or len(labels.unique()) < 2:
        raise PellucidError(
            "a classifier needs finite features and two classes",
            where="fit_ridge_classifier",
            found=f"{len(x)} samples, {len(labels)} labels, {len(labels.unique())} classes",
        )
    best, most = alphas[0], -1.0
    if len(alphas) > 1 and len(x) >= 2 * folds:
        fold_N = torch.arange(len(x)) * folds // len(x)
        for alpha in alphas:
            hits = 0
            for fold in range(folds):
                own = fold_N != fold
                model = _solve(x[own], labels[own], classes, alpha)
                hits += int((model.predict(x[~own]) == labels[~own]).sum())
            if hits > most:
                best, most = alpha, hits
    return _solve(x, labels, classes, best)


def _solve(x_ND: Tensor, labels_N: Tensor, classes: int, alpha: float) -> RidgeClassifier:
    mean, scale = x_ND.mean(0), x_ND.std(0, correction=0)
    scale = torch.where(scale < 1e-12, 1.0, scale)
    standard = (x_ND - mean) / scale
    y_NK = 2.0 * torch.nn.functional.one_hot(labels_N, classes).double() - 1
    bias = y_NK.mean(0)
    n, d = standard.shape
    if d <= n:
        gram = standard.T @ standard / n + alpha * torch.eye(d, dtype=x_ND.dtype)
        weight = torch.linalg.solve(gram, standard.T @ (y_NK - bias) / n)
    else:  # the dual is smaller
        gram = standard @ standard.T / n + alpha * torch.eye(n, dtype=x_ND.dtype)
        weight = standard.T @ torch.linalg.solve(gram, (y_NK - bias) / n)
    return RidgeClassifier(mean, scale, weight, bias, alpha)
