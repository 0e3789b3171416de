"""Where gradients arrive: per loss term and module, and what a training step moves."""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.outputs import term_gradients
from pellucid.diagnosis.probes.taps import straight_through
from pellucid.diagnosis.rules.frozen_module import moved
from pellucid.diagnosis.rules.inert_loss import term_reach


def gradient_shares(case: Case) -> Plot | None:
    """Draw each term's share of the gradient norms at each module; a missing bar is no gradient."""
    if case.subject.loss_terms is None or not case.subject.modules:
        return None
    reach = {term: norms for term, norms in case.measure(term_reach).items() if norms}
    if not reach:
        return None
    modules = tuple(dict.fromkeys(name for norms in reach.values() for name in norms))
    totals = {m: sum(norms.get(m, 0.0) for norms in reach.values()) for m in modules}
    positions = tuple(float(i) for i in range(len(modules)))
    return Plot(
        kind="bars",
        title="each term's share of the gradient",
        x_label="module",
        y_label="share of the summed norms, %",
        series=tuple(
            Series(term, positions, tuple(_percent(norms.get(m, 0.0), totals[m]) for m in modules))
            for term, norms in reach.items()
        ),
        ticks=modules,
    )


def output_shares(case: Case) -> Plot | None:
    """Draw each term's share of the gradient at the output, the place where all terms meet."""
    found = case.measure(term_gradients)
    shares = {} if found is None else found.shares()
    if not shares:
        return None
    return Plot(
        kind="bars",
        title="each term's share of the gradient at the output",
        x_label="loss term",
        y_label="share of the summed norms, %",
        series=(
            Series(
                "",
                tuple(float(i) for i in range(len(shares))),
                tuple(100 * share for share in shares.values()),
            ),
        ),
        ticks=tuple(shares),
    )


def parameter_movement(case: Case) -> Plot | None:
    """Draw ‖Δθ‖/‖θ‖ per module after the training steps the rule took."""
    movement = case.measure(moved)
    if not movement:
        return None
    return Plot(
        kind="bars",
        title="what a training step moves",
        x_label="module",
        y_label="‖Δθ‖ / ‖θ‖",
        series=(
            Series(
                "",
                tuple(float(i) for i in range(len(movement))),
                tuple(size for _, size, _ in movement.values()),
            ),
        ),
        y_log=True,
        ticks=tuple(movement),
    )


def straight_through_multiple(case: Case) -> Plot | None:
    """Draw how many times the declared gradient passes the quantiser, and how much arrives."""
    found = case.measure(straight_through)
    if found is None:
        return None
    values = [
        (name, value)
        for name, value in (
            ("multiple passed on", found.gain),
            ("norm before / after", found.norm_ratio),
        )
        if math.isfinite(value)
    ]
    positions = tuple(float(i) for i in range(len(values)))
    return Plot(
        kind="bars",
        title="the gradient that passes the quantiser",
        x_label=found.where,
        y_label="times",
        series=(
            Series("measured", positions, tuple(value for _, value in values)),
            Series("one straight-through", (-0.4, len(values) - 0.6), (1.0, 1.0), reference=True),
        ),
        ticks=tuple(name for name, _ in values),
    )


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole > 0 else 0.0
