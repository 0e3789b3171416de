"""The small models of the stories, with the faults of their systems as options.

Shape letters: B batch, d latent channels, K codes, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis import Subject
from pellucid.records import Latent

Terms = Callable[[Tensor], dict[str, Tensor]]


class VAE(nn.Module):
    """A Gaussian autoencoder; `posterior` is put after the layer that writes mean and ln σ².

    Args:
        encoder: x -> (B, 2d, P...).
        decoder: z -> x_hat.
        posterior: nn.Identity, or the activation that does not belong there.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(encoder, posterior)
        self.decoder = decoder

    def encode(self, x: Tensor) -> Latent:
        """Return mean and log-variance."""
        mean, logvar = self.encoder(x).chunk(2, 1)
        return Latent(mean=mean, logvar=logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Return x_hat."""
        return self.decoder(z)

    def terms(self, x: Tensor, weight: float, free_bits: float = 0.0) -> dict[str, Tensor]:
        """Return the mean squared error and w·Σ max(KL_j, floor), KL_j averaged over the batch."""
        latent = self.encode(x)
        assert latent.logvar is not None
        z = latent.mean + torch.randn_like(latent.mean) * (0.5 * latent.logvar).exp()
        kl_d = kl_terms(latent).flatten(1).mean(0)
        penalty = kl_d.clamp_min(free_bits).sum() if free_bits > 0 else kl_d.sum()
        return {"recon": (self.decode(z) - x).square().mean(), "kl": weight * penalty}


class Quantised(nn.Module):
    """Encoder, residual codebooks, decoder.

    Args:
        encoder: x -> (B, d, P...).
        decoder: z -> x_hat.
        dim: d.
        codes: K per level.
        levels: codebooks.
        path: "once" (straight-through on the sum), "per level" (added once per level) or "dead".
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        dim: int,
        codes: int,
        levels: int = 1,
        path: str = "once",
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.quantizer = Codebooks(codes, dim, levels, path)

    def encode(self, x: Tensor) -> Latent:
        """Return latents, codes and their vectors."""
        h = self.encoder(x)
        quantized, codes, _ = self.quantizer(h)
        return Latent(mean=h, codes=codes, quantized=quantized)

    def decode(self, z: Tensor) -> Tensor:
        """Return x_hat."""
        return self.decoder(z)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error, and codebook and commitment terms."""
        z, _, loss = self.quantizer(self.encoder(x))
        return {"recon": (self.decode(z) - x).square().mean(), "vq": 0.5 * loss}

    def restart(self, x: Tensor) -> None:
        """Put codes that x does not use at latents it has: gradient codebooks need it."""
        with torch.no_grad():
            h = self.encoder(x).movedim(1, -1)
            rest = h.reshape(-1, h.shape[-1])
            for book in self.quantizer.books:
                nearest = torch.cdist(rest, book).argmin(1)
                unused = torch.bincount(nearest, minlength=len(book)) == 0
                book[unused] = rest[torch.randint(len(rest), (int(unused.sum()),))]
                rest = rest - book[torch.cdist(rest, book).argmin(1)]

    def start(self, x: Tensor) -> None:
        """Start the codebooks at encoder outputs, level after level."""
        with torch.no_grad():
            h = self.encoder(x).movedim(1, -1)
            rest = h.reshape(-1, h.shape[-1])
            for book in self.quantizer.books:
                book.copy_(rest[torch.randperm(len(rest))[: len(book)]])
                rest = rest - book[torch.cdist(rest, book).argmin(1)]


class Codebooks(nn.Module):
    """Residual codebooks that learn by gradient, with a choice of straight-through path."""

    def __init__(self, codes: int, dim: int, levels: int, path: str) -> None:
        super().__init__()
        self.books = nn.ParameterList(
            nn.Parameter(torch.randn(codes, dim) * 0.3) for _ in range(levels)
        )
        self.path = path

    def forward(self, h_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = h_BdP.movedim(1, -1)
        rest, total, codes, loss = flat, torch.zeros_like(flat), [], flat.new_zeros(())
        for book in self.books:
            index = torch.cdist(rest.reshape(-1, flat.shape[-1]), book).argmin(1)
            index = index.view(flat.shape[:-1])
            q = book[index]
            loss = loss + (q - rest.detach()).square().mean()
            loss = loss + 0.25 * (rest - q.detach()).square().mean()
            total = total + (rest + (q - rest).detach() if self.path == "per level" else q)
            rest = rest - q.detach()
            codes.append(index)
        if self.path == "once":
            total = flat + (total - flat).detach()
        elif self.path == "dead":
            total = total.detach()
        stacked = torch.stack(codes, -1) if len(codes) > 1 else codes[0]
        return total.movedim(-1, 1), stacked, loss


def kl_terms(latent: Latent) -> Tensor:
    """Return ½(μ² + σ² − 1 − ln σ²) elementwise, in nats."""
    assert latent.logvar is not None
    return 0.5 * (latent.mean.square() + latent.logvar.exp() - 1 - latent.logvar)


def image_convs(halvings: int, width: int, channels: int, out: int) -> nn.Sequential:
    """Return an encoder that halves an image `halvings` times."""
    layers: list[nn.Module] = []
    before = channels
    for _ in range(halvings):
        layers += [nn.Conv2d(before, width, 4, 2, 1), nn.GELU()]
        before = width
    return nn.Sequential(*layers, nn.Conv2d(width, out, 1))


def image_deconvs(halvings: int, width: int, channels: int, dim: int) -> nn.Sequential:
    """Return its decoder."""
    layers: list[nn.Module] = [nn.Conv2d(dim, width, 3, 1, 1), nn.GELU()]
    for index in range(halvings):
        last = index == halvings - 1
        layers.append(nn.ConvTranspose2d(width, channels if last else width, 4, 2, 1))
        layers += [] if last else [nn.GELU()]
    return nn.Sequential(*layers)


def fit(
    model: nn.Module,
    terms: Terms,
    x_NCP: Tensor,
    *,
    steps: int,
    seed: int,
    rate: float = 2e-3,
    batch: int = 48,
) -> torch.optim.Optimizer:
    """Train by Adam with a cosine schedule; return the optimiser, for the diagnosis."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=rate / 50)
    model.train()
    for step in range(steps):
        if isinstance(model, Quantised) and step % max(1, steps // 10) == 0 and step < steps * 0.6:
            model.restart(x_NCP[:1024])
        x = x_NCP[torch.randint(len(x_NCP), (batch,))]
        optimizer.zero_grad()
        torch.stack(list(terms(x).values())).sum().backward()
        optimizer.step()
        schedule.step()
    model.eval()
    return optimizer


def subject(model: Any, terms: Terms, optimizer: torch.optim.Optimizer, **facts: Any) -> Subject:
    """Hand everything over, as a careful user would."""
    modules: dict[str, nn.Module] = {"encoder": model.encoder, "decoder": model.decoder}
    if hasattr(model, "quantizer"):
        modules["quantizer"] = model.quantizer
        facts.setdefault("codebook", [b.detach() for b in model.quantizer.books])
    return Subject(
        model.encode,
        model.decode,
        modules=modules,
        loss_terms=terms,
        optimizers=[optimizer],
        **facts,
    )


def roundtrip(model: Any, x_NCP: Tensor) -> Tensor:
    """Return decode(encode(x)) without gradients."""
    with torch.no_grad():
        parts = []
        for x in x_NCP.split(128):
            latent = model.encode(x)
            parts.append(
                model.decode(latent.mean if latent.quantized is None else latent.quantized)
            )
    return torch.cat(list(parts))


def psnr(x_hat: Tensor, x: Tensor, peak: float = 1.0) -> float:
    """Return the PSNR of the pooled error."""
    return float(10 * torch.log10(peak**2 / (x_hat - x).square().mean()))


def snr(x_hat: Tensor, x: Tensor) -> float:
    """Return 10·log10 of variance over error, pooled."""
    return float(10 * torch.log10(x.var() / (x_hat - x).square().mean()))


def gradient_norm(terms: Terms, x: Tensor, parameters: Iterable[nn.Parameter]) -> float:
    """Return ‖∇recon‖ over some parameters (0 where nothing arrives)."""
    grads = torch.autograd.grad(terms(x)["recon"], list(parameters), allow_unused=True)
    return float(
        torch.stack([g.norm() for g in grads if g is not None] or [x.new_zeros(())]).norm()
    )
