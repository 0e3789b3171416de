"""What is diagnosed: two functions and whatever else the user can hand over.

Shapes: x (B, C, P...), z channels-first (B, d, P...), codes (B, P...[, L]).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.reachable import Reachable, reachable
from pellucid.errors import PellucidError


@dataclasses.dataclass(frozen=True)
class Subject:
    """Describe an autoencoder well enough to be diagnosed; only the first two are required.

    Args:
        encode: x -> Latent, a tensor, (mean, logvar), a torch distribution, or what diffusers and
            pythae encoders return.
        decode: z -> x_hat; takes `Latent.quantized` when given, else `Latent.mean`.
        forward: x -> x_hat, the path the user deploys.
        decode_at: (z, x) -> x_hat in place of `decode`, where a decoder is told of x what nothing
            codes, e.g. where the nodes of a graph lie.
        modules: named modules, e.g. {"encoder": m, "decoder": m}.
        frozen: names (with dotted sub-modules) that are meant not to learn.
        loss_terms: x -> weighted scalars whose sum is minimised.
        optimizers: the optimisers of the training.
        training_step: x -> None, one real optimisation step as the user takes it.
        discriminator: module scoring x or x_hat.
        ema: averaged twins of `modules`, under the same names.
        loss_networks: e.g. {"lpips": module}.
        filterbanks: e.g. {"mel": (bands, bins) tensor}.
        codebook: (K, d) tensor, or one per residual level.
        kl_weight: multiplier of ΣKL (sum over dimensions, mean over batch) beside a mean-reduced
            error.
        value_range: (low, high) of the data, for images.
        sample_rate: in hertz, for audio.
        bits_per_sample: bits one sample costs when coded.
        pairs: (originals, reconstructions) as the user evaluates them.
        metrics: the user's own metric functions (x, y) -> number.
        history: {"loss": [...]} per epoch, or a list of such rows.
        symmetries: functions x -> P·x under which the latent is meant not to move, e.g. quarter
            turns, or orders of the nodes of a graph.
        permuter: x -> (B, ..., K) soft weights by which an order is chosen; rows sum to 1.
        soft_forward: x -> x_hat with those soft weights, where `forward` takes the hard choice.
        recipe: declared facts, e.g. {"free_bits": 0.5, "kl_weight": 1e-3}.

    Raises:
        PellucidError: when an argument cannot be what it should be.
    """

    encode: Callable[[Tensor], Any]
    decode: Callable[[Tensor], Any]
    forward: Callable[[Tensor], Any] | None = dataclasses.field(default=None, kw_only=True)
    decode_at: Callable[[Tensor, Tensor], Any] | None = dataclasses.field(
        default=None, kw_only=True
    )
    modules: Mapping[str, nn.Module] = dataclasses.field(default_factory=dict, kw_only=True)
    frozen: Sequence[str] = dataclasses.field(default=(), kw_only=True)
    loss_terms: Callable[[Tensor], Mapping[str, Tensor]] | None = dataclasses.field(
        default=None, kw_only=True
    )
    optimizers: Sequence[torch.optim.Optimizer] = dataclasses.field(default=(), kw_only=True)
    training_step: Callable[[Tensor], Any] | None = dataclasses.field(default=None, kw_only=True)
    discriminator: nn.Module | None = dataclasses.field(default=None, kw_only=True)
    ema: Mapping[str, nn.Module] | None = dataclasses.field(default=None, kw_only=True)
    loss_networks: Mapping[str, nn.Module] = dataclasses.field(default_factory=dict, kw_only=True)
    filterbanks: Mapping[str, Tensor] = dataclasses.field(default_factory=dict, kw_only=True)
    codebook: Tensor | Sequence[Tensor] | None = dataclasses.field(default=None, kw_only=True)
    kl_weight: float | None = dataclasses.field(default=None, kw_only=True)
    value_range: tuple[float, float] = dataclasses.field(default=(0, 1), kw_only=True)
    sample_rate: float | None = dataclasses.field(default=None, kw_only=True)
    bits_per_sample: float | None = dataclasses.field(default=None, kw_only=True)
    pairs: tuple[Tensor, Tensor] | None = dataclasses.field(default=None, kw_only=True)
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] = dataclasses.field(
        default_factory=dict, kw_only=True
    )
    history: Any = dataclasses.field(default=None, kw_only=True)
    symmetries: Sequence[Callable[[Tensor], Tensor]] = dataclasses.field(default=(), kw_only=True)
    permuter: Callable[[Tensor], Tensor] | None = dataclasses.field(default=None, kw_only=True)
    soft_forward: Callable[[Tensor], Any] | None = dataclasses.field(default=None, kw_only=True)
    recipe: Mapping[str, Any] | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("encode", "decode"):
            _need_callable(name, getattr(self, name))
        for name in (
            "forward",
            "decode_at",
            "loss_terms",
            "training_step",
            "permuter",
            "soft_forward",
        ):
            if getattr(self, name) is not None:
                _need_callable(name, getattr(self, name))
        for number, move in enumerate(self.symmetries):
            _need_callable(f"symmetries[{number}]", move)
        for name, module in {**self.modules, **(self.ema or {})}.items():
            if not isinstance(module, nn.Module):
                raise PellucidError(
                    "modules must be torch modules",
                    where=f"Subject.modules['{name}']",
                    expected="nn.Module",
                    found=type(module).__name__,
                )
        if self.kl_weight is not None and not float(self.kl_weight) >= 0:
            raise PellucidError(
                "a KL weight cannot be negative", where="Subject.kl_weight", found=self.kl_weight
            )
        low, high = self.value_range
        if not high > low:
            raise PellucidError(
                "a value range must rise",
                where="Subject.value_range",
                expected="(low, high) with low < high",
                found=self.value_range,
            )
        for book in self.codebooks:
            if not isinstance(book, Tensor) or book.ndim != 2:
                raise PellucidError(
                    "a codebook is a matrix of vectors",
                    where="Subject.codebook",
                    expected="(K, d) tensor, or a list of them",
                    found=tuple(book.shape) if isinstance(book, Tensor) else type(book).__name__,
                )

    @property
    def codebooks(self) -> tuple[Tensor, ...]:
        """The codebooks, one per residual level (empty when none was given)."""
        if self.codebook is None:
            return ()
        return (self.codebook,) if isinstance(self.codebook, Tensor) else tuple(self.codebook)

    @property
    def trainable(self) -> bool:
        """Whether real training steps can be taken: by the user's step, or on their losses."""
        return self.training_step is not None or (
            self.loss_terms is not None and bool(self.optimizers or self.modules)
        )

    def reachable(self) -> Reachable:
        """Return everything the subject's functions could change."""
        return reachable(getattr(self, f.name) for f in dataclasses.fields(self))


def as_subject(model: Any) -> Subject:
    """Accept a Subject, or any object with `encode` and `decode`.

    Args:
        model: a Subject, or an nn.Module (or other object) with both methods. Its children become
            `modules`; a forward that returns something shaped like its input is the deployed path.

    Raises:
        PellucidError: when there is no encode or decode.
    """
    if isinstance(model, Subject):
        return model
    missing = [n for n in ("encode", "decode") if not callable(getattr(model, n, None))]
    if missing:
        raise PellucidError(
            f"a {type(model).__name__} cannot be diagnosed as it is",
            expected="pellucid.Subject(encode=..., decode=...), or an object with both methods",
            found=f"no {' and no '.join(missing)}",
        )
    encode: Callable[[Tensor], Any] = model.encode
    decode: Callable[[Tensor], Any] = model.decode
    if not isinstance(model, nn.Module):
        return Subject(encode, decode)
    overridden = type(model).forward is not nn.Module.forward
    return Subject(
        encode,
        decode,
        forward=model if overridden else None,
        modules=dict(model.named_children()) or {"model": model},
    )


def _need_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise PellucidError(
            f"'{name}' must be a function",
            where=f"Subject.{name}",
            expected="a callable taking a batch",
            found=type(value).__name__,
        )
