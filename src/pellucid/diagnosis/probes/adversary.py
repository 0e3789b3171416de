"""The discriminator's part in a loss: which terms pass through it, how well it tells x from x_hat.

Shape letters: N samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.outputs import (
    gradient_at,
    loss_mode,
    output_layer,
    outputs_of,
    term_gradients,
    the_output,
)

_COUNT = 128


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """How a discriminator answers.

    Args:
        accuracy: balanced share of right answers about x and x_hat, at its natural threshold.
        separation: probability that a random x scores above a random x_hat (0.5: cannot tell).
    """

    accuracy: float
    separation: float


@dataclasses.dataclass(frozen=True)
class Pull:
    """Gradient norms at the decoder's last layer.

    Args:
        adversarial: of the terms that pass through the discriminator's scores.
        reconstruction: of all other terms.
    """

    adversarial: float
    reconstruction: float

    @property
    def ratio(self) -> float:
        """‖∇adversarial‖ / ‖∇reconstruction‖."""
        return self.adversarial / max(self.reconstruction, 1e-30)


def adversarial_terms(case: Case) -> frozenset[str]:
    """Return the terms whose gradient at x_hat passes through the discriminator's scores.

    Feature matching reads inner activations only and is no adversarial term; nor is the
    discriminator's own loss on a detached x_hat.
    """
    adversary, losses = case.subject.discriminator, case.subject.loss_terms
    layer = case.measure(output_layer)
    if adversary is None or losses is None or layer is None:
        return frozenset()
    scores: list[Tensor] = []
    handle = adversary.register_forward_hook(lambda m, i, out: scores.extend(score_tensors(out)))
    try:
        with loss_mode(case), outputs_of(layer.module) as seen:
            terms = losses(case.batch_of(case.fit))
            x_hat = the_output(terms, seen)
            if x_hat is None:
                return frozenset()
            live = [s for s in scores if s.requires_grad]
            return frozenset(
                name
                for name, value in terms.items()
                if gradient_at(value, [x_hat])[0] is not None
                and any(g is not None for g in gradient_at(value, live))
            )
    finally:
        handle.remove()


def pull(case: Case) -> Pull | None:
    """Compare gradients at the last layer; None without terms of both kinds."""
    found, names = case.measure(term_gradients), case.measure(adversarial_terms)
    if found is None or not names:
        return None
    norms = found.at_last_layer
    if not any(norms.values()):  # no weights there: compare at x_hat itself
        norms = {n: float(g.norm()) for n, g in found.at_output.items()}
    adversarial = sum(v for n, v in norms.items() if n in names)
    others = [v for n, v in norms.items() if n not in names]
    return Pull(adversarial, sum(others)) if others else None


def verdicts(case: Case) -> Verdicts:
    """Let the discriminator score held samples and their reconstructions in eval mode."""
    adversary = case.subject.discriminator
    assert adversary is not None
    with torch.no_grad():
        real = _scores(case, adversary, case.x[:_COUNT])
        fake = _scores(case, adversary, case.x_hat[:_COUNT])
    middle = _threshold(adversary, real, fake)
    accuracy = max(
        (float((real > m).float().mean()) + float((fake < m).float().mean())) / 2 for m in middle
    )
    ranks = torch.cat([real, fake]).argsort().argsort().double() + 1
    n = len(real)
    separation = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(fake)))
    return Verdicts(accuracy, separation)


def score_tensors(out: Any) -> list[Tensor]:
    """Return the scores in what a discriminator returns: the last tensor of each nested answer.

    Multi-scale discriminators return a list of score maps, some with their features beside them:
    ([scores…], [[features…]…]) or [[features…, score]…].
    """
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, Mapping):
        out = list(out.values())[:1]
    if not isinstance(out, (list, tuple)) or not out:
        return []
    first = out[0]
    if len(out) == 2 and isinstance(out[1], (list, tuple)) and isinstance(first, (Tensor, list)):
        return [t for t in (first if isinstance(first, list) else [first]) if isinstance(t, Tensor)]
    return [
        found[-1] for part in out if (found := [part] if isinstance(part, Tensor) else _flat(part))
    ]


def _flat(part: Any) -> list[Tensor]:
    return [t for t in part if isinstance(t, Tensor)] if isinstance(part, (list, tuple)) else []


def _scores(case: Case, adversary: nn.Module, x: Tensor) -> Tensor:
    parts = []
    for start in range(0, len(x), case.runner.batch):
        out = adversary(case.runner.to_model(x[start : start + case.runner.batch]))
        parts += [s.detach().float().flatten().cpu() for s in score_tensors(out)]
    return torch.cat(parts)


def _threshold(adversary: nn.Module, real: Tensor, fake: Tensor) -> tuple[float, ...]:
    """Return where "real" may begin: 0.5 for probabilities, 0 for logits, either for squares."""
    both = torch.cat([real, fake])
    if any(isinstance(m, nn.Sigmoid) for m in adversary.modules()) and bool(
        ((both >= 0) & (both <= 1)).all()
    ):
        return (0.5,)
    return (0.0, 0.5)
