"""The reference ladder: what trivial, linear and ideal rivals reach on the user's own data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import Rung
from pellucid.diagnosis.probes.latent_search import latent_search
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import parameters
from pellucid.diagnosis.probes.weight import kl_weight
from pellucid.diagnosis.runner import decoded_latent

OVERFIT_SAMPLES = 4
OVERFIT_STEPS = 300


def climb(case: Case) -> tuple[Rung, ...]:
    """Measure every rung that can be reached in time, R0 first."""
    rungs: list[Rung] = []
    for part in (_fitted, _searched, _overfitted):
        if case.clock.out:
            case.notes.append(f"the ladder stops after {len(rungs)} rungs: time budget")
            break
        try:
            rungs += part(case)
        except Exception as error:  # foreign code under unusual use; the reader is told
            case.notes.append(f"a part of the ladder could not be climbed: {_line(error)}")
    return tuple(rungs)


def _fitted(case: Case) -> list[Rung]:
    """R0 to R3 and the model itself."""
    found = case.measure(references)
    n = len(case.x)
    rungs = [
        _rung(case, "R0", "a random other sample", found.random, n, "about twice the variance"),
        _rung(case, "R1", "the mean sample", found.mean, n, f"mean of {len(case.fit)} samples"),
        _rung(case, "R2", "linear model (PCA)", found.linear, n, found.pca.note),
    ]
    if found.linear_vae is not None:
        weight = case.measure(kl_weight)
        assert weight is not None
        note = f"at w = {weight.value:.3g} ({weight.origin}), decoded from the mean"
        rungs.append(_rung(case, "R3", "linear VAE at this weight", found.linear_vae, n, note))
    return [*rungs, _rung(case, "model", "decode(encode(x))", case.mse, n, "as measured")]


def _searched(case: Case) -> list[Rung]:
    """R4a and R4b."""
    found = case.measure(latent_search)
    if found is None:
        case.notes.append("R4 needs a decoder through which gradients flow")
        return []
    rungs = []
    if found.constrained is not None:
        rungs.append(
            _rung(
                case,
                "R4a",
                "best latent under the objective",
                found.constrained,
                found.n,
                found.note,
            )
        )
    free = _rung(case, "R4b", "best free latent", found.free, found.n, "decoder frozen, Adam on z")
    return [*rungs, free]


def _overfitted(case: Case) -> list[Rung]:
    """R5."""
    reached = case.measure(overfit)
    if reached is None:
        case.notes.append(
            "R5 did not fit into the time"
            if parameters(case)
            else "R5 needs parameters that gradients reach (modules or optimizers)"
        )
        return []
    return [
        _rung(
            case,
            "R5",
            f"overfit {OVERFIT_SAMPLES} samples",
            reached[0],
            OVERFIT_SAMPLES,
            f"{reached[1]} Adam steps on the reconstruction alone, in a fork",
        )
    ]


def overfit(case: Case) -> tuple[float, int] | None:
    """Return (error, steps) after training on a few samples only; None when nothing can be trained.

    The reconstruction error alone is minimised, through the straight-through path where there is
    one; batch statistics stay in eval mode so that four samples mean the same as many.
    """
    clock = Clock(min(5.0, 0.08 * case.clock.budget_seconds, case.clock.left))
    x = case.runner.to_model(case.x[:OVERFIT_SAMPLES])
    trainable = parameters(case)
    if not trainable or case.runner.dtype != torch.float32:
        return None
    with case.training_mode():
        _batch_norm_eval(case)
        optimizer = torch.optim.Adam(trainable, lr=1e-3)
        best, taken = float("inf"), 0
        while taken < OVERFIT_STEPS and not clock.out:
            loss = _error(case, x, case.runner.decode_live)
            if not loss.requires_grad:
                return None
            best = min(best, float(loss.detach()))
            if best < 1e-4 * case.variance:
                break
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            taken += 1
    return (best, taken) if taken >= 20 or best < 1e-4 * case.variance else None


def _error(case: Case, x: Tensor, decode: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the reconstruction error of live samples."""
    return (decode(decoded_latent(case.runner.encode_live(x)), x) - x).square().mean()


def _batch_norm_eval(case: Case) -> None:
    for module in case.reachable.modules:
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _rung(case: Case, id_: str, name: str, mse: float, n: int, note: str) -> Rung:
    return Rung(id_, name, mse, case.db(mse), n, note)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
