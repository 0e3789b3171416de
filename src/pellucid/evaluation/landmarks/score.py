"""Trials as numbers with intervals, and paired differences between methods.

Shape letters: K images, L landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.evaluation.landmarks.protocol import Trial
from pellucid.functional.bootstrap import bootstrap_interval, paired_difference
from pellucid.metrics.landmarks import (
    correct_share,
    cumulative_errors,
    normalised_mean_error,
)
from pellucid.records import MetricValue

DIAGONAL_SHARE = 0.02
LENGTH_SHARE = 0.1
THRESHOLDS = np.linspace(0.0, 0.5, 51)


def label_name(labels: int | None) -> str:
    """Return how a number of labels is called in files: "5", "all"."""
    return "all" if labels is None else str(labels)


def image_errors(trial: Trial, length_K: np.ndarray) -> np.ndarray:
    """Return (K,) the NME of each image, averaged over the draws; NaN where not tested."""
    per_draw = np.stack([normalised_mean_error(errors, length_K) for errors in trial.errors])
    return per_draw.mean(0)


def score(
    trial: Trial,
    names: Sequence[str],
    length_K: np.ndarray,
    diagonal_K: np.ndarray,
    groups: Sequence[int],
) -> dict[str, Any]:
    """Return NME with its interval, PCK of both lengths, the curve, and errors per landmark."""
    nme_K = image_errors(trial, length_K)
    kept = np.isfinite(nme_K)
    found = bootstrap_interval(nme_K[kept], np.asarray(groups)[kept])
    draws = len(trial.errors)
    flat = trial.errors.reshape(-1, trial.errors.shape[-1])
    lengths, diagonals = np.tile(length_K, draws), np.tile(diagonal_K, draws)
    convention = (
        "mean over landmarks of error / length, mean over images and draws; interval over "
        "stretches of neighbouring images"
    )
    return {
        "nme": MetricValue(
            found.value, "of the length", found.low, found.high, int(kept.sum()), convention
        ).to_json(),
        "median_pixels": float(np.nanmedian(trial.errors)),
        "pck_diagonal": correct_share(flat, diagonals, DIAGONAL_SHARE),
        "pck_length": correct_share(flat, lengths, LENGTH_SHARE),
        "curve": cumulative_errors((flat / lengths[:, None]).ravel(), THRESHOLDS).tolist(),
        "landmarks": {
            name: float(np.nanmean(trial.errors[..., index] / length_K))
            for index, name in enumerate(names)
        },
        "ridges": sorted(set(trial.ridges)),
    }


def differences(
    trials: Mapping[str, Mapping[int | None, Trial]],
    own: str,
    length_K: np.ndarray,
    groups: Sequence[int],
) -> dict[str, dict[str, Any]]:
    """Return method → labels → NME of `own` minus the method's, paired by image; < 0 is ahead."""
    told: dict[str, dict[str, Any]] = {}
    for method, by_labels in trials.items():
        if method == own:
            continue
        told[method] = {}
        for labels, trial in by_labels.items():
            a, b = (image_errors(t, length_K) for t in (trials[own][labels], trial))
            kept = np.isfinite(a) & np.isfinite(b)
            gap = paired_difference(a[kept], b[kept], np.asarray(groups)[kept])
            told[method][label_name(labels)] = MetricValue(
                gap.value,
                "of the length",
                gap.low,
                gap.high,
                int(kept.sum()),
                "paired by image, averaged over draws",
            ).to_json()
    return told
