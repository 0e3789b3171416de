"""How each term's gradient grows with the batch: repeated samples leave a mean as it is.

A batch of the same samples, each met 1, 2, 4 times, has the same mean and twice, four times the
sum: the slope of log ‖∇term‖ over log copies is 0 for a mean, 1 for a sum, whatever the data.
Shape letters: B batch, C channels, P positions.
"""

from __future__ import annotations

import dataclasses
import math
import time

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.outputs import (
    PENALTIES,
    gradient_at,
    loss_mode,
    plain_errors,
    term_gradients,
)
from pellucid.diagnosis.probes.training import parameters
from pellucid.diagnosis.probes.weight import loss_scales

COPIES = (1, 2, 4)
_SAMPLES, _DRAWS = 8, 4
_FEWEST = 2
_SHARE = 0.1
"""Of the whole budget; large models and long clips are met with fewer samples and draws."""
_MIXED_CROPS = ("crop_sizes", "crops", "multi_crop")


@dataclasses.dataclass(frozen=True)
class Reductions:
    """Growth of the gradients of one reconstruction term and one penalty.

    Args:
        recon, penalty: the names of the terms.
        by_batch: {name: slope of log ‖∇‖ over log copies}.
        by_crop: the same over the crop size, for the ratio recon / penalty; None where training
            has one crop size, or the model takes one only.
        ratios: ‖∇recon‖ / ‖∇penalty‖ at 1, 2, 4 copies.
    """

    recon: str
    penalty: str
    by_batch: dict[str, float]
    by_crop: float | None
    ratios: tuple[float, ...]


def reductions(case: Case) -> Reductions | None:
    """Measure the slopes; None without a pair of terms to compare, or on one batch size only."""
    pair = _pair(case)
    if pair is None or not parameters(case):
        return None
    samples, draws = _affordable(case, pair)
    x = case.batch_of(case.fit, size=samples)
    tables = [_norms(case, pair, x.repeat(n, *[1] * (x.ndim - 1)), draws) for n in COPIES]
    if any(table is None for table in tables):
        return None
    found = [table for table in tables if table is not None]
    slopes = {name: _slope(list(COPIES), [t[name] for t in found]) for name in pair}
    by_crop = _by_crop(case, pair, x, draws) if mixes_crops(case) else None
    return Reductions(*pair, slopes, by_crop, tuple(t[pair[0]] / t[pair[1]] for t in found))


def mixes_crops(case: Case) -> bool:
    """Whether training meets crops of several sizes, by its recipe."""
    recipe = case.subject.recipe or {}
    return any(
        isinstance(recipe.get(k), (list, tuple)) and len(set(recipe[k])) > 1 for k in _MIXED_CROPS
    )


def _affordable(case: Case, pair: tuple[str, str]) -> tuple[int, int]:
    """Return how many samples and draws of the noise fit into this probe's share of the time."""
    began = time.monotonic()
    _norms(case, pair, case.batch_of(case.fit, size=_FEWEST), 1)
    per_sample = (time.monotonic() - began) / _FEWEST
    allowed = _SHARE * case.clock.budget_seconds
    for samples, draws in ((_SAMPLES, _DRAWS), (_SAMPLES // 2, _DRAWS), (_FEWEST, _DRAWS)):
        if sum(COPIES) * samples * draws * per_sample <= allowed:
            return samples, draws
    return _FEWEST, 1


def _pair(case: Case) -> tuple[str, str] | None:
    """Return the reconstruction term and the penalty beside it."""
    if case.subject.loss_terms is None:
        return None
    scales, found = case.measure(loss_scales), case.measure(term_gradients)
    values = _names(case)
    reaching = set(found.at_output) if found is not None else set()
    kl = scales.kl_name if scales is not None else None
    penalty = kl or next(
        (n for n in values if n not in reaching and any(k in n.lower() for k in PENALTIES)), None
    )
    recon = scales.recon_name if scales is not None else None
    if recon is None and found is not None:
        plain = plain_errors(found)
        recon = max(plain or reaching, key=lambda n: float(found.at_output[n].norm()), default=None)
    return (recon, penalty) if recon and penalty and recon != penalty else None


def _names(case: Case) -> list[str]:
    losses = case.subject.loss_terms
    assert losses is not None
    with loss_mode(case), torch.no_grad():
        return list(losses(case.batch_of(case.fit)))


def _norms(case: Case, pair: tuple[str, str], batch: Tensor, draws: int) -> dict[str, float] | None:
    """Return the norms of the two terms' mean gradients over a few draws of the noise."""
    losses = case.subject.loss_terms
    assert losses is not None
    with loss_mode(case):
        owned = parameters(case)
        sums: dict[str, list[Tensor] | None] = dict.fromkeys(pair)
        for seed in range(draws):
            torch.manual_seed(seed)
            terms = losses(batch)
            for name in pair:
                grads = [
                    torch.zeros_like(p) if g is None else g
                    for p, g in zip(owned, gradient_at(terms[name], owned), strict=True)
                ]
                kept = sums[name]
                sums[name] = (
                    grads if kept is None else [a + b for a, b in zip(kept, grads, strict=True)]
                )
        norms = {
            name: float(torch.stack([g.norm() for g in grads or []]).norm())
            for name, grads in sums.items()
        }
    return norms if all(n > 0 and math.isfinite(n) for n in norms.values()) else None


def _by_crop(case: Case, pair: tuple[str, str], x: Tensor, draws: int) -> float | None:
    """Return the slope of log(ratio) over log positions, halving the last axis."""
    stride = case.stride
    if stride is None or x.shape[-1] % (2 * stride) or x.shape[-1] < 4 * stride:
        return None
    crops = (x[..., : x.shape[-1] // 2], x)
    try:
        tables = [_norms(case, pair, crop, draws) for crop in crops]
    except RuntimeError:  # a model of one size only: torch names the shapes it cannot take
        return None
    if tables[0] is None or tables[1] is None:
        return None
    return _slope([1, 2], [t[pair[0]] / t[pair[1]] for t in tables if t is not None])


def _slope(sizes: list[int], values: list[float]) -> float:
    """Return the least-squares slope of log values over log sizes."""
    a = torch.tensor(sizes).double().log()
    b = torch.tensor(values).double().log()
    a = a - a.mean()
    return float((a * (b - b.mean())).sum() / a.square().sum())
