"""The Gaussian bottleneck of a variational autoencoder, with every KL stated in nats.

Shape letters: B batch, C encoder channels, D latent channels, P positions (zero or more axes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.checks import check_arguments, check_features
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.errors import PellucidError
from pellucid.functional.gaussian import annealed, free_nats_kl, kl_nats, reparameterise
from pellucid.records import Latent, Penalty

# A dimension that spends less than this on average carries nothing that can be seen.
_ACTIVE_NATS = 0.01


class Gaussian(Bottleneck):
    """Predict N(μ, σ²) at every position; sample in train mode, pass μ in eval mode.

    The penalty "kl" is in nats per sample: summed over dimensions and positions, averaged over
    the batch. Its `weight` stands beside a *mean*-reduced reconstruction error over E elements, so
    weight w here is β = w·E beside a summed error: a weight of 1e-6 on 3×64×64 images is β ≈ 0.012.
    A "dimension" is one channel at one position.

    Args:
        channels: channels expected from the encoder.
        dim: latent channels.
        weight: multiplier of the penalised KL; 0 observes.
        free_nats: floor of each dimension's batch-mean KL in nats; 0 = off.
        capacity: target C of |KL − C| in nats per sample (Burgess et al. 2018); None = off.
        capacity_steps: optimiser steps over which C rises linearly from 0.
        anneal_steps: optimiser steps of the weight's schedule; 0 = constant weight.
        cycles: 0 rises linearly once over `anneal_steps`; n repeats the rise n times within them.
        cycle_ramp: rising share of each cycle, the rest holds the full weight.
        logvar_range: ln σ² is clamped to this range in nats.

    Raises:
        RecipeError: when an argument is out of range.
    """

    capacity_now: Tensor

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        weight: float = 1e-6,
        free_nats: float = 0.0,
        capacity: float | None = None,
        capacity_steps: int = 0,
        anneal_steps: int = 0,
        cycles: int = 0,
        cycle_ramp: float = 0.5,
        logvar_range: tuple[float, float] = (-30.0, 20.0),
    ) -> None:
        super().__init__()
        rules = {
            "dim": (dim >= 1, "an integer ≥ 1", dim),
            "free_nats": (free_nats >= 0, "≥ 0 nats per dimension", free_nats),
            "capacity": (capacity is None or capacity >= 0, "≥ 0 nats per sample", capacity),
            "cycles": (cycles == 0 or anneal_steps > 0, "anneal_steps > 0 to hold them", cycles),
            "cycle_ramp": (0 < cycle_ramp <= 1, "in (0, 1]", cycle_ramp),
            "logvar_range": (logvar_range[0] < logvar_range[1], "low < high", logvar_range),
        }
        check_arguments("Gaussian", rules)
        self.channels, self.out_channels = channels, dim
        self.weight, self.free_nats = weight, free_nats
        self.capacity, self.capacity_steps = capacity, capacity_steps
        self.anneal_steps, self.cycles, self.cycle_ramp = anneal_steps, cycles, cycle_ramp
        self.logvar_range = tuple(logvar_range)
        # A linear map over channels: nothing may bend μ or bound σ from below.
        self.head = nn.Linear(channels, 2 * dim)
        # A tensor, so that compiled code need not be compiled again when it moves.
        self.register_buffer("capacity_now", torch.zeros(()), persistent=False)
        self.at_step(0)

    def at_step(self, step: int) -> None:
        """Set the annealed weight and the capacity to optimiser step `step`."""
        self._weight_now = self.weight * annealed(
            step, self.anneal_steps, self.cycles, self.cycle_ramp
        )
        if self.capacity is not None:
            self.capacity_now.fill_(self.capacity * annealed(step, self.capacity_steps))

    def posterior(self, h_BCP: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (B, D, P...) float32."""
        check_features(h_BCP, self.channels, where="Gaussian")
        with torch.autocast(h_BCP.device.type, enabled=False):
            mean_BPD, logvar_BPD = self.head(h_BCP.movedim(1, -1).to(self.head.weight.dtype)).chunk(
                2, dim=-1
            )
        logvar_BPD = logvar_BPD.float().clamp(*self.logvar_range)
        return mean_BPD.float().movedim(-1, 1), logvar_BPD.movedim(-1, 1)

    def forward(self, h_BCP: Tensor, *, sample: bool | None = None) -> BottleneckOutput:
        """Return sampled or mean latents with the KL penalty.

        Args:
            h_BCP: (B, channels, P...) features.
            sample: sample z or pass μ; None samples in train mode only.
        """
        mean_BDP, logvar_BDP = self.posterior(h_BCP)
        sample = self.training if sample is None else sample
        z_BDP = reparameterise(mean_BDP, logvar_BDP) if sample else mean_BDP
        kl_DP = kl_nats(mean_BDP, logvar_BDP).mean(dim=0)
        raw = kl_DP.sum()
        penalised = free_nats_kl(kl_DP, self.free_nats) if self.free_nats > 0 else raw
        if self.capacity is not None:
            penalised = (penalised - self.capacity_now).abs()
        return BottleneckOutput(
            z=z_BDP.to(h_BCP.dtype),
            latent=Latent(mean=mean_BDP, logvar=logvar_BDP),
            penalties={"kl": Penalty(penalised, self._weight_now, "nats per sample")},
            metrics={
                "kl_nats_raw": raw.detach(),
                "kl_nats_penalised": penalised.detach(),
                "kl_bits_per_dim": raw.detach() / (kl_DP.numel() * math.log(2)),
                "active_units": (kl_DP.detach() > _ACTIVE_NATS).sum(),
                "posterior_std": (0.5 * logvar_BDP.detach()).exp().mean(),
            },
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Raise: a continuous latent has no codes.

        Raises:
            PellucidError: always.
        """
        raise PellucidError(
            "a Gaussian bottleneck has no codes",
            where="Gaussian.decode_codes",
            expected="a bottleneck with codes, e.g. vq, rvq or fsq",
            found=f"codes {tuple(codes.shape)}",
        )

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return the posterior mean, where the noise is added."""
        return self.posterior(h_BCP)[0]

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the latents: the mean path adds nothing."""
        return z_BDP

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return the gradient unchanged: ∂z/∂μ is the identity, sampled or not."""
        return gradient_BCP
