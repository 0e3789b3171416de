"""A small autoencoder trained against a patch discriminator (hinge losses), as people write it.

Shapes: x (B, C, H, W), scores (B, 1, h, w).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Trained
from torch import Tensor, nn

BATCH = 32


def discriminator(channels: int, width: int) -> nn.Sequential:
    """Return a patch discriminator of three strided convolutions."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 3, 1, 1),
    )


class AdversarialAE(nn.Module):
    """L1 and an adversarial term of weight `adversary`."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, critic: nn.Module, adversary: float = 2e-3
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.critic = encoder, decoder, critic
        self.adversary = adversary

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        x_hat = self.decode(self.encode(x))
        adversarial = -self.critic(x_hat).mean()
        return {"recon": F.l1_loss(x_hat, x), "adversarial": self.adversary * adversarial}

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return the hinge loss of the discriminator; the generator's side is detached."""
        with torch.no_grad():
            x_hat = self.decode(self.encode(x))
        return F.relu(1 - self.critic(x)).mean() + F.relu(1 + self.critic(x_hat)).mean()


class Alternate:
    """One training step: generator, then discriminator.

    Args:
        model: an `AdversarialAE`.
        learning_rate: of the generator.
        critic_rate: of the discriminator.
        clear: zero the discriminator's gradients before its own backward pass.
    """

    def __init__(
        self, model: AdversarialAE, learning_rate: float, critic_rate: float, *, clear: bool = True
    ) -> None:
        own = [*model.encoder.parameters(), *model.decoder.parameters()]
        self.model, self.clear = model, clear
        self.generator = torch.optim.Adam(own, lr=learning_rate, betas=(0.5, 0.9))
        self.critic = torch.optim.Adam(model.critic.parameters(), lr=critic_rate, betas=(0.5, 0.9))

    def __call__(self, x: Tensor) -> None:
        self.generator.zero_grad()
        torch.stack(list(self.model.loss_terms(x).values())).sum().backward()
        self.generator.step()
        if self.clear:
            self.critic.zero_grad()
        self.model.critic_loss(x).backward()
        self.critic.step()
        if not self.clear:  # cleared too late: what the generator left was stepped on
            self.critic.zero_grad()


def train_adversarially(built: Trained, steps: int) -> None:
    """Alternate generator and discriminator; rates ramp down to a fiftieth."""
    model = built.model
    alternate = Alternate(model, built.learning_rate, built.learning_rate / 4)
    model.train()
    for done in range(steps):
        for optimizer, rate in ((alternate.generator, 1.0), (alternate.critic, 0.25)):
            for group in optimizer.param_groups:
                group["lr"] = built.learning_rate * rate * max(1 - done / steps, 0.02)
        alternate(built.train[torch.randint(len(built.train), (BATCH,))])
    model.eval()
