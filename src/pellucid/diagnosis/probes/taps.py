"""The gradient on both sides of the quantiser, as the user's own training computes it.

Jᵀ is compared with the identity (plain straight-through), with the rotation of the rotation trick
and with whatever the quantiser declares; `gain` = ⟨Jᵀv, Bᵀv⟩/⟨Bᵀv, Bᵀv⟩ for the best candidate B.
Shape letters: B batch, d channels, P positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case, cosine


@dataclasses.dataclass(frozen=True)
class StraightThrough:
    """How much of the decoder's gradient arrives before the quantiser.

    Args:
        gain: multiple of the declared (or best fitting) straight-through; 0 is dead.
        likeness: cosine between the measured and that declared gradient (0 when dead).
        estimator: "plain", "rotation", "declared" or "none".
        norm_ratio: ‖gradient before‖ / ‖gradient after‖.
        where: between which two points it was measured.
        of_training: True when it was measured on the training path, not on `encode` alone.
    """

    gain: float
    likeness: float
    estimator: str
    norm_ratio: float
    where: str
    of_training: bool


def straight_through(case: Case) -> StraightThrough | None:
    """Measure at the most direct place that exists; None when no gradient can be taken."""
    for measure in (_quantiser_alone, _training_path, _encode_path):
        with case.training_mode():
            found = measure(case)
        if found is not None:
            return found
    return None


def quantiser_modules(case: Case) -> list[tuple[str, nn.Module]]:
    """Return modules that quantise, outermost first, found by name or class."""
    found: list[tuple[str, nn.Module]] = []
    for root_name, root in case.subject.modules.items():
        for name, module in root.named_modules():
            full = f"{root_name}.{name}" if name else root_name
            inside = any(full.startswith(f"{outer}.") for outer, _ in found)
            if not inside and _quantises(name if name else root_name, module):
                found.append((full, module))
    return found


def _quantises(name: str, module: nn.Module) -> bool:
    if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Conv1d, nn.Conv2d, nn.Linear)):
        return False
    words = (type(module).__name__.lower(), name.rsplit(".", 1)[-1].lower())
    return any(
        key in word
        for word in words
        for key in ("quant", "rvq", "fsq", "lfq", "vectorq", "bottleneck")
    ) or words[1] in {"vq", "codebook"}


def _quantiser_alone(case: Case) -> StraightThrough | None:
    """Use the declared Jacobian of a bottleneck that has one (pellucid's own contract)."""
    for name, module in quantiser_modules(case):
        if not all(
            hasattr(module, a) for a in ("code_space", "through_code_space", "declared_vjp")
        ):
            continue
        own: Any = module
        seen = _capture(case, {"in": module})
        h = _first_tensor(seen["in"][0]) if "in" in seen else None
        if h is None or case.latent.codes is None:
            return None
        z = own.code_space(h.detach()).detach().requires_grad_()
        out = own.through_code_space(z)
        v = torch.randn_like(out)
        measured = _vjp(out, z, v)
        return _compared(measured, {"declared": own.declared_vjp(z, v)}, v, f"inside {name}", True)
    return None


def _training_path(case: Case) -> StraightThrough | None:
    """Take the gradient of the reconstruction terms before and after the quantiser.

    A quantiser may be called by another method than `forward`, where no hook sees it: then the
    encoder's output and the decoder's input are the two sides.
    """
    loss_terms = case.subject.loss_terms
    if loss_terms is None:
        return None
    for where, points in _points(case):
        seen: dict[str, tuple[Any, Any]] = {}
        handles = _hooks({name: module for name, (module, _) in points.items()}, seen)
        try:
            terms = loss_terms(case.batch_of(case.fit))
        finally:
            for handle in handles:
                handle.remove()
        before, after = (
            _first_tensor(seen[name][points[name][1] == "out"]) if name in seen else None
            for name in ("before", "after")
        )
        if before is None or after is None or not before.requires_grad:
            continue
        if not after.requires_grad:  # the decoder's input hangs on nothing that learns
            return StraightThrough(0.0, 0.0, "none", 0.0, where, True)
        loss = _reaching(terms, after)
        if loss is not None:
            return _between(loss, before, after, where)
    return None


def _between(loss: Tensor, before: Tensor, after: Tensor, where: str) -> StraightThrough | None:
    g_after, g_before = torch.autograd.grad(
        loss, (after, before), allow_unused=True, retain_graph=True
    )
    if g_after is None or float(g_after.norm()) == 0:
        return None
    measured = torch.zeros_like(before) if g_before is None else g_before
    candidates = {"plain": g_after}
    if before.shape == after.shape and before.ndim >= 2:
        for axis in {1, before.ndim - 1}:
            candidates[f"rotation over axis {axis}"] = _rotation_vjp(before, after, g_after, axis)
    return _compared(measured, candidates, g_after, where, True)


def _encode_path(case: Case) -> StraightThrough | None:
    """Compare the gradients of `quantized` and of `mean` at the input of `encode`."""
    x = case.batch_of(case.fit).detach().requires_grad_()
    latent = case.runner.encode_live(x)
    if latent.quantized is None or not latent.mean.requires_grad:
        return None
    if latent.quantized.shape != latent.mean.shape or latent.quantized is latent.mean:
        return None
    v = torch.randn_like(latent.mean)
    direct = _vjp(latent.mean, x, v)
    if float(direct.norm()) == 0:
        return None
    if not latent.quantized.requires_grad:
        return StraightThrough(0.0, 0.0, "none", 0.0, "mean and quantized of encode", False)
    return _compared(
        _vjp(latent.quantized, x, v),
        {"plain": direct},
        direct,
        "mean and quantized of encode",
        False,
    )


def _compared(
    measured: Tensor, candidates: Mapping[str, Tensor], after: Tensor, where: str, training: bool
) -> StraightThrough:
    """Choose the candidate Jacobian that fits best and return its multiple."""
    norm = float(measured.norm()) / max(float(after.norm()), 1e-30)
    usable = {k: c for k, c in candidates.items() if c.shape == measured.shape}
    if norm < 1e-6:
        return StraightThrough(0.0, 0.0, "none", norm, where, training)
    if not usable:
        return StraightThrough(float("nan"), 0.0, "unknown", norm, where, training)
    name, best = max(usable.items(), key=lambda item: cosine(measured, item[1]))
    gain = float((measured * best).sum() / best.square().sum().clamp_min(1e-30))
    return StraightThrough(gain, cosine(measured, best), name, norm, where, training)


def _rotation_vjp(before: Tensor, after: Tensor, v: Tensor, axis: int) -> Tensor:
    """Return (‖q‖/‖e‖)·Rᵀv for the rotation that turns e into q (Fifty et al. 2024, section 4)."""
    e, q, g = (t.detach().movedim(axis, -1) for t in (before, after, v))
    e_hat, q_hat = _unit(e), _unit(q)
    r = _unit(e_hat + q_hat)
    rotated = (
        g - 2 * (g * r).sum(-1, keepdim=True) * r + 2 * (g * q_hat).sum(-1, keepdim=True) * e_hat
    )
    scale = q.norm(dim=-1, keepdim=True) / e.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return (scale * rotated).movedim(-1, axis)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _vjp(out: Tensor, at: Tensor, v: Tensor) -> Tensor:
    """Return Jᵀv, zeros where there is no path."""
    if not out.requires_grad:
        return torch.zeros_like(at)
    (gradient,) = torch.autograd.grad(out, at, v, allow_unused=True, retain_graph=True)
    return torch.zeros_like(at) if gradient is None else gradient


def _points(case: Case) -> list[tuple[str, dict[str, tuple[nn.Module, str]]]]:
    """Return, best first, words for and modules at a place just before and after the quantiser."""
    if case.latent.codes is None and case.latent.quantized is None:
        return []
    places: list[tuple[str, dict[str, tuple[nn.Module, str]]]] = []
    for name, module in quantiser_modules(case)[:1]:
        before, after = (module, "in"), (module, "out")
        project_in, project_out = (getattr(module, n, None) for n in ("project_in", "project_out"))
        if isinstance(project_in, nn.Linear) and isinstance(project_out, nn.Linear):
            before, after = (project_in, "out"), (project_out, "in")
        places.append((f"input and output of {name}", {"before": before, "after": after}))
    encoder, decoder = (
        next((m for n, m in case.subject.modules.items() if n.lower().startswith(side)), None)
        for side in ("enc", "dec")
    )
    if encoder is not None and decoder is not None:
        ends = {"before": (encoder, "out"), "after": (decoder, "in")}
        places.append(("encoder output and decoder input", ends))
    return places


def _capture(case: Case, modules: Mapping[str, nn.Module]) -> dict[str, tuple[Any, Any]]:
    """Run encode once and return (inputs, output) of the named modules."""
    seen: dict[str, tuple[Any, Any]] = {}
    handles = _hooks(modules, seen)
    try:
        case.runner.encode_live(case.batch_of(case.fit))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _hooks(modules: Mapping[str, nn.Module], seen: dict[str, tuple[Any, Any]]) -> list[Any]:
    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
            seen.setdefault(name, (inputs or tuple(kwargs.values()), output))

        return hook

    return [m.register_forward_hook(keep(n), with_kwargs=True) for n, m in modules.items()]


def _first_tensor(value: Any) -> Tensor | None:
    """Return the first floating tensor of a tensor, tuple, mapping or record."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((t for t in map(_first_tensor, value) if t is not None), None)
    for name in ("z", "quantized", "sample", "latents"):
        if isinstance(getattr(value, name, None), Tensor):
            return getattr(value, name)
    return None


def _reaching(terms: Mapping[str, Tensor], point: Tensor) -> Tensor | None:
    """Return the sum of the terms whose gradient reaches a point: the reconstruction terms."""
    reaching = []
    for value in terms.values():
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, point, allow_unused=True, retain_graph=True)
            if gradient is not None and float(gradient.abs().max()) > 0:
                reaching.append(value)
    return torch.stack([v.reshape(()) for v in reaching]).sum() if reaching else None
