"""A small adversarial codec with a multi-scale discriminator, and what goes wrong with one."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Base, Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import both, loses, measures
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.training import (
    BATCH,
    initialise_codes,
    specimen,
)
from benchmarks.faults.waveforms.bases import LEARNING_RATE, STRIDES, on_speech
from torch import Tensor, nn


class Discriminator(nn.Module):
    """Convolutions on the waveform and on its average-pooled halves; mean of the maps."""

    def __init__(self, scales: int = 2, width: int = 12) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(1, width, 15, 4, 7),
                nn.LeakyReLU(0.2),
                nn.Conv1d(width, width, 15, 4, 7),
                nn.LeakyReLU(0.2),
                nn.Conv1d(width, 1, 3, padding=1),
            )
            for _ in range(scales)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit per sample and scale, averaged (B,)."""
        x = x / 0.1
        logits = []
        for scale in self.scales:
            logits.append(scale(x).mean((1, 2)))
            x = F.avg_pool1d(x, 2)
        return torch.stack(logits).mean(0)


class AdversarialCodec(Autoencoder):
    """A codec whose decoder also has to fool a discriminator (hinge losses)."""

    critic: Discriminator
    leaky = False

    def parts(self) -> list[nn.Parameter]:
        """Return the generator's own parameters."""
        critic = {id(p) for p in self.critic.parameters()}
        return [p for p in self.parameters() if id(p) not in critic]

    def loss_terms(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Return the generator's terms."""
        z, extra = self.bottleneck_terms(x_BCP)
        x_hat = self.decode(z)
        adversarial = -self.critic(x_hat).mean()
        terms = {
            "mse": self.weights["mse"] * F.mse_loss(x_hat, x_BCP),
            "adv": self.weights["adv"] * adversarial,
        }
        return {**terms, **extra}

    def critic_loss(self, x_BCP: Tensor) -> Tensor:
        """Return the discriminator's hinge loss."""
        with torch.no_grad():
            x_hat = self(x_BCP)
        real, fake = self.critic(x_BCP), self.critic(x_hat)
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Alternating:
    """One step of each player, as the user's script takes it."""

    def __init__(self, model: AdversarialCodec, rate: float, critic_rate: float) -> None:
        self.model = model
        self.generator = torch.optim.Adam(model.parts(), lr=rate, betas=(0.5, 0.9))
        self.critic = torch.optim.Adam(model.critic.parameters(), lr=critic_rate, betas=(0.5, 0.9))

    def __call__(self, x: Tensor) -> None:
        """Train the discriminator, then the generator."""
        if not self.model.leaky:
            self.critic.zero_grad()
        self.model.critic_loss(x).backward()
        self.critic.step()
        self.generator.zero_grad()
        torch.stack(list(self.model.loss_terms(x).values())).sum().backward()
        self.generator.step()


def play(
    model: AdversarialCodec, x: Tensor, *, steps: int, rate: float, critic_rate: float, seed: int
) -> Alternating:
    """Train both players."""
    torch.manual_seed(seed)
    step = Alternating(model, rate, critic_rate)
    model.train()
    for _ in range(steps):
        step(x[torch.randint(len(x), (BATCH,))])
    model.eval()
    return step


WEIGHT = 2e-5


def untrained(seed: int) -> Trained:
    """A residual-VQ codec with an adversary too weak to rule: ‖∇adv‖ well below ‖∇rec‖."""
    torch.manual_seed(seed)
    model = AdversarialCodec(
        1,
        8,
        axes=1,
        strides=STRIDES,
        bottleneck="codes",
        quantizer=ResidualVQ(8, codes=32, levels=4),
        weights={"mse": 1.0, "commit": 1e-3, "adv": WEIGHT},
    )
    model.critic = Discriminator()
    return on_speech(model)


def gan_codec(seed: int, *, steps: int = 250) -> Trained:
    """Train it alone first, then beside its adversary."""
    codec = untrained(seed)
    model: Any = codec.model
    model.weights["adv"] = 0.0
    initialise_codes(model, codec.train, warm_up=150, seed=seed)
    play(model, codec.train, steps=steps, rate=LEARNING_RATE, critic_rate=5e-4, seed=seed)
    model.weights["adv"] = WEIGHT
    play(model, codec.train, steps=100, rate=0.3 * LEARNING_RATE, critic_rate=5e-4, seed=seed + 1)
    return codec


def handed_over(healthy: Trained, model: AdversarialCodec, critic_rate: float = 5e-4) -> Specimen:
    """Hand over both players, with the step that trains them."""
    step = Alternating(model, 0.1 * healthy.learning_rate, critic_rate)
    return specimen(
        healthy,
        model,
        discriminator=model.critic,
        training_step=step,
        optimizers=[step.generator, step.critic],
    )


def dominated(healthy: Trained, seed: int) -> Specimen:
    """The adversary's weight is that of a loss of another scale: it owns the decoder."""
    model: Any = copy.deepcopy(healthy.model)
    model.weights = {**model.weights, "adv": 0.05}
    play(model, healthy.train, steps=120, rate=healthy.learning_rate, critic_rate=4e-3, seed=seed)
    return handed_over(healthy, model, 4e-3)


def _gradient_ratio(specimen_: Specimen) -> float:
    """Return ‖∇adv‖/‖∇mse‖ at the last layer."""
    model = specimen_.model
    assert isinstance(model, AdversarialCodec)
    terms = model.loss_terms(specimen_.train[:BATCH])
    weight = model.last_layer.weight
    norms = [
        float(torch.autograd.grad(terms[n], weight, retain_graph=True)[0].norm())
        for n in ("adv", "mse")
    ]
    return norms[0] / norms[1]


def leaking(healthy: Trained, seed: int) -> Specimen:
    """The discriminator's gradients are never cleared: the generator's pass adds its own."""
    model: Any = copy.deepcopy(healthy.model)
    model.leaky = True
    play(model, healthy.train, steps=60, rate=healthy.learning_rate, critic_rate=5e-4, seed=seed)
    return handed_over(healthy, model)


def _leaked_gradient(specimen_: Specimen) -> float:
    """Return 1 when the critic carries a gradient at its own backward of the second step."""
    model = copy.deepcopy(specimen_.model)
    assert isinstance(model, AdversarialCodec)
    play_step = Alternating(model, 1e-5, 1e-5)
    play_step(specimen_.train[:8])
    if not model.leaky:
        play_step.critic.zero_grad()
    return float(any(p.grad is not None for p in model.critic.parameters()))


def mutants(base: str) -> list[Mutant]:
    """Return the adversarial faults."""
    ratio = measures("‖∇adv‖/‖∇mse‖ at the last layer", _gradient_ratio, None, 2.0)
    leak = measures("critic's gradient before its own backward", _leaked_gradient, None, 0.5)
    return [
        Mutant(
            f"{base}/discriminator-dominates",
            base,
            ("discriminator-dominates",),
            dominated,
            both(loses(1.0), ratio),
        ),
        Mutant(f"{base}/gan-gradient-leak", base, ("gan-gradient-leak",), leaking, leak),
    ]


GAN = Base("wave-gan", "waveforms", gan_codec, untrained)
