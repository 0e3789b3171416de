"""learning-rate: equal forks that differ in the rate alone say it is too low or too high.

A young model with a sane rate falls about as fast at its own rate as at any other: that is
under-training, and stays so.
"""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.rates import (
    Rate,
    RateForks,
    can_redraw,
    fresh_rate_forks,
    optimizers_of,
    rate,
    rate_forks,
)

_OTHER_CAUSES = (
    "random-decoder",
    "frozen-module",
    "inert-loss",
    "straight-through-gain",
    "range-mismatch",
    "channel-order",
    "batchnorm-gap",
    "gan-gradient-leak",
    "spectral-nan",
)
"""Faults that no rate repairs; forks on top of them would be about something else."""


def missing(case: Case) -> str | None:
    """A training step, and the optimisers whose rate it uses."""
    subject = case.subject
    if subject.training_step is None and not (subject.loss_terms and subject.optimizers):
        return "Subject.training_step or loss_terms, with optimizers"
    if not optimizers_of(case):
        return "Subject.optimizers"
    return None if case.measure(rate) is not None else "a learning rate above zero"


def examine(case: Case) -> Finding | None:
    """Assert a rate that another one beats by decibels, where the size of updates agrees."""
    chosen = case.measure(rate)
    assert chosen is not None
    if case.found(*_OTHER_CAUSES):
        return None
    too_small = case.threshold("learning-rate.small_update").confidence(chosen.update_ratio)
    too_large = case.threshold("learning-rate.large_update").confidence(chosen.update_ratio)
    # The end of a schedule is quieter than its start; only a rate still in use can be too high.
    if adaptive(case):  # whose steps are as long as the rate, however large weights have grown
        by_rate = case.threshold("learning-rate.adaptive_rate").confidence(chosen.value)
        too_large = max(too_large, by_rate)
    too_large = 0.0 if chosen.decayed else too_large
    candidates: list[tuple[float, RateForks]] = []
    if max(too_small, too_large) >= 0.1 and (forks := case.measure(rate_forks)) is not None:
        candidates.append((min(too_small, _low(case, forks)), forks))
        candidates.append((min(too_large, _high(case, forks)), forks))
    if _dead(case, chosen) and max((c for c, _ in candidates), default=0.0) < 0.5:
        forks = case.measure(fresh_rate_forks)
        if forks is not None:
            candidates.append((_high(case, forks), forks))
    confidence, forks = max(candidates, key=lambda c: c[0], default=(0.0, None))
    if confidence < 0.1 or forks is None:
        return None
    return _finding(case, chosen, forks, confidence)


def adaptive(case: Case) -> bool:
    """Say whether an Adam-like optimiser sets the length of the steps."""
    return any("adam" in type(o).__name__.lower() for o in optimizers_of(case))


def _low(case: Case, forks: RateForks) -> float:
    """Return the confidence that ten times the rate falls much faster."""
    best = forks.best
    if best < 10:
        return 0.0
    gained = forks.wins_db[best] - forks.wins_db[1.0]
    own = max(forks.wins_db[1.0], 0.02)
    return min(
        case.threshold("learning-rate.gain_db").confidence(gained),
        case.threshold("learning-rate.speed").confidence(forks.wins_db[best] / own),
    )


def _high(case: Case, forks: RateForks) -> float:
    """Return the confidence that a lower rate falls where this one does not."""
    best = forks.best
    if best >= 1:
        return 0.0
    name = "learning-rate.fresh_gain_db" if forks.fresh else "learning-rate.calm_gain_db"
    return min(
        case.threshold(name).confidence(forks.wins_db[best] - forks.wins_db[1.0]),
        case.threshold("learning-rate.falls_db").confidence(forks.wins_db[best]),
    )


def _dead(case: Case, chosen: Rate) -> bool:
    """Say whether a rate that looks high has left a model that answers with the mean."""
    return case.fvu > 0.5 and chosen.value >= 3e-3 and can_redraw(case)


def _finding(case: Case, chosen: Rate, forks: RateForks, confidence: float) -> Finding:
    best = forks.best
    gained = forks.wins_db[best] - forks.wins_db[1.0]
    start = "from newly drawn parameters" if forks.fresh else "from where it stands"
    return Finding(
        id="learning-rate",
        confidence=confidence,
        severity=gained,
        severity_unit="dB",
        summary=f"the learning rate {chosen.value:.2g} is too {'low' if best > 1 else 'high'}: "
        f"×{best:g} wins {gained:.1f} dB more in {forks.steps} steps {start}",
        evidence=(
            Evidence("‖Δθ‖/‖θ‖ of one step", chosen.update_ratio, "1", "about 1e-3"),
            *(
                Evidence(
                    f"won in {forks.steps} steps at ×{factor:g}",
                    win,
                    "dB",
                    "≥ 0, and most near ×1",
                )
                for factor, win in sorted(forks.wins_db.items())
            ),
        ),
        ruled_out=(
            RuledOut(
                "under-training",
                f"as many steps at its own rate win {forks.wins_db[1.0]:.2f} dB, "
                f"at ×{best:g} {forks.wins_db[best]:.2f} dB: the rate differs, not the time",
            ),
        ),
        treatment=f"set the learning rate to {chosen.value * best:.2g} (the measured best of "
        f"×{{{', '.join(f'{f:g}' for f in sorted(forks.wins_db))}}})"
        + ("" if best > 1 else " and train anew, with warm-up and clipped gradients"),
        expects=("the loss falls faster", "PSNR/SNR rises"),
        suggests={"learning_rate": chosen.value * best},
    )
