"""Plain PyTorch autoencoders as people write them; not Pellucid's own.

Shape letters: B batch, C channels, d latent channels, h, w positions, K codes, L levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.records import Latent

Error = Callable[[Tensor, Tensor], Tensor]


def conv_encoder(
    channels: int, width: int, out: int, *, halvings: int = 2, norm: bool = False
) -> nn.Sequential:
    """Return strided convolutions that halve the size so many times."""
    layers: list[nn.Module] = []
    for level in range(halvings):
        layers.append(nn.Conv2d(channels if level == 0 else width, width, 4, 2, 1))
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers.append(nn.SiLU())
    return nn.Sequential(*layers, nn.Conv2d(width, out, 3, 1, 1))


def conv_decoder(
    dim: int, width: int, channels: int, *, halvings: int = 2, norm: bool = False
) -> nn.Sequential:
    """Return transposed convolutions that undo `conv_encoder`."""
    layers: list[nn.Module] = [nn.Conv2d(dim, width, 3, 1, 1), nn.SiLU()]
    for _ in range(halvings - 1):
        layers.append(nn.ConvTranspose2d(width, width, 4, 2, 1))
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers.append(nn.SiLU())
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1))


def dense(sizes: tuple[int, ...], shape: tuple[int, ...] | None = None) -> nn.Sequential:
    """Return a multi-layer perceptron; with a shape it unflattens its output, else flattens x."""
    layers: list[nn.Module] = [] if shape else [nn.Flatten()]
    for a, b in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), nn.GELU()]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers, *([nn.Unflatten(1, shape)] if shape else []))


class PlainAE(nn.Module):
    """Encoder and decoder under one error."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module | None = None,
        error: Error = F.mse_loss,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head or nn.Identity()
        self.error = error

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.head(self.decoder(z))

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        return {"recon": self.error(self.decode(self.encode(x)), x)}


class PlainVAE(nn.Module):
    """A Gaussian latent; `kl_weight` multiplies ΣKL beside a mean-reduced error."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        kl_weight: float,
        head: nn.Module | None = None,
        error: Error = F.mse_loss,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head or nn.Identity()
        self.kl_weight, self.error = kl_weight, error

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.head(self.decoder(z))

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        mean, logvar = self.encode(x)
        recon = self.error(self.decode(sample(mean, logvar)), x)
        return {"recon": recon, "kl": self.kl_weight * kl(mean, logvar).flatten(1).sum(1).mean()}


def sample(mean: Tensor, logvar: Tensor) -> Tensor:
    """Draw z of N(mean, exp(logvar))."""
    return mean + torch.randn_like(mean) * (0.5 * logvar).exp()


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL to N(0, 1) per element, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


class CodesAE(nn.Module):
    """Encoder, quantiser, decoder."""

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: nn.Module,
        decoder: nn.Module,
        error: Error = F.mse_loss,
    ) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.error = error

    def encode(self, x: Tensor) -> Latent:
        h = self.encoder(x)
        q, codes, _ = self.quantizer(h)
        return Latent(mean=h, codes=codes, quantized=q)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        q, _, penalty = self.quantizer(self.encoder(x))
        return {"recon": self.error(self.decode(q), x), "vq": 0.25 * penalty}


class Quantizer(nn.Module):
    """Vector quantiser, residual when it has several levels: gradient or averaged codebooks.

    Args:
        codes: K, per level.
        dim: d.
        levels: L.
        averaged: codebooks follow cluster means (van den Oord et al. 2017, appendix A.1).
        commitment: weight of the encoder's side.
    """

    def __init__(
        self,
        codes: int,
        dim: int,
        *,
        levels: int = 1,
        averaged: bool = False,
        commitment: float = 1.0,
    ) -> None:
        super().__init__()
        start = torch.randn(levels, codes, dim) / math.sqrt(dim)
        self.averaged, self.levels, self.commitment = averaged, levels, commitment
        self.decay = 0.95
        if averaged:
            self.register_buffer("books", start)
            self.register_buffer("counts", torch.ones(levels, codes))
            self.register_buffer("sums", start.clone())
        else:
            self.books = nn.Parameter(start)
        self.books: Tensor

    def forward(self, h_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = h_BdP.movedim(1, -1)
        total, residual = torch.zeros_like(flat), flat
        penalty, codes = flat.new_zeros(()), []
        for level in range(self.levels):
            book = self.books[level]
            index = nearest(residual, book)
            q = F.embedding(index, book)
            penalty = penalty + self.commitment * F.mse_loss(residual, q.detach())
            if not self.averaged:
                penalty = penalty + F.mse_loss(q, residual.detach())
            elif self.training:
                self._average(level, residual.detach(), index)
            total = total + self.pass_through(residual, q)
            residual = residual - q.detach()
            codes.append(index)
        stacked = torch.stack(codes, -1) if self.levels > 1 else codes[0]
        return self.estimate(flat, total).movedim(-1, 1), stacked, penalty

    def pass_through(self, residual: Tensor, q: Tensor) -> Tensor:
        """Return what one level adds to the sum."""
        return q

    def estimate(self, flat: Tensor, total: Tensor) -> Tensor:
        """Return the sum with one straight-through path around it."""
        return flat + (total - flat).detach()

    @torch.no_grad()
    def _average(self, level: int, residual: Tensor, index: Tensor) -> None:
        """Move one codebook to its clusters' running means; restart codes that starve."""
        flat, hot = residual.reshape(-1, residual.shape[-1]), F.one_hot(index, self.books.shape[1])
        hot = hot.reshape(-1, hot.shape[-1]).to(flat)
        self.counts[level].lerp_(hot.sum(0), 1 - self.decay)
        self.sums[level].lerp_(hot.T @ flat, 1 - self.decay)
        starved = self.counts[level] < 0.03 * self.counts[level].mean()
        if starved.any():
            chosen = flat[torch.randint(len(flat), (int(starved.sum()),))]
            self.sums[level][starved] = chosen
            self.counts[level][starved] = 1.0
        self.books[level] = self.sums[level] / self.counts[level][:, None].clamp_min(1e-5)

    @torch.no_grad()
    def start_at(self, h_BdP: Tensor) -> None:
        """Start every level at a few rounds of k-means of its residuals."""
        residual = h_BdP.movedim(1, -1).reshape(-1, h_BdP.shape[1])
        books = []
        for level in range(self.levels):
            book = kmeans(residual, self.books.shape[1], seed=level)
            residual = residual - F.embedding(nearest(residual, book), book)
            books.append(book)
        self.books.copy_(torch.stack(books))
        if self.averaged:
            self.sums.copy_(self.books)
            self.counts.fill_(1.0)


def nearest(x: Tensor, book_Kd: Tensor) -> Tensor:
    """Return the index of the nearest code for every vector (..., d)."""
    distance = book_Kd.square().sum(1) - 2 * x.detach() @ book_Kd.detach().T
    return distance.argmin(-1)


def kmeans(x_Nd: Tensor, codes: int, *, seed: int, rounds: int = 10) -> Tensor:
    """Return k-means centres (Lloyd, from random points)."""
    generator = torch.Generator().manual_seed(seed)
    book = x_Nd[torch.randperm(len(x_Nd), generator=generator)[:codes]].clone()
    for _ in range(rounds):
        index = nearest(x_Nd, book)
        sums = torch.zeros_like(book).index_add_(0, index, x_Nd)
        counts = torch.bincount(index, minlength=codes).to(x_Nd)[:, None]
        book = torch.where(counts > 0, sums / counts.clamp_min(1), book)
    return book
