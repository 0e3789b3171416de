"""Values and gradients of the loss terms on silent and constant samples.

Shape letters: B batch, C channels, P positions.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.outputs import (
    gradient_at,
    loss_mode,
    output_layer,
    outputs_of,
    replaced_output,
    the_output,
)
from pellucid.diagnosis.probes.training import parameters

SITUATIONS = ("ordinary samples", "a silent sample", "a constant sample", "a silent x_hat")


@dataclasses.dataclass(frozen=True)
class Silence:
    """Terms that break, by situation.

    Args:
        broken: {situation: {term: "value" or "gradient"}}.
        tested: situations that could be tried.
    """

    broken: dict[str, dict[str, str]]
    tested: tuple[str, ...]


def silence(case: Case) -> Silence:
    """Try each situation; the first one tells a term that breaks everywhere.

    One sample of an ordinary batch is silenced, so that what is normalised over the batch stays
    defined; a silent x_hat stands beside ordinary targets, so that roots of x_hat − x stay away
    from their own singularity.
    """
    contrast = case.fit.flatten(1).var(1)
    ordinary = case.fit[contrast >= contrast.median()]  # silence among them would hide the fault
    x = case.batch_of(ordinary).clone()
    silent, constant = x.clone(), x.clone()
    silent[0] = 0
    constant[0] = x[0].mean()
    broken: dict[str, dict[str, str]] = {}
    for name, batch in zip(SITUATIONS, (x, silent, constant), strict=False):
        broken[name] = _broken(case, batch)
    layer = case.measure(output_layer)
    if layer is not None:
        with replaced_output(layer.module, lambda out: _muted(out)):
            broken[SITUATIONS[3]] = _broken(case, x)
    return Silence(broken, tuple(broken))


def _muted(x_hat: Tensor) -> Tensor:
    """Return an x_hat whose first sample is exactly silent, with its gradient kept."""
    keep = torch.ones_like(x_hat)
    keep[0] = 0
    return x_hat * keep


def _broken(case: Case, x: Tensor) -> dict[str, str]:
    """Return the terms whose value or gradient is not finite on a batch."""
    losses, layer = case.subject.loss_terms, case.measure(output_layer)
    assert losses is not None
    found: dict[str, str] = {}
    with loss_mode(case), contextlib.ExitStack() as stack:
        torch.manual_seed(0)
        seen = stack.enter_context(_seen(layer))
        terms = losses(x)
        x_hat = the_output(terms, seen)
        if any(not bool(torch.isfinite(t).all()) for t in seen):
            return {}  # the model itself breaks, not a term
        places = [*([x_hat] if x_hat is not None else []), *parameters(case)]
        for name, value in terms.items():
            if not bool(torch.isfinite(value).all()):
                found[name] = "value"
            elif any(
                g is not None and not bool(torch.isfinite(g).all())
                for g in gradient_at(value, places)
            ):
                found[name] = "gradient"
    return found


@contextlib.contextmanager
def _seen(layer: object) -> Iterator[list[Tensor]]:
    module = getattr(layer, "module", None)
    if module is None:
        yield []
        return
    with outputs_of(module) as seen:
        yield seen
