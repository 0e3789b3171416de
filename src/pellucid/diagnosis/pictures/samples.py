"""Pictures over samples: error against level, and training beside held-out error."""

from __future__ import annotations

from pellucid.diagnosis.budget import train_error
from pellucid.diagnosis.case import Case, mean_square, per_sample
from pellucid.diagnosis.pictures.thinning import evenly, numbers
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.references import references

POINTS = 300


def error_against_level(case: Case) -> Plot | None:
    """Draw each sample's error, relative to its own power, against its level."""
    x = case.x - case.x.mean(-1, keepdim=True)
    power = per_sample(x)
    live = power > power.max() * 1e-8
    if int(live.sum()) < 2:
        return None
    level = 10 * power[live].log10()
    error = per_sample(case.x_hat - case.x)[live].clamp_min(1e-20)
    relative = 10 * (error / power[live]).log10()
    shown = evenly(len(level), POINTS)
    loud = float(relative[level >= level.quantile(0.75)].median())
    ends = (float(level.min()), float(level.max()))
    return Plot(
        kind="points",
        title="error against loudness",
        x_label="level of the sample, dB",
        y_label="error / power, dB",
        series=(
            Series("samples", numbers(level[shown]), numbers(relative[shown])),
            Series("as the loud quarter", ends, (loud, loud), reference=True),
        ),
    )


def train_and_held_out(case: Case) -> Plot | None:
    """Draw error / R1 on both sets, beside PCA's, which shows how far the sets differ."""
    if case.train is None:
        return None
    train = case.train[: len(case.x)]
    variance = max(mean_square(train - case.mean_sample), 1e-20)
    found = case.measure(references)
    pca_train = mean_square(found.pca.reconstruct(train) - train) / variance
    places = (0.0, 1.0)
    return Plot(
        kind="bars",
        title="error on training and held-out samples",
        x_label="samples",
        y_label="error / R1",
        series=(
            Series("this model", places, (case.measure(train_error) / variance, case.fvu)),
            Series("PCA", places, (pca_train, found.linear / case.variance), reference=True),
        ),
        ticks=("train", "held-out"),
    )
