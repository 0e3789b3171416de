"""The best latents a frozen decoder could be given: R4b freely, R4a under the objective's rate.

R4a for a Gaussian posterior optimises mean and log-variance under MSE + w·ΣKL. For codes it
searches codes: straight-through descent on the latent with nearest-vector projection, then
coordinate changes among the nearest codes; a lower bound of what the best codes could do.
Shape letters: n samples, d channels, P positions, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.affine import fit_affine
from pellucid.diagnosis.probes.posterior import kl_terms
from pellucid.diagnosis.probes.weight import kl_weight

SAMPLES = 16
STEPS = 150


@dataclasses.dataclass(frozen=True)
class Searched:
    """Results on the first `n` samples, after one common affine refit.

    Args:
        n: samples searched.
        own: error with the encoder's latents.
        free: R4b, error with the best free latents.
        constrained: R4a, or None when the objective's rate is not known.
        note: how R4a was searched, or why not.
        gain, offset: the refit x ≈ gain·x_hat + offset used for all three.
    """

    n: int
    own: float
    free: float
    constrained: float | None
    note: str
    gain: float
    offset: float


def latent_search(case: Case) -> Searched | None:
    """Climb R4a and R4b; None when the decoder cannot be differentiated."""
    n = min(SAMPLES, case.runner.batch) if case.runner.batch > 1 else 1
    x = case.runner.to_model(case.x[:n] if len(case.x) >= n else case.x)
    x = _padded(x, case.runner.batch)
    gain, offset = fit_affine(case.x_hat, case.x)
    if abs(gain) < 1e-3:
        gain, offset = 1.0, 0.0

    def output(z: Tensor) -> Tensor:
        return gain * case.runner.decode_live(z, x).float() + offset

    with torch.enable_grad():
        latent = case.runner.encode_live(x)
        start = (latent.mean if latent.quantized is None else latent.quantized).detach()
        if not _differentiable(output, start):
            return None
        own = _error(output, start, x, n)
        free_z = _descend(output, [start], lambda p: p[0], None, x, _clock(case))[0]
        free = min(own, _error(output, free_z, x, n))
        constrained, note = _constrained(case, output, latent.mean.detach(), latent, x, n)
    return Searched(n, own, free, constrained, note, gain, offset)


def _constrained(
    case: Case, output: Callable[[Tensor], Tensor], mean: Tensor, latent, x: Tensor, n: int
) -> tuple[float | None, str]:
    """Search under the objective's own rate constraint."""
    if latent.quantized is not None or latent.codes is not None:
        return _best_codes(case, output, latent, x, n)
    if latent.logvar is None:
        return None, "a deterministic latent has no rate: R4a equals R4b"
    weight = case.measure(kl_weight)
    if weight is None:
        return None, "the weight of the KL is not known"
    logvar = latent.logvar.detach().clamp(-30, 20)

    def sample(p: list[Tensor]) -> Tensor:
        noise = torch.randn_like(p[0])
        return p[0] + noise * (0.5 * p[1].clamp(-30, 20)).exp()

    def rate(p: list[Tensor]) -> Tensor:
        kl = kl_terms(p[0].float(), p[1].float().clamp(-30, 20))
        return weight.value * kl.flatten(1).sum(1).mean()

    torch.manual_seed(0)
    best = _descend(output, [mean, logvar], sample, rate, x, _clock(case))
    note = f"mean and log-variance under MSE + w·ΣKL, w = {weight.value:.3g} ({weight.origin})"
    return _error(output, best[0], x, n), note


def _best_codes(
    case: Case, output: Callable[[Tensor], Tensor], latent, x: Tensor, n: int
) -> tuple[float | None, str]:
    """Search codes by straight-through descent, then by coordinate changes."""
    books = [b.detach().to(latent.mean) for b in case.subject.codebooks]
    quantized = latent.quantized
    if not books or quantized is None or quantized.shape[1] != books[0].shape[1]:
        return None, "no codebook in the decoder's space was given: codes cannot be searched"
    spread = float(quantized.detach().var())
    if mean_square(nearest_codes(quantized, books) - quantized) > 1e-3 * spread:
        return None, "the codebook does not reproduce the quantised latents: codes not searched"

    def project(p: list[Tensor]) -> Tensor:
        return p[0] + (nearest_codes(p[0], books) - p[0]).detach()

    clock = _clock(case)
    start = quantized.detach()
    found = nearest_codes(_descend(output, [start], project, None, x, clock)[0], books)
    if _error(output, found, x, n) > _error(output, start, x, n):
        found = start
    if len(books) == 1:
        found = _coordinate_search(output, found, books[0], x, clock)
    return min(_error(output, found, x, n), _error(output, start, x, n)), (
        "straight-through descent on the latent"
        + (" and coordinate changes among the 8 nearest codes" if len(books) == 1 else "")
    )


def nearest_codes(z_BdP: Tensor, books: list[Tensor]) -> Tensor:
    """Return z replaced by its nearest codebook vectors, level after level on the residual."""
    flat = z_BdP.movedim(1, -1).reshape(-1, z_BdP.shape[1]).float()
    total = torch.zeros_like(flat)
    for book in books:
        index = torch.cdist(flat - total, book.float()).argmin(1)
        total = total + book.float()[index]
    shape = (z_BdP.shape[0], *z_BdP.shape[2:], z_BdP.shape[1])
    return total.reshape(shape).movedim(-1, 1).to(z_BdP)


def _coordinate_search(
    output: Callable[[Tensor], Tensor], z: Tensor, book: Tensor, x: Tensor, clock: Clock
) -> Tensor:
    """Change one position at a time to a near code where that lowers the sample's own error."""
    flat = (z.flatten(2) if z.ndim > 2 else z.unsqueeze(-1)).clone()
    with torch.no_grad():
        errors = _sample_errors(output, flat.view_as(z), x)
        for position in torch.randperm(flat.shape[2])[:32].tolist():
            for rank in range(1, min(9, len(book))):
                if clock.out:
                    return flat.view_as(z)
                trial = flat.clone()
                order = torch.cdist(flat[:, :, position].float(), book.float()).argsort(1)
                trial[:, :, position] = book[order[:, rank]].to(flat)
                changed = _sample_errors(output, trial.view_as(z), x)
                better = changed < errors
                flat[better], errors = trial[better], torch.minimum(errors, changed)
    return flat.view_as(z)


def _descend(
    output: Callable[[Tensor], Tensor],
    start: list[Tensor],
    decoded: Callable[[list[Tensor]], Tensor],
    rate: Callable[[list[Tensor]], Tensor] | None,
    x: Tensor,
    clock: Clock,
) -> list[Tensor]:
    """Minimise MSE (+ rate) over latents by Adam with a falling step; return the best point met."""
    points = [p.float().clone().requires_grad_() for p in start]
    scale = [max(float(p.detach().std()), 1e-3) if p.numel() > 1 else 1.0 for p in points]
    groups = [{"params": [p], "lr": 0.1 * s} for p, s in zip(points, scale, strict=True)]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0)
    best, best_loss, history = [p.detach().clone() for p in points], float("inf"), []
    for _ in range(STEPS):
        if clock.out:
            break
        z = decoded(points).to(start[0].dtype)
        loss = (output(z) - x.float()).square().mean()
        if rate is not None:
            loss = loss + rate(points)
        value = float(loss.detach())
        history.append(value)
        # With sampled latents the loss is noisy, so the last point of the falling step is taken.
        if value < best_loss or rate is not None:
            best, best_loss = [p.detach().clone() for p in points], value
        gradients = torch.autograd.grad(loss, points, allow_unused=True)
        for point, gradient in zip(points, gradients, strict=True):
            point.grad = torch.zeros_like(point) if gradient is None else gradient
        optimizer.step()
        schedule.step()
    return [b.to(s.dtype) for b, s in zip(best, start, strict=True)]


def _clock(case: Case) -> Clock:
    return Clock(min(4.0, 0.07 * case.clock.budget_seconds, case.clock.left))


def _padded(x: Tensor, batch: int) -> Tensor:
    """Repeat samples up to the runner's batch when it is small (a model of one batch size)."""
    if batch > SAMPLES or len(x) >= batch:
        return x
    return x[torch.arange(batch, device=x.device) % len(x)]


def _differentiable(output: Callable[[Tensor], Tensor], start: Tensor) -> bool:
    """Say whether a gradient flows from the output to the latent."""
    z = start.clone().requires_grad_()
    answer = output(z)
    if not answer.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(answer.sum(), z, allow_unused=True)
    return gradient is not None


def _sample_errors(output: Callable[[Tensor], Tensor], z: Tensor, x: Tensor) -> Tensor:
    with torch.no_grad():
        return (output(z) - x.float()).flatten(1).square().mean(1)


def _error(output: Callable[[Tensor], Tensor], z: Tensor, x: Tensor, n: int) -> float:
    return float(_sample_errors(output, z, x)[:n].double().mean())
