"""Read what foreign encoders and decoders return.

Shapes: z (B, d, P...) channels-first; codes (B, P...[, L]).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.records import Latent

_MEAN = ("mean", "mu", "loc", "embedding", "latents", "latent", "z", "z_mean")
_LOGVAR = ("logvar", "log_var", "log_covariance", "logvariance", "z_logvar", "z_log_var")
_QUANTIZED = ("quantized", "quantised", "quantized_latent", "z_q", "quant")
_CODES = ("codes", "indices", "audio_codes", "tokens")
_OUTPUT = (
    "sample",
    "x_hat",
    "recon",
    "recon_x",
    "reconstruction",
    "reconstructions",
    "audio_values",
)


def as_latent(answer: Any) -> Latent:
    """Turn the return value of a foreign `encode` into a Latent.

    Accepted: Latent; a tensor; (mean, logvar); (quantized, codes[, ...]); a torch distribution;
    an object or mapping with `latent_dist`, or fields such as mean/logvar/codes/quantized.

    Raises:
        PellucidError: when it is none of these, or ambiguous.
    """
    if isinstance(answer, Latent):
        return answer
    if isinstance(answer, Tensor):
        return Latent(mean=answer)
    if isinstance(answer, torch.distributions.Distribution):
        return Latent(mean=answer.mean, logvar=answer.variance.clamp_min(1e-38).log())
    inner = _field(answer, ("latent_dist", "posterior"))
    if inner is not None:
        return as_latent(inner)
    if isinstance(answer, (tuple, list)) and not hasattr(answer, "_fields"):
        return _from_tuple(tuple(answer))
    mean = _field(answer, _MEAN)
    quantized = _field(answer, _QUANTIZED)
    if isinstance(mean, Tensor) or isinstance(quantized, Tensor):
        return Latent(
            mean=mean if isinstance(mean, Tensor) else quantized,
            logvar=_field(answer, _LOGVAR),
            codes=_field(answer, _CODES),
            quantized=quantized,
        )
    raise _unreadable(answer)


def as_output(answer: Any, like: Tensor) -> Tensor:
    """Turn the return value of a foreign `decode` or `forward` into x_hat.

    Args:
        answer: a tensor; an object or mapping with sample/x_hat/recon…; a tuple holding one.
        like: (B, C, P...) the input, used to find the reconstruction in a tuple.

    Raises:
        PellucidError: when there is no tensor in it.
    """
    if isinstance(answer, Tensor):
        return answer
    found = _field(answer, _OUTPUT)
    if isinstance(found, Tensor):
        return found
    values = answer.values() if isinstance(answer, Mapping) else answer
    if isinstance(answer, (tuple, list, Mapping)):
        tensors = [v for v in values if isinstance(v, Tensor) and v.is_floating_point()]
        same = [v for v in tensors if v.shape == like.shape]
        near = [v for v in tensors if v.ndim == like.ndim]
        if same or near:
            return (same or near)[0]
    raise PellucidError(
        "cannot find a reconstruction in what was returned",
        where="Subject.decode or Subject.forward",
        expected=f"a tensor shaped like the input {tuple(like.shape)}",
        found=type(answer).__name__,
    )


def _from_tuple(answer: tuple[Any, ...]) -> Latent:
    """Read (mean, logvar), (z,) or (quantized, codes, ...)."""
    tensors = [v for v in answer if isinstance(v, Tensor)]
    if not tensors:
        if answer and not isinstance(answer[0], (int, float, str)):
            return as_latent(answer[0])
        raise _unreadable(answer)
    floating = [v for v in tensors if v.is_floating_point() and v.ndim > 1]
    codes = [v for v in tensors if not v.is_floating_point() and v.dtype != torch.bool]
    if codes and floating:
        return Latent(mean=floating[0], codes=codes[0], quantized=floating[0])
    same = [v for v in floating if v.shape == floating[0].shape]
    if len(same) == 2:
        return Latent(mean=same[0], logvar=same[1])
    if len(same) == 1:
        return Latent(mean=same[0])
    raise _unreadable(answer)


def _field(answer: Any, names: tuple[str, ...]) -> Any:
    """Return the first field of that name an object or a mapping has and that is no method."""
    for name in names:
        value = answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)
        if value is not None and not (callable(value) and not isinstance(value, Tensor)):
            return value
    return None


def _unreadable(answer: Any) -> PellucidError:
    shown = type(answer).__name__
    if isinstance(answer, (tuple, list)):
        inside = (
            str(tuple(v.shape)) if isinstance(v, Tensor) else type(v).__name__ for v in answer
        )
        shown = f"{shown} of {', '.join(inside)}"
    return PellucidError(
        "cannot read what encode returned",
        where="Subject.encode",
        expected="a Latent, a tensor, (mean, logvar), (quantized, codes) or a distribution",
        found=shown,
        hint="wrap it: encode=lambda x: Latent(mean=..., logvar=..., codes=..., quantized=...)",
    )
