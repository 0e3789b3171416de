"""What a pass over the held-out set amounts to, as the parts of an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from pellucid.evaluation.image_pass import Pass
from pellucid.evaluation.protocol import Protocol
from pellucid.evaluation.rate import per_pixel
from pellucid.functional.bootstrap import bootstrap_interval
from pellucid.records import MetricValue


def all_metrics(
    measured: Pass, bits: MetricValue, protocol: Protocol, *, pixels: int
) -> dict[str, MetricValue]:
    """Return every metric: pairs, raw error, rate, codes.

    Args:
        measured: the pass over the set.
        bits: of one sample's latent.
        protocol: of the evaluation.
        pixels: height × width of a sample.
    """
    metrics = measured.paired.compute(resamples=protocol.resamples, seed=protocol.seed)
    mse = bootstrap_interval(
        measured.samples["mse"],
        measured.samples["group"],
        resamples=protocol.resamples,
        seed=protocol.seed,
    )
    low, high = protocol.value_range.low, protocol.value_range.high
    raw = f"per element, values in [{low:g}, {high:g}], no clamping or rounding"
    metrics["mse"] = MetricValue(
        mse.value, "squared value", mse.low, mse.high, mse.n, f"squared error {raw}"
    )
    variance = measured.variance.value()
    if variance > 0:
        metrics["fvu"] = MetricValue(
            mse.value / variance,
            "1",
            None if mse.low is None else mse.low / variance,
            None if mse.high is None else mse.high / variance,
            mse.n,
            "MSE / Var(x), variance around the held-out mean sample, taken as known; " + raw,
        )
    metrics["bits_per_pixel"] = per_pixel(bits, pixels)
    if measured.latent.usage is not None:
        metrics.update(measured.latent.usage.compute())
    return metrics


def by_label(measured: Pass) -> dict[str, Any]:
    """Return n and mean PSNR and SSIM of each label."""
    labels = np.asarray(measured.labels)
    values = measured.paired.per_image
    return {
        str(label): {
            "n": int((labels == label).sum()),
            **{name: float(values[name][labels == label].mean()) for name in ("psnr", "ssim")},
        }
        for label in np.unique(labels).tolist()
    }


def by_colour(measured: Pass, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Return the paired metrics of colour and of grayscale images apart, or {} without both.

    Grayscale in three channels spends no error on colour, so a set that mixes the two has two
    answers, and a model may gain on one what it loses on the other.
    """
    grey = np.asarray(measured.colourless)
    if not 2 <= int(grey.sum()) <= len(grey) - 2:
        return {}
    parts = {"colour": ~grey, "grayscale": grey}
    return {
        name: {
            metric: value.to_json()
            for metric, value in measured.paired.compute(
                resamples=protocol.resamples, seed=protocol.seed, rows=rows
            ).items()
        }
        for name, rows in parts.items()
    }
