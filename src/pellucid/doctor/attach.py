"""Turn a LightningModule in training into a Subject.

Shape letters: B batch, C channels, P positions, d latent channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis import Subject, as_subject
from pellucid.doctor.batches import Kept
from pellucid.errors import PellucidError

_NAMES = ("model", "autoencoder", "vae", "ae", "net", "network", "codec", "tokenizer")
_QUANTISERS = ("codebook", "embedding", "embed", "codes")
_SMALL = 1e-3


def attach(
    trainer: Any,
    module: nn.Module,
    kept: Kept,
    logged: dict[str, Any],
    *,
    describe: Callable[[Any], Subject] | None,
    frozen: tuple[str, ...],
) -> Subject:
    """Describe the module well enough to be diagnosed.

    Args:
        trainer: gives optimisers and precision.
        module: the LightningModule.
        kept: batches seen so far; steps are taken on their like.
        logged: filled by `quiet` with what the module logs during a step.
        describe: the user's own description; only what it leaves out is filled in.
        frozen: names of modules that are meant not to learn.

    Raises:
        PellucidError: when nothing with encode and decode can be found.
    """
    if describe is not None:
        subject = describe(module)
        if not isinstance(subject, Subject):
            raise PellucidError(
                "Doctor(subject=...) must return a Subject", found=type(subject).__name__
            )
    else:
        owner = autoencoder_of(module)
        subject = dataclasses.replace(
            as_subject(owner), value_range=value_range(kept.x()), frozen=frozen
        )
        subject = dataclasses.replace(subject, modules=_on_path(subject, kept))
    filled: dict[str, Any] = {
        "encode": _in_precision(trainer, subject.encode),
        "decode": _in_precision(trainer, subject.decode),
    }
    if subject.forward is not None:
        filled["forward"] = _in_precision(trainer, subject.forward)
    if subject.codebook is None:
        filled["codebook"] = _codebook(subject)
    if trainer.world_size > 1:
        # Steps and losses of one rank alone would wait for the others.
        filled.update(optimizers=(), training_step=None, loss_terms=None)
        return dataclasses.replace(subject, **filled)
    if not subject.optimizers:
        filled["optimizers"] = tuple(trainer.optimizers)
    _wake(trainer.optimizers)
    if subject.training_step is None:
        filled["training_step"] = _step(trainer, module, kept)
    if subject.loss_terms is None and getattr(module, "automatic_optimization", False):
        filled["loss_terms"] = _terms(trainer, module, kept, logged)
    return dataclasses.replace(subject, **filled)


def autoencoder_of(module: nn.Module) -> nn.Module:
    """Return the module itself, or the attribute of it, that has encode and decode.

    Raises:
        PellucidError: when there is none.
    """
    named = [getattr(module, name, None) for name in _NAMES]
    for candidate in (module, *named, *module.children()):
        if isinstance(candidate, nn.Module) and all(
            callable(getattr(candidate, n, None)) for n in ("encode", "decode")
        ):
            return candidate
    raise PellucidError(
        f"a {type(module).__name__} has no encode and decode, nor has any attribute of it",
        expected="both methods on the module or on one of its children",
        hint="Doctor(subject=lambda module: pellucid.Subject(encode=..., decode=...))",
    )


def value_range(x_NCP: Tensor) -> tuple[float, float]:
    """Infer the range of the data: [0, 1], [−1, 1] or [0, 255] where it fits, else its extremes."""
    low, high = float(x_NCP.min()), float(x_NCP.max())
    for range_ in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        width = range_[1] - range_[0]
        inside = range_[0] - 1e-4 <= low and high <= range_[1] + 1e-4
        if inside and high - low > 0.2 * width:
            return range_
    return (low, high) if high > low else (low, low + 1.0)


def _on_path(subject: Subject, kept: Kept) -> dict[str, nn.Module]:
    """Keep the modules that encode and decode run: losses and discriminators have other duties."""
    used: set[int] = set()
    handles = [
        inner.register_forward_hook(lambda m, *_: used.add(id(m)))
        for child in subject.modules.values()
        for inner in child.modules()
    ]
    try:
        from pellucid.diagnosis.runner import Runner

        Runner(subject, kept.x()[:8])
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: child
        for name, child in subject.modules.items()
        if any(id(inner) in used for inner in child.modules())
    }


def _wake(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Use a schedule's base rate: in the first step of a warm-up, or at its end, nothing moves."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if group["lr"] < 0.1 * group.get("initial_lr", 0.0):
                group["lr"] = group["initial_lr"]


def _codebook(subject: Subject) -> Tensor | list[Tensor] | None:
    """Find the live codebooks of quantisers by name: matrices called codebook or embedding."""
    found: list[Tensor] = []
    for name, module in subject.modules.items():
        for path, inner in module.named_modules():
            words = f"{name}.{path} {type(inner).__name__}".lower()
            if not any(key in words for key in ("quant", "vq", "codebook", "bottleneck")):
                continue
            tensors = (*inner.named_parameters(recurse=False), *inner.named_buffers(recurse=False))
            for key, tensor in tensors:
                called = key in _QUANTISERS or (isinstance(inner, nn.Embedding) and key == "weight")
                if called and tensor.ndim == 2 and len(tensor) > 1:
                    found.append(tensor)
    return None if not found else found[0] if len(found) == 1 else found


def _in_precision(trainer: Any, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Call as the trainer does: under its autocast, whatever that is."""

    def call(x: Tensor) -> Any:
        with trainer.precision_plugin.forward_context():
            return function(x)

    return call


def _loss(trainer: Any, module: Any, kept: Kept, x: Tensor) -> Tensor | None:
    """Run the user's training_step on a batch around these samples; return the loss."""
    with trainer.precision_plugin.forward_context():
        answer = module.training_step(kept.around(x), 0)
    return answer.get("loss") if isinstance(answer, Mapping) else answer


def _step(trainer: Any, module: Any, kept: Kept) -> Callable[[Tensor], None]:
    """Return one optimisation step as the trainer takes it."""

    def step(x: Tensor) -> None:
        if not module.automatic_optimization:
            _loss(trainer, module, kept, x)  # it steps by itself
            return
        for optimizer in trainer.optimizers:
            optimizer.zero_grad()
        loss = _loss(trainer, module, kept, x)
        if loss is None:
            return
        loss.backward()
        if trainer.gradient_clip_val and trainer.gradient_clip_algorithm in (None, "norm"):
            torch.nn.utils.clip_grad_norm_(module.parameters(), trainer.gradient_clip_val)
        for optimizer in trainer.optimizers:
            optimizer.step()

    return step


def _terms(
    trainer: Any, module: Any, kept: Kept, logged: dict[str, Any]
) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Return the loss split into the terms the module logs."""

    def terms(x: Tensor) -> Mapping[str, Tensor]:
        logged.clear()
        loss = _loss(trainer, module, kept, x)
        if loss is None:
            raise PellucidError("training_step returned no loss", where=type(module).__name__)
        return split_loss(loss, logged)

    return terms


def split_loss(loss: Tensor, logged: Mapping[str, Any]) -> dict[str, Tensor]:
    """Split a loss L into weighted terms, given live scalars t that were logged beside it.

    The weight of a term is what L says it is, w = ∂L/∂t. Terms made of other terms are left out;
    what the terms do not add up to is a term of its own, so that the sum is always L.
    """
    if not loss.requires_grad:
        return {"loss": loss}
    live = {
        name: value
        for name, value in logged.items()
        if isinstance(value, Tensor)
        and value.requires_grad
        and value.numel() == 1
        and value is not loss
    }
    weights = _gradients(loss, live)
    live = {n: v for n, v in live.items() if n in weights}
    made_of_others = {
        n for n, v in live.items() if _gradients(v, {k: o for k, o in live.items() if k != n})
    }
    found = {n: weights[n] * v.reshape(()) for n, v in live.items() if n not in made_of_others}
    if not found:
        return {"loss": loss}
    rest = loss.reshape(()) - torch.stack(list(found.values())).sum()
    if abs(float(rest.detach())) > _SMALL * abs(float(loss.detach())):
        found["rest"] = rest
    return found


def _gradients(of: Tensor, at: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ∂of/∂at for those it depends on."""
    if not at or not of.requires_grad:
        return {}
    with torch.enable_grad():
        found = torch.autograd.grad(
            of.sum(), list(at.values()), allow_unused=True, retain_graph=True
        )
    return {
        name: g.detach().reshape(()) for name, g in zip(at, found, strict=True) if g is not None
    }
