"""What a pass over held-out tiles amounts to, as the parts of an evaluation.

Shape letters: C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid.errors import DataError
from pellucid.evaluation.stack_pass import MarkerPass
from pellucid.evaluation.stack_record import StackReference
from pellucid.metrics.markers import MarkerTable, median_gain
from pellucid.records import MetricValue

LIVE = 0.01
"""A marker is live when at least this share of its pixels is not zero, in train and held-out."""


def live_markers(train_C: np.ndarray, held_C: np.ndarray, names: Sequence[str]) -> list[int]:
    """Return the places of the markers that are judged.

    Args:
        train_C: share of training pixels that are not zero.
        held_C: share of held-out pixels, likewise.
        names: of the markers.

    Raises:
        DataError: when no marker is live.
    """
    live = np.flatnonzero((train_C >= LIVE) & (held_C >= LIVE)).tolist()
    if not live:
        best = int(np.minimum(train_C, held_C).argmax())
        raise DataError(
            "no marker is live",
            expected=f"at least {LIVE:.0%} of the pixels not zero, in train and held-out",
            found=f"the nearest is {names[best]}: {train_C[best]:.2%} and {held_C[best]:.2%}",
        )
    return live


def all_metrics(
    measured: MarkerPass, live: list[int], hidden: dict[int, float], draws: dict[str, int]
) -> dict[str, MetricValue]:
    """Return every metric: fidelity over live markers, rate, codes.

    Args:
        measured: the pass over the tiles.
        live: places of the markers that are judged.
        hidden: R² of each with its channel hidden, where that was measured.
        draws: resamples and seed of the bootstrap.
    """
    metrics = measured.model.summary(live, **draws)
    counts = measured.counts.summary(live, **draws)["r2"]
    metrics["r2_counts"] = MetricValue(
        counts.value, "1", counts.low, counts.high, counts.n, f"{counts.convention}; on counts"
    )
    if hidden:
        value = float(np.median(list(hidden.values())))
        words = f"median over {len(live)} live markers of R² with the marker hidden from the input"
        metrics["masked_r2"] = MetricValue(value, "1", None, None, counts.n, words)
    if measured.latent.rate is not None:
        metrics["kl_bits"] = measured.latent.rate.compute(**draws)["kl_bits"]
    if measured.latent.usage is not None:
        metrics.update(measured.latent.usage.compute())
    return metrics


def by_marker(
    names: Sequence[str],
    measured: MarkerPass,
    nonzero_train_C: np.ndarray,
    live: list[int],
    hidden: dict[int, float],
    draws: dict[str, int],
) -> list[dict[str, Any]]:
    """Return one node per marker: how present it is, how well it comes back, references beside."""
    table: MarkerTable = measured.model.table(**draws)
    counts = measured.counts.table(resamples=2, seed=0).r2
    beside = {name: e.table(resamples=2, seed=0).r2 for name, e in measured.references.items()}
    held = measured.nonzero_C()
    return [
        {
            "name": name,
            "live": place in live,
            "nonzero_train": float(nonzero_train_C[place]),
            "nonzero_held_out": float(held[place]),
            "r2": float(table.r2[place]),
            "r2_low": float(table.r2_low[place]) if place in live else None,
            "r2_high": float(table.r2_high[place]) if place in live else None,
            "pearson": float(table.pearson[place]),
            "gradient": None if measured.model.cells else float(table.gradient[place]),
            "r2_counts": float(counts[place]),
            "masked_r2": hidden.get(place),
            "references": {key: float(r2[place]) for key, r2 in beside.items()},
        }
        for place, name in enumerate(names)
    ]


def scores_of_references(
    measured: MarkerPass,
    told: Callable[[str], tuple[str, int]],
    live: list[int],
    draws: dict[str, int],
) -> dict[str, StackReference]:
    """Return every reference's fidelity on the same samples.

    Args:
        measured: the pass over the samples.
        told: what a reference is in words, and its numbers.
        live: places of the markers that are judged.
        draws: resamples and seed of the bootstrap.
    """
    return {
        name: StackReference(errors.summary(live, **draws), *told(name))
        for name, errors in measured.references.items()
    }


def gains_over_references(
    measured: MarkerPass, live: list[int], draws: dict[str, int]
) -> dict[str, dict[str, MetricValue]]:
    """Return how far the model's medians lie above every reference's, paired, by metric."""
    return {
        name: median_gain(measured.model, errors, live, **draws)
        for name, errors in measured.references.items()
    }


def remarks(names: Sequence[str], live: list[int], *further: str) -> tuple[str, ...]:
    """Return what else a reader must know: what is said already, and what is not judged."""
    sparse = [name for place, name in enumerate(names) if place not in live]
    found = [*further]
    if sparse:
        found.append(
            f"{len(sparse)} markers are fed but too sparse to be judged (below {LIVE:.0%} not "
            f"zero): {', '.join(sparse)}"
        )
    return tuple(found)
