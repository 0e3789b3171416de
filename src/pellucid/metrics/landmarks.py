"""Errors of landmarks: normalised mean error, share of correct points, the whole curve.

Shape letters: K images, L landmarks.
"""

from __future__ import annotations

import numpy as np

from pellucid.errors import DataError


def point_errors(predicted_KL2: np.ndarray, true_KL2: np.ndarray) -> np.ndarray:
    """Return (K, L) Euclidean distances; NaN where the true point is missing.

    Raises:
        DataError: for other shapes, or predictions that are not finite.
    """
    if predicted_KL2.shape != true_KL2.shape or true_KL2.ndim != 3 or true_KL2.shape[-1] != 2:
        raise DataError(
            "predictions and points must pair up",
            expected=f"two arrays (images, landmarks, 2): {true_KL2.shape}",
            found=predicted_KL2.shape,
        )
    if not np.isfinite(predicted_KL2).all():
        raise DataError("predicted points are not finite", where="landmarks")
    return np.linalg.norm(predicted_KL2 - true_KL2, axis=-1)


def normalised_mean_error(errors_KL: np.ndarray, length_K: np.ndarray) -> np.ndarray:
    """Return (K,) the mean over present landmarks of error / length; NaN where none is present.

    Args:
        errors_KL: in pixels, NaN where missing.
        length_K: the normaliser of each image, in pixels.
    """
    ratio_KL = errors_KL / length_K[:, None]
    present = np.isfinite(ratio_KL)
    total = np.where(present, ratio_KL, 0.0).sum(1)
    return np.where(present.any(1), total / np.maximum(present.sum(1), 1), np.nan)


def correct_share(errors_KL: np.ndarray, length_K: np.ndarray, share: float) -> float:
    """Return PCK: the share of present points whose error is at most share · length."""
    ratio_KL = errors_KL / length_K[:, None]
    return float((ratio_KL[np.isfinite(ratio_KL)] <= share).mean())


def cumulative_errors(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of finite `values` at or below each threshold, rising from 0 to 1."""
    kept = np.sort(values[np.isfinite(values)])
    return np.searchsorted(kept, thresholds, side="right") / max(1, len(kept))


def extent(points_KL2: np.ndarray) -> np.ndarray:
    """Return (K,) the largest distance between two present points; NaN with fewer than two."""
    gaps = np.linalg.norm(points_KL2[:, :, None] - points_KL2[:, None], axis=-1)
    gaps = np.where(np.isfinite(gaps), gaps, -np.inf).max((1, 2))
    return np.where(gaps > 0, gaps, np.nan)
