"""A residual vector quantiser with moving averages, written as codec repositories write it.

Shape letters: B batch, d channels, P positions, L levels, K codes, N vectors.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gradient = Literal["once", "per level", "none"]


class Codebook(nn.Module):
    """One level: nearest vector, moving averages, restart of codes nobody uses."""

    def __init__(self, dim: int, codes: int, *, restart: bool) -> None:
        super().__init__()
        self.restart, self.decay = restart, 0.97
        self.register_buffer("book_Kd", 0.3 * torch.randn(codes, dim))
        self.register_buffer("sums_Kd", self.book_Kd.clone())
        self.register_buffer("sizes_K", torch.ones(codes))

    def own_by_optimizer(self) -> None:
        """Turn the codebook into a parameter."""
        book = self.book_Kd.detach().clone()
        del self.book_Kd
        self.book_Kd = nn.Parameter(book)

    def nearest(self, flat_Nd: Tensor) -> Tensor:
        """Return the index (N,) of the nearest vector."""
        return torch.cdist(flat_Nd.detach(), self.book_Kd.detach()).argmin(1)

    @torch.no_grad()
    def average(self, flat_Nd: Tensor, index_N: Tensor) -> None:
        """Move vectors towards the mean of what they were chosen for."""
        chosen = F.one_hot(index_N, len(self.book_Kd)).to(flat_Nd)
        self.sizes_K.lerp_(chosen.sum(0), 1 - self.decay)
        self.sums_Kd.lerp_(chosen.T @ flat_Nd, 1 - self.decay)
        if self.restart:
            dead = self.sizes_K < 0.05 * self.sizes_K.mean()
            self.sums_Kd[dead] = flat_Nd[torch.randint(len(flat_Nd), (int(dead.sum()),))]
            self.sizes_K[dead] = 1.0
        moved = self.sizes_K > 1e-3
        self.book_Kd[moved] = self.sums_Kd[moved] / self.sizes_K[moved, None]

    @torch.no_grad()
    def start_from(self, flat_Nd: Tensor, *, rounds: int = 8) -> None:
        """Start by a few rounds of k-means on these vectors."""
        count = len(self.book_Kd)
        book = flat_Nd[torch.randperm(len(flat_Nd))[:count]].clone()
        for _ in range(rounds):
            chosen = F.one_hot(torch.cdist(flat_Nd, book).argmin(1), count).to(flat_Nd)
            sizes = chosen.sum(0)[:, None]
            book = torch.where(sizes > 0, chosen.T @ flat_Nd / sizes.clamp_min(1), book)
        self.book_Kd.copy_(book)
        self.sizes_K.fill_(8.0)
        self.sums_Kd.copy_(8.0 * book)


class ResidualVQ(nn.Module):
    """Quantise level after level; codebooks follow their vectors by moving averages.

    Args:
        dim: d, size of a code vector.
        codes: K, vectors per level.
        levels: L.
        gradient: "once" is one straight-through on the sum of levels, "per level" adds one for
            each (the gradient grows L-fold), "none" detaches.
        averaging: move codebooks by moving averages while training.
        restart: replace codes nobody uses.
    """

    def __init__(
        self,
        dim: int,
        *,
        codes: int = 64,
        levels: int = 4,
        gradient: Gradient = "once",
        averaging: bool = True,
        restart: bool = True,
    ) -> None:
        super().__init__()
        self.gradient: Gradient = gradient
        self.averaging, self.enabled = averaging, True
        self.layers = nn.ModuleList(Codebook(dim, codes, restart=restart) for _ in range(levels))

    def forward(self, z_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (quantised latent (B, d, P...), codes (B, P..., L), commitment)."""
        z = z_BdP.movedim(1, -1)
        residual, total, codes, commitment = z, torch.zeros_like(z), [], z.new_zeros(())
        for layer in self.layers:
            flat = residual.reshape(-1, z.shape[-1])
            index = layer.nearest(flat)
            q = F.embedding(index, layer.book_Kd).view_as(residual)
            commitment = commitment + F.mse_loss(residual, q.detach())
            if layer.book_Kd.requires_grad:
                commitment = commitment + 4 * F.mse_loss(q, residual.detach())
            if self.training and self.averaging:
                layer.average(flat.detach(), index)
            through = residual + (q - residual).detach()
            total = total + (through if self.gradient == "per level" else q.detach())
            residual = residual - q.detach()
            codes.append(index.view(z.shape[:-1]))
        if not self.enabled:  # warm-up without quantisation
            return z_BdP, torch.stack(codes, -1), 0 * commitment
        if self.gradient == "once":
            total = z + (total - z).detach()
        return total.movedim(-1, 1), torch.stack(codes, -1), commitment / len(self.layers)

    @torch.no_grad()
    def start_from(self, z_BdP: Tensor) -> None:
        """Start every level by k-means on what the levels before leave of these latents."""
        residual = z_BdP.movedim(1, -1).reshape(-1, z_BdP.shape[1])
        for layer in self.layers:
            layer.start_from(residual)
            residual = residual - layer.book_Kd[layer.nearest(residual)]
