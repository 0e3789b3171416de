"""overfitting: training samples are reconstructed much better than held-out ones."""

from __future__ import annotations

from pellucid.diagnosis.budget import train_error
from pellucid.diagnosis.case import Case, decibels, mean_square, per_sample
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import bootstrap_db
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.rules.access import held_out as missing

__all__ = ["examine", "missing"]


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
    pca = case.measure(references).pca
    train = case.train[: len(case.x)]
    linear_gap = decibels(
        (case.measure(references).linear / case.variance)
        / max(mean_square(pca.reconstruct(train) - train) / train_variance, 1e-12)
    )
    extra = gap - max(0.0, min(linear_gap, 1.5) if pca.patch is None else linear_gap)
    confidence = min(
        case.threshold("overfitting.gap_db").confidence(gap),
        case.threshold("overfitting.extra_db").confidence(extra),
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
            Evidence("the same gap for PCA", linear_gap, "dB", "shows how far the sets differ"),
        ),
        ruled_out=(RuledOut("under-training", "training samples are fitted well"),),
        treatment="more data or augmentation of the input (with a clean target), weight decay, "
        "a smaller model, or stopping at the best held-out error",
        expects=("the gap shrinks", "held-out error falls"),
    )
