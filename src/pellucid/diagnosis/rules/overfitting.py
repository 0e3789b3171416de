"""overfitting: training samples are reconstructed much better than held-out ones."""

from __future__ import annotations

from pellucid.diagnosis.budget import train_error
from pellucid.diagnosis.case import Case, decibels, mean_square, per_sample
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import bootstrap_db
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.rules.access import held_out as missing
from pellucid.references.linear import PCAReference

__all__ = ["examine", "missing"]

MOST_FORGIVEN_DB = 2.0
"""However far ahead of PCA a model is, a larger gap than this beside the usual one is a fault."""

MOST_USUAL_DB = 1.5
"""Fitted on few samples, a linear model has a gap too; more of it than this excuses nobody."""


def examine(case: Case) -> Finding | None:
    """Assert a gap in fraction of variance unexplained that a mere difference of the sets lacks.

    The two sets may differ in difficulty; R1 of each is what error is counted against.
    """
    assert case.train is not None
    train_variance = mean_square(case.train[: len(case.x)] - case.mean_sample)
    train_fvu = case.measure(train_error) / max(train_variance, 1e-20)
    # Harder samples are no overfitting, and neither are easier ones with the same error.
    gap = min(
        decibels(case.fvu / max(train_fvu, 1e-12)),
        decibels(case.mse / max(case.measure(train_error), 1e-20)),
    )
    held = per_sample(case.x_hat - case.x)
    low, high = bootstrap_db(held, held.new_full(held.shape, case.mse))
    harder = max(case.measure(difference_of_sets), min(_linear_gap(case), MOST_USUAL_DB))
    # A model that already does better on unseen samples than a linear one may keep some gap.
    found = case.measure(references)
    lead = min(max(decibels(found.linear / max(case.mse, 1e-20)), 0.0), MOST_FORGIVEN_DB)
    confidence = min(
        case.threshold("overfitting.gap_db").confidence(gap - lead),
        case.threshold("overfitting.extra_db").confidence(gap - lead - harder),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="overfitting",
        confidence=confidence,
        severity=gap,
        severity_unit="dB",
        summary=f"held-out samples lose {gap:.1f} dB to training samples (relative to each set's "
        "variance)",
        evidence=(
            Evidence(
                "gap of error / variance, held-out over train",
                gap,
                "dB",
                "< 1.5",
                gap + low,
                gap + high,
            ),
            Evidence("error / R1 on train", train_fvu, "1", "about that on held-out"),
            Evidence("error / R1 on held-out", case.fvu, "1", "about that on train"),
            Evidence("the same gap for a linear model", harder, "dB", "how far the sets differ"),
            Evidence("ahead of PCA on held-out samples by", lead, "dB", "> 0"),
        ),
        ruled_out=(RuledOut("under-training", "training samples are fitted well"),),
        treatment="more data or augmentation of the input (with a clean target), weight decay, "
        "a smaller model, or stopping at the best held-out error",
        expects=("the gap shrinks", "held-out error falls"),
    )


def difference_of_sets(case: Case) -> float:
    """Return by how many dB a linear model's error is larger on held-out than on training samples.

    It is fitted on every second training sample and judged on the others, so that it has seen
    neither set: what differs is the sets. Fitted and judged on the same few, it would overfit too.
    """
    assert case.train is not None
    fit, unseen = case.fit[::2], case.fit[1::2][: len(case.x)]
    if len(fit) < 2 or len(unseen) < 2:
        return 0.0
    pca = case.measure(references).pca
    numbers = pca.numbers if pca.patch is not None else min(pca.numbers, len(fit) - 1)
    linear = PCAReference.fit(fit, max(1, numbers), stride=pca.patch)
    errors = [
        mean_square(linear.reconstruct(x) - x) / max(mean_square(x - case.mean_sample), 1e-20)
        for x in (case.x, unseen)
    ]
    return max(0.0, decibels(errors[0] / max(errors[1], 1e-12)))


def _linear_gap(case: Case) -> float:
    """Return the gap of a linear model between the samples it was fitted on and held-out ones."""
    assert case.train is not None
    found, train = case.measure(references), case.train[: len(case.x)]
    own = mean_square(found.pca.reconstruct(train) - train)
    whole = mean_square(train - case.mean_sample)
    return max(0.0, decibels((found.linear / case.variance) / max(own / max(whole, 1e-20), 1e-12)))
