"""The multiplier w of ΣKL beside a mean-reduced error: declared, measured from the losses, or
implied by the posterior itself.

Symbols: D elements of a sample, ΣKL summed over dimensions and averaged over the batch.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.probes.posterior import kl_terms, posterior
from pellucid.records import Latent

_KL_NAMES = ("kl", "kld", "prior", "regular", "reg", "latent")
_BATCHES = 4
_LEAST_DIMENSIONS = 4
_CONSTANT = 0.08
"""A ratio that varies less than this between batches is taken to be a constant multiplier."""


@dataclasses.dataclass(frozen=True)
class KLWeight:
    """w, and how it is known.

    Args:
        value: multiplier of ΣKL beside a mean-reduced squared (or absolute) error.
        error: "squared" or "absolute": which error it stands beside.
        origin: "declared", "measured from the losses" or "implied by the posterior".
    """

    value: float
    error: Literal["squared", "absolute"]
    origin: str

    @property
    def known(self) -> bool:
        """False when it was only implied."""
        return not self.origin.startswith("implied")


@dataclasses.dataclass(frozen=True)
class LossScales:
    """What the user's loss terms are, by comparison with plain errors of the same batches.

    Args:
        kl_name: the term that is a multiple of ΣKL, or None.
        kl_multiplier: its ratio to ΣKL.
        recon_name: the term that is a multiple of a plain reconstruction error, or None.
        recon_multiplier: its ratio to the mean-reduced error.
        error: "squared" or "absolute".
    """

    kl_name: str | None
    kl_multiplier: float
    recon_name: str | None
    recon_multiplier: float
    error: Literal["squared", "absolute"]


def kl_weight(case: Case) -> KLWeight | None:
    """Return w by the best source there is; None when there is no Gaussian posterior."""
    measured = case.measure(posterior)
    if measured is None:
        return None
    scales = case.measure(loss_scales)
    error = scales.error if scales is not None else "squared"
    declared = case.subject.kl_weight
    if declared is None and case.subject.recipe is not None:
        declared = case.subject.recipe.get("kl_weight")
    if declared is not None:
        return KLWeight(float(declared), error, "declared")
    if scales is not None and scales.kl_name is not None and scales.recon_name is not None:
        value = scales.kl_multiplier / max(scales.recon_multiplier, 1e-20)
        return KLWeight(value, error, "measured from the losses")
    value = implied_weight(case)
    return None if value is None else KLWeight(value, "squared", "implied by the posterior")


def implied_weight(case: Case) -> float | None:
    """Return w from the posterior's stationarity.

    At the optimum of MSE + w·ΣKL over σ²: E‖decode(μ+σε) − decode(μ)‖²/D = (w/2)·Σ(1 − σ²),
    so the noise the decoder passes on tells what weight the encoder was trained under.
    """
    latent = case.latent
    if latent.logvar is None:
        return None
    narrowed = float((1 - latent.logvar.double().exp()).flatten(1).sum(1).mean())
    if narrowed < 0.1 or not torch.isfinite(latent.logvar).all():
        return None
    return 2 * mean_square(case.measure(sampled_output) - case.x_hat) / narrowed


def implied_agreement(case: Case) -> float:
    """Return the ratio (≥ 1) of the weights that two halves of the narrowed dimensions imply.

    At the optimum the relation of `implied_weight` holds for every dimension. Where two halves,
    the more and the less narrowed one, imply different weights, the posterior has not settled and
    its noise says nothing about the weight. Infinity where there are too few dimensions to tell.
    """
    latent = case.latent
    if latent.logvar is None:
        return float("inf")
    narrowed_d = (1 - latent.logvar.double().exp()).flatten(1).mean(0)
    order = narrowed_d.argsort(descending=True)[: int((narrowed_d > 0.02).sum())]
    if len(order) < _LEAST_DIMENSIONS:
        return float("inf")
    implied = []
    for chosen in order.tensor_split(2):
        only = torch.zeros(narrowed_d.shape)
        only[chosen] = 1.0
        noise = mean_square(decoded_samples(case, case.x, only) - case.x_hat)
        implied.append(noise / max(float(narrowed_d[chosen].sum()), 1e-12))
    return max(implied) / max(min(implied), 1e-20)


def sampled_output(case: Case) -> Tensor:
    """Return decode(one sample of the posterior) for every held x."""
    return case.x_hat if case.latent.logvar is None else decoded_samples(case, case.x)


def decoded_samples(case: Case, x: Tensor, only_d: Tensor | None = None) -> Tensor:
    """Return decode(one sample of the posterior); decode(encode(x)) where there is no variance.

    Args:
        case: the case.
        x: (N, C, P...) samples.
        only_d: (d,) 1 for the numbers of a latent that are sampled, 0 for those left at the mean.
    """
    generator = torch.Generator().manual_seed(0)

    def sample(z: Tensor, latent: Latent, start: int) -> Tensor:
        if latent.logvar is None:
            return z
        noise = torch.randn(z.shape, generator=generator).to(z)
        if only_d is not None:
            noise = noise * only_d.view(1, *z.shape[1:]).to(z)
        return latent.mean + noise * (0.5 * latent.logvar).exp()

    return case.runner.roundtrip(x, sample)[1]


def loss_scales(case: Case) -> LossScales | None:
    """Compare the user's terms with ΣKL, mean squared and mean absolute error, batch by batch."""
    loss_terms = case.subject.loss_terms
    if loss_terms is None:
        return None
    rows: list[dict[str, float]] = []
    with case.training_mode(), torch.no_grad():
        for index in range(_BATCHES):
            x = case.batch_of(case.fit, index * 64)
            rows.append(_values(case, loss_terms(x), x))
    names = [n for n in rows[0] if not n.startswith("=")]
    kl_name = _kl_name(rows, names)
    recon = [_closest(rows, name) for name in names if name != kl_name]
    best = max((r for r in recon if r is not None), key=lambda r: r[3], default=None)
    multiplier = 0.0 if kl_name is None else _ratio(rows, kl_name, "=kl")[0]
    if best is None:
        return LossScales(kl_name, multiplier, None, 1.0, "squared")
    return LossScales(kl_name, multiplier, best[0], best[2], best[1])


def _values(case: Case, terms: Mapping[str, Tensor], x: Tensor) -> dict[str, float]:
    """Return the terms of a batch and, under "=…" names, plain errors to compare them with."""
    row = {name: float(value) for name, value in terms.items()}
    latent = case.runner.encode_live(x)
    z = latent.mean if latent.quantized is None else latent.quantized
    if latent.logvar is not None:
        row["=kl"] = float(
            kl_terms(latent.mean.float(), latent.logvar.float()).flatten(1).sum(1).mean()
        )
        z = latent.mean + torch.randn_like(latent.mean) * (0.5 * latent.logvar).exp()
    difference = (case.runner.decode_live(z, x) - x).float()
    row["=squared"] = float(difference.square().mean())
    row["=absolute"] = float(difference.abs().mean())
    return row


def _ratio(rows: list[dict[str, float]], name: str, error: str) -> tuple[float, float]:
    """Return the median ratio of a term to a plain error, and its relative spread over batches."""
    ratios = [row[name] / row[error] for row in rows if row.get(error, 0) > 1e-20]
    if not ratios or statistics.median(ratios) <= 0:
        return 0.0, float("inf")
    middle = statistics.median(ratios)
    return middle, max(abs(r - middle) for r in ratios) / middle


def _kl_name(rows: list[dict[str, float]], names: list[str]) -> str | None:
    """Return the term that is a constant multiple of ΣKL, preferring one that says so."""
    if "=kl" not in rows[0]:
        return None
    constant = [n for n in names if _ratio(rows, n, "=kl")[1] < _CONSTANT]
    named = [n for n in names if any(k in n.lower() for k in _KL_NAMES)]
    for candidates in ([n for n in constant if n in named], named[:1]):
        if candidates and _ratio(rows, candidates[0], "=kl")[0] > 0:
            return candidates[0]
    return None


def _closest(
    rows: list[dict[str, float]], name: str
) -> tuple[str, Literal["squared", "absolute"], float, float] | None:
    """Return (name, which error, multiplier, size of the term) of the error a term follows best."""
    squared, absolute = _ratio(rows, name, "=squared"), _ratio(rows, name, "=absolute")
    if min(squared[1], absolute[1]) > 3 * _CONSTANT:
        return None
    size = statistics.median(row[name] for row in rows)
    # An L1 term differs from an L2 term by how its ratio moves between batches; where both are
    # steady, the multiplier that is a round number (1, ½, a sum over elements) decides.
    if (squared[1] <= absolute[1] * 1.5 and not _is_round(absolute[0])) or _is_round(squared[0]):
        return name, "squared", squared[0], size
    return name, "absolute", absolute[0], size


def _is_round(multiplier: float) -> bool:
    """Say whether a multiplier is one people write: a power of ten or half of it, within 3 %."""
    for base in (1.0, 0.5, 2.0, 5.0):
        scaled = multiplier / base
        if scaled <= 0:
            return False
        exponent = round(torch.tensor(scaled).log10().item())
        if abs(scaled / 10.0**exponent - 1) < 0.03:
            return True
    return False
