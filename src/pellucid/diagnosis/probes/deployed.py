"""The path the user deploys: forward where given, else decode(encode(x))."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.probes.weight import sampled_output


@dataclasses.dataclass(frozen=True)
class Paths:
    """forward(x) against decode(encode(x)).

    Args:
        output: forward(x), or None when there is no forward of the right shape.
        difference: mean squared difference to decode(encode(x)) / R1.
        noise: variance between two calls of forward / R1.
        win_db: dB by which decode(encode(x)) beats forward(x); negative when forward is better.
        samples: True when forward behaves like decode(sample of the posterior).
    """

    output: Tensor | None
    difference: float
    noise: float
    win_db: float
    samples: bool


def paths(case: Case) -> Paths:
    """Run forward twice and compare."""
    if case.subject.forward is None:
        return Paths(None, 0.0, 0.0, 0.0, False)
    first = case.runner.forward(case.x)
    if first.shape != case.x.shape:
        case.notes.append(
            f"forward returns {tuple(first.shape[1:])}: not a reconstruction, ignored"
        )
        return Paths(None, 0.0, 0.0, 0.0, False)
    count = min(64, len(case.x))
    second = case.runner.forward(case.x[:count])
    noise = mean_square(first[:count] - second) / 2 / case.variance
    difference = mean_square(first - case.x_hat) / case.variance
    win = case.db(case.mse) - case.db(mean_square(first - case.x))
    return Paths(first, difference, noise, win, _samples(case, difference, noise))


def _samples(case: Case, difference: float, noise: float) -> bool:
    """Say whether what forward adds is the posterior's own noise."""
    if case.latent.logvar is None or noise < 1e-9:
        return False
    own = mean_square(case.measure(sampled_output) - case.x_hat) / case.variance
    # forward = mean + noise: two calls differ by twice what one differs from the mean
    drawn = noise > 0.3 * difference
    return drawn and (0.4 < difference / max(own, 1e-12) < 2.5 or noise > 0.7 * difference)


def deployed_path(case: Case) -> tuple[Tensor, bool]:
    """Return the deployed reconstruction, and whether it is decoded from samples."""
    found = case.measure(paths)
    return (case.x_hat, False) if found.output is None else (found.output, found.samples)
