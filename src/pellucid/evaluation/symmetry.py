"""What a permuted model does with orientation and order: invariance, matching, the permuter.

Shape letters: B batch, C channels, H height, W width, N samples, S side of the permuter's grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.evaluation.passes import Reconstructor, batches
from pellucid.functional.dihedral import orbit
from pellucid.functional.linear_vae import linear_vae
from pellucid.functional.symmetries import moves
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision
from pellucid.nn.permuters import Learned
from pellucid.references.principal import principal_axes
from pellucid.references.samples import affordable, collect, spaced


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """What was measured; errors are mean squares over the data's variance unless said otherwise.

    Args:
        group: to which the latents are meant to be invariant; "dihedral" is also measured where
            nothing is promised ("none").
        promised: whether a permuter promises it.
        n: samples.
        invariance_error: ‖μ(g·x) − μ(x)‖ / ‖μ(x)‖, pooled over samples and elements g.
        invariance_worst: the largest of any sample and element.
        equivariance_error: ‖x̂(g·x) − g·x̂(x)‖ / ‖x̂(x)‖, pooled.
        error_before: of the canonical reconstruction against the input as it is.
        error_after: of the reconstruction put back into the input's order.
        error_best: of the best of the eight orientations of x̂, an oracle that sees x; None for
            tiles that are not square.
        by_element: error after matching for every orientation or order of the input.
        by_position: (S, S) error after matching on the grid of patches.
        pose_bits: side information per sample.
        permuter: entropy (0 … 1), soft_error − hard_error, temperature; empty where nothing is
            learned.
        active: {"units", "closed_form"} latents with Var(μ) > 0.01, and how many the linear VAE
            of this weight would use on this data, in canonical order; empty without a KL weight.
    """

    group: str
    promised: bool
    n: int
    invariance_error: float
    invariance_worst: float
    equivariance_error: float
    error_before: float
    error_after: float
    error_best: float | None
    by_element: dict[str, float]
    by_position: list[list[float]]
    pose_bits: float
    permuter: dict[str, float]
    active: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers."""
        return dataclasses.asdict(self)


def measure_symmetry(
    autoencoder: Autoencoder,
    train_set: Any,
    held_out_set: Any,
    *,
    kl_weight: float | None = None,
    max_samples: int = 256,
    batch_size: int = 64,
    precision: Precision = "float32",
) -> Symmetry:
    """Move held-out samples by the permuter's group and measure what moves with them.

    Args:
        autoencoder: of square tiles or images; left as it was found.
        train_set: map-style; the closed form is computed on its targets.
        held_out_set: map-style dataset of {"x", "target", ...}.
        kl_weight: w of ΣKL beside a mean-reduced squared error, or None.
        max_samples: at most so many held-out samples, evenly spaced.
        batch_size: samples at once.
        precision: in which the model computes.
    """
    reconstruct = Reconstructor(autoencoder, precision)
    indices = spaced(len(held_out_set), max_samples)
    x = torch.cat([batch.target for batch in batches(held_out_set, indices, batch_size)]).float()
    permuter = autoencoder.permuter
    promised = permuter is not None and permuter.group != "none"
    group = permuter.group if permuter is not None and promised else "dihedral"
    side = _side(autoencoder, x)
    variance = float((x - x.mean(0)).square().mean()) or 1.0
    run = _Runs(reconstruct, batch_size)
    mean, x_hat, canonical = run(x)
    latent_moved, output_moved, worst = 0.0, 0.0, 0.0
    by_element = {"as it is": _mse(x_hat, x) / variance}
    elements = moves(cast(Literal["dihedral", "nodes"], group), side)
    for name, move, undo in elements:
        turned = move(x)
        other_mean, other_hat, _ = run(turned)
        shift = (other_mean - mean).flatten(1)
        latent_moved += float(shift.square().sum())
        own = mean.flatten(1).norm(dim=1).clamp_min(1e-12)
        worst = max(worst, float((shift.norm(dim=1) / own).max()))
        output_moved += float((undo(other_hat) - x_hat).square().sum())
        by_element[name] = _mse(other_hat, turned) / variance
    count = len(elements)
    square = x.shape[-1] == x.shape[-2]
    best = None
    if square:
        turns = orbit(canonical) - x[:, None]
        best = float(turns.square().mean((2, 3, 4)).amin(1).mean()) / variance
    error_NHW = (x_hat - x).square().mean(1)
    return Symmetry(
        group=group,
        promised=promised,
        n=len(x),
        invariance_error=(latent_moved / count / max(float(mean.square().sum()), 1e-20)) ** 0.5,
        invariance_worst=worst,
        equivariance_error=(output_moved / count / max(float(x_hat.square().sum()), 1e-20)) ** 0.5,
        error_before=_mse(canonical, x) / variance,
        error_after=by_element["as it is"],
        error_best=best,
        by_element=by_element,
        by_position=(_grid(error_NHW, side) / variance).tolist(),
        pose_bits=0.0 if permuter is None else permuter.pose_bits,
        permuter=_learned(autoencoder, run, x, variance),
        active=_active(autoencoder, mean, train_set, kl_weight),
    )


class _Runs:
    """Run a model over samples: posterior means, x̂ as deployed, x̂ in canonical order."""

    def __init__(self, reconstruct: Reconstructor, batch_size: int) -> None:
        self.reconstruct, self.batch_size = reconstruct, batch_size

    def __call__(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: Sequence[list[Tensor]] = ([], [], [])
        for x in x_NCHW.split(self.batch_size):
            x_hat, latent = self.reconstruct(x)
            bare = latent.mean if latent.quantized is None else latent.quantized
            canonical = x_hat if latent.pose is None else self.reconstruct.decode(bare)
            for parts, value in zip(found, (latent.mean, x_hat, canonical), strict=True):
                parts.append(value.float().cpu())
        means, outputs, canonicals = (torch.cat(parts) for parts in found)
        return means, outputs, canonicals


def _side(autoencoder: Autoencoder, x: Tensor) -> int:
    side = getattr(autoencoder.permuter, "side", None)
    return side if isinstance(side, int) else max(1, x.shape[-1] // autoencoder.stride)


def _grid(error_NHW: Tensor, side: int) -> Tensor:
    return F.adaptive_avg_pool2d(error_NHW.mean(0)[None, None], side)[0, 0]


def _mse(x_hat: Tensor, x: Tensor) -> float:
    return float((x_hat - x).double().square().mean())


def _learned(
    autoencoder: Autoencoder, run: _Runs, x_NCHW: Tensor, variance: float
) -> dict[str, float]:
    """Measure what a learned permuter's softness would cost; the error is of whole round trips."""
    permuter = autoencoder.permuter
    if not isinstance(permuter, Learned):
        return {}
    device = run.reconstruct.device
    with torch.no_grad():
        arranged = autoencoder.arrange(x_NCHW[:64].to(device))
    hard = _mse(run(x_NCHW)[1], x_NCHW) / variance
    permuter.soft = True
    try:
        soft = _mse(run(x_NCHW)[1], x_NCHW) / variance
    finally:
        permuter.soft = False
    return {
        "entropy": float(arranged.metrics["entropy"]),
        "soft_error": soft,
        "hard_error": hard,
        "soft_minus_hard": soft - hard,
        "temperature": float(permuter.temperature_now),
    }


def _active(
    autoencoder: Autoencoder, mean: Tensor, train_set: Any, kl_weight: float | None
) -> dict[str, int]:
    if kl_weight is None or kl_weight <= 0:
        return {}
    samples = min(1024, affordable(mean[0].numel()))
    train = collect(train_set, samples)
    parts = [autoencoder.arrange(x.to(_device(autoencoder))).x.cpu() for x in train.split(64)]
    rows = torch.cat([part.detach() for part in parts]).flatten(1)
    closed = linear_vae(
        principal_axes(rows, 1).eigenvalues,
        kl_weight=kl_weight,
        elements=rows.shape[1],
        latent_size=mean[0].numel(),
    )
    units = int((mean.flatten(1).double().var(0) > 0.01).sum())
    return {"units": units, "closed_form": closed.active, "of": mean[0].numel()}


def _device(autoencoder: Autoencoder) -> torch.device:
    return next(autoencoder.parameters()).device
