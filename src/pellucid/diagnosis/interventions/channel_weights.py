"""Weight channels by 1/variance on a short fork: quiet channels must gain."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, set_mode
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.training import parameters, train_for
from pellucid.diagnosis.rules.channel_scale_imbalance import channel_r2
from pellucid.diagnosis.runner import decoded_latent

STEPS = 400


def intervene(case: Case, finding: Finding) -> Confirmation | None:
    """Train on the variance-weighted error and compare R² of the quieter half before and after."""
    trainable = parameters(case)
    if not trainable or case.runner.dtype != torch.float32:
        return None
    before, std, _ = case.measure(channel_r2)
    quiet = (std <= std.median()) & (std > 1e-4 * std.max())
    weights = (1 / std.square().clamp_min(1e-12)).view(1, -1, *[1] * (case.x.ndim - 2)).float()
    weights = weights * (quiet.sum() / len(quiet)) / weights.mean()
    clock = Clock(min(10.0, 0.2 * case.clock.budget_seconds, case.clock.left))
    with case.training_mode():
        optimizer = torch.optim.Adam(trainable, lr=1e-3)
        moved = weights.to(case.runner.device)

        def step(x: Tensor) -> None:
            x_hat = case.runner.decode_live(decoded_latent(case.runner.encode_live(x)), x)
            loss = (moved * (x_hat - x).square()).mean() / (moved * x.var(0)).mean().clamp_min(
                1e-12
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()

        taken = train_for(case, step, clock, STEPS)
        set_mode(case.reachable.roots, training=False)
        after = _r2(case, case.runner.roundtrip(case.x)[1])
    gained = (after - before)[quiet]
    centre = float(gained.mean())
    margin = 1.96 * float(gained.std()) / len(gained) ** 0.5 if len(gained) > 1 else 0.0
    effect = Evidence(
        "R² gained by the quieter half of the channels",
        centre,
        "1",
        "0",
        centre - margin,
        centre + margin,
    )
    verdict = "confirmed" if centre - margin > 0.02 else "undecided"
    if taken >= STEPS // 2 and centre + margin < 0.01:
        verdict = "refuted"
    return Confirmation(
        f"{taken} steps on the error weighted by 1/variance",
        "R² of quiet channels rises",
        effect,
        verdict,
    )


def _r2(case: Case, x_hat: Tensor) -> Tensor:
    def by_channel(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1).double().square().mean(1)

    return 1 - by_channel(x_hat - case.x) / by_channel(case.x - case.mean_sample).clamp_min(1e-20)
