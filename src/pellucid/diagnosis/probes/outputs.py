"""Where a training pass produces x_hat, and what each loss term's gradient is there.

Shape letters: B batch, C channels, P positions.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case, cosine, set_mode
from pellucid.diagnosis.runner import decoded_latent

RECONSTRUCTION = (
    "rec", "mse", "l1", "l2", "mae", "pixel", "wave", "bce", "nll", "huber", "charb", "likelihood",
)  # fmt: skip
"""Parts of names that people give to a plain reconstruction error."""

PENALTIES = ("kl", "prior", "reg", "commit", "vq", "codebook", "quant", "penalty")
"""Parts of names that people give to what acts on the latent alone."""


@dataclasses.dataclass(frozen=True)
class OutputLayer:
    """The last module of the decoder.

    Args:
        module: whose output is x_hat, or is only reshaped or activated into it.
        weights: parameters of the last layer that has any: where gradients of terms are compared.
    """

    module: nn.Module
    weights: tuple[nn.Parameter, ...]


@dataclasses.dataclass(frozen=True)
class TermGradients:
    """Gradients of the loss terms on one batch.

    Args:
        values: every term's value.
        at_output: {term: flat gradient at x_hat}, for the terms that depend on x_hat.
        at_last_layer: {term: norm of its gradient at the last layer's weights}.
        error: flat x_hat − x, when shapes allow; what a plain error's gradient points along.
    """

    values: dict[str, float]
    at_output: dict[str, Tensor]
    at_last_layer: dict[str, float]
    error: Tensor | None

    def shares(self) -> dict[str, float]:
        """Return ‖∇term‖ / Σ‖∇‖ at x_hat."""
        norms = {name: float(g.norm()) for name, g in self.at_output.items()}
        whole = max(sum(norms.values()), 1e-30)
        return {name: norm / whole for name, norm in norms.items()}


def output_layer(case: Case) -> OutputLayer | None:
    """Decode once and see which module comes last; None when decode calls no module."""
    calls: list[tuple[nn.Module, Any]] = []
    x = case.batch_of(case.fit, size=case.runner.batch if case.runner.batch <= 64 else None)
    with torch.no_grad():
        z = decoded_latent(case.runner.encode_live(x))
        with _watched(case, lambda m, _, out: calls.append((m, out))):
            case.runner.decode_live(z, x)
    fits = [m for m, out in calls if isinstance(out, Tensor) and out.numel() == x.numel()]
    if not fits:
        return None
    owners = [
        m for m, _ in calls if any(p.requires_grad for p in m._parameters.values() if p is not None)
    ]
    weights = tuple(p for p in owners[-1].parameters(recurse=False)) if owners else ()
    return OutputLayer(fits[-1], weights)


@contextlib.contextmanager
def loss_mode(case: Case) -> Iterator[None]:
    """Put the model in training mode but leave loss networks as they are meant to be: fixed."""
    with case.training_mode():
        set_mode(case.subject.loss_networks.values(), training=False)
        yield


@contextlib.contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns while the block runs."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            seen.append(out)

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextlib.contextmanager
def replaced_output(module: nn.Module, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a module return something else while the block runs."""

    def swap(_: nn.Module, __: Any, out: Any) -> Any:
        return replace(out) if isinstance(out, Tensor) else out

    handle = module.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()


def term_gradients(case: Case) -> TermGradients | None:
    """Return every term's gradient at x_hat and at the last layer; None without such a place."""
    losses, layer = case.subject.loss_terms, case.measure(output_layer)
    if losses is None or layer is None:
        return None
    x = case.batch_of(case.fit)
    with loss_mode(case), outputs_of(layer.module) as seen:
        terms = losses(x)
        x_hat = the_output(terms, seen)
        if x_hat is None:
            return None
        at_output, at_last = {}, {}
        weights = [p for p in layer.weights if p.requires_grad]
        for name, value in terms.items():
            gradient = gradient_at(value, [x_hat])[0]
            if gradient is None or not float(gradient.abs().max()) > 0:
                continue
            at_output[name] = gradient.detach().flatten().float()
            found = [g for g in gradient_at(value, weights) if g is not None]
            at_last[name] = float(torch.stack([g.norm() for g in found]).norm()) if found else 0.0
        same = x_hat.numel() == x.numel()
        error = (x_hat.reshape(x.shape) - x).detach().flatten().float() if same else None
        return TermGradients(
            {name: float(value.detach()) for name, value in terms.items()},
            at_output,
            at_last,
            error,
        )


def the_output(terms: Mapping[str, Tensor], candidates: list[Tensor]) -> Tensor | None:
    """Return the candidate most terms depend on, the last of equals; None when none do."""
    best, count = None, 0
    for tensor in candidates:
        if not tensor.requires_grad:
            continue
        reached = sum(gradient_at(v, [tensor])[0] is not None for v in terms.values())
        if reached and reached >= count:
            best, count = tensor, reached
    return best


def gradient_at(value: Tensor, places: list[Any]) -> list[Tensor | None]:
    """Return d value / d place for each place, None where there is no path; the graph is kept."""
    if not value.requires_grad or not places:
        return [None] * len(places)
    return list(torch.autograd.grad(value.sum(), places, allow_unused=True, retain_graph=True))


def plain_errors(found: TermGradients) -> set[str]:
    """Return the terms that are a plain reconstruction error, by gradient or by name.

    The gradient of a squared error lies along x_hat − x, that of an absolute one along its sign.
    """
    plain = set()
    for name, gradient in found.at_output.items():
        named = any(key in name.lower() for key in RECONSTRUCTION)
        along = 0.0
        if found.error is not None and found.error.numel() == gradient.numel():
            along = max(cosine(gradient, found.error), cosine(gradient, found.error.sign()))
        if along > 0.95 or (named and along > 0.3):
            plain.add(name)
    return plain


@contextlib.contextmanager
def _watched(case: Case, hook: Callable[[nn.Module, Any, Any], None]) -> Iterator[None]:
    handles = [m.register_forward_hook(hook) for m in case.reachable.modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
