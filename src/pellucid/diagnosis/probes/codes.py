"""How codes are used, against k-means with as many vectors on the same latents.

Shape letters: M latent vectors, d channels, K codes, L levels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square

MAX_VECTORS = 20_000
GRID = 32
"""More values per channel are no grid."""


@dataclasses.dataclass(frozen=True)
class LevelUse:
    """One residual level (or the only codebook).

    Args:
        size: K.
        used: distinct codes over all samples.
        alive: codes that serve at least a tenth of an even share.
        perplexity: exp of the entropy of the codes, in nats.
        vectors: M, code positions counted.
        residual_share: variance of what the level leaves / variance of what it got (or NaN).
        kmeans_share: the same for k-means with K' = min(K, M/4) vectors (or NaN).
        kmeans_perplexity: its perplexity (or NaN).
        kmeans_book: (K', d) its vectors, or None.
        weight: variance of what the level got / variance of the latent: 1 for the first.
        exact: latent errors come from the codebook itself, not from the means of its latents.
    """

    size: int
    used: int
    alive: int
    perplexity: float
    vectors: int
    residual_share: float
    kmeans_share: float
    kmeans_perplexity: float
    kmeans_book: Tensor | None
    weight: float = 1.0
    exact: bool = True


def code_use(case: Case) -> list[LevelUse]:
    """Measure every level; empty when there are no codes.

    Where the codebooks do not live in the space of `Latent.mean` (projected or normalised codes),
    or none were given, the mean of the latents that share a code stands for its vector. Latent
    errors are NaN where codes and latents have no positions in common.
    """
    codes = case.latent.codes
    if codes is None:
        return []
    books = [b.detach().float().cpu() for b in case.subject.codebooks]
    levels = len(books) if len(books) > 1 else _levels(case, codes)
    columns = codes if levels > 1 else codes.unsqueeze(-1)
    vectors: Tensor | None = _latent_vectors(case)
    if len(vectors) != columns[..., 0].numel():
        vectors = None
    own_space = vectors is not None and bool(books) and _one_space(case, columns)
    whole = 1.0 if vectors is None else _spread(vectors)
    uses = []
    for level in range(levels):
        index = columns[..., level].flatten().long().clamp_min(0)  # −1 is a level not sent
        size = len(books[level]) if level < len(books) else int(index.max()) + 1
        residual = share = None
        weight = 1.0
        if vectors is not None:
            residual, weight = vectors, _spread(vectors) / whole
            nearest = books[level][index] if own_space else _centroids(vectors, index, size)[index]
            vectors = vectors - nearest
            share = mean_square(vectors) / _spread(residual)
        use = _level(size, index, residual, share, weight)
        uses.append(dataclasses.replace(use, exact=own_space))
    return uses


def level_columns(case: Case) -> list[Tensor]:
    """Return the codes of each level, flattened: L tensors (M,); −1 is a level not sent."""
    codes = case.latent.codes
    assert codes is not None
    levels = len(case.subject.codebooks)
    levels = levels if levels > 1 else _levels(case, codes)
    columns = codes if levels > 1 else codes.unsqueeze(-1)
    return [columns[..., level].flatten().long() for level in range(levels)]


def _centroids(x_Md: Tensor, index_M: Tensor, size: int) -> Tensor:
    """Return (K, d) means of the vectors that share a code (0 for codes without any)."""
    sums = x_Md.new_zeros(size, x_Md.shape[1]).index_add_(0, index_M, x_Md)
    return sums / torch.bincount(index_M, minlength=size).clamp_min(1)[:, None].to(x_Md)


def on_grid(case: Case) -> bool:
    """Say whether the quantiser rounds each channel to a few values (FSQ, LFQ): nothing is learned.

    Such codes need not stand in the middle of what they serve, nor all be used.
    """
    quantized, codes = case.latent.quantized, case.latent.codes
    if quantized is None or codes is None or quantized.ndim < 2:
        return False
    vectors = quantized.movedim(1, -1).reshape(-1, quantized.shape[1]).float()
    vectors = vectors[:: max(1, len(vectors) // 4096)]
    values = max(len(column.round(decimals=4).unique()) for column in vectors.T)
    return values <= GRID and len(codes.unique()) > 2 * values


def _one_space(case: Case, columns: Tensor) -> bool:
    """Say whether the summed codebook vectors are the quantised latent, in the mean's space."""
    mean, quantized = case.latent.mean, case.latent.quantized
    books = [b.detach().float().cpu() for b in case.subject.codebooks]
    indices = [columns[..., level].flatten().long() for level in range(columns.shape[-1])]
    if len(books) != len(indices) or mean.ndim < 2:
        return False
    positions = mean.numel() // mean.shape[1]
    for book, index in zip(books, indices, strict=True):
        fits = book.shape[1] == mean.shape[1] and len(index) == positions
        if not fits or int(index.max()) >= len(book):
            return False
    if quantized is None or quantized.shape != mean.shape:
        return True
    summed = sum((book[i.clamp_min(0)] for book, i in zip(books, indices, strict=True)), 0.0)
    target = quantized.movedim(1, -1).reshape(-1, mean.shape[1]).float()
    return mean_square(summed - target) < 1e-3 * _spread(target)


def _level(
    size: int, index: Tensor, residual: Tensor | None, share: float | None, weight: float
) -> LevelUse:
    counts = torch.bincount(index.clamp_min(0), minlength=size).double()
    kmeans_share = kmeans_perplexity = float("nan")
    book = None
    if residual is not None and share is not None:
        sample = residual[:: max(1, len(residual) // MAX_VECTORS)]
        book, assigned = kmeans(sample, min(size, max(2, len(sample) // 4)))
        kmeans_share = mean_square(sample - book[assigned]) / _spread(sample)
        kmeans_perplexity = perplexity(torch.bincount(assigned, minlength=len(book)).double())
    return LevelUse(
        size=size,
        used=int((counts > 0).sum()),
        alive=int((counts > 0.1 * counts.sum() / size).sum()),
        perplexity=perplexity(counts),
        vectors=len(index),
        residual_share=float("nan") if share is None else share,
        kmeans_share=kmeans_share,
        kmeans_perplexity=kmeans_perplexity,
        kmeans_book=book,
        weight=weight,
    )


def perplexity(counts_K: Tensor) -> float:
    """Return exp(−Σ p ln p)."""
    p = counts_K / counts_K.sum().clamp_min(1)
    return float(torch.exp(-(p * p.clamp_min(1e-300).log()).sum()))


def kmeans(x_Md: Tensor, k: int, rounds: int = 12) -> tuple[Tensor, Tensor]:
    """Fit k-means by Lloyd's rounds from distinct random samples; return (book, assignment)."""
    generator = torch.Generator().manual_seed(0)
    book = x_Md[torch.randperm(len(x_Md), generator=generator)[:k]].clone()
    assigned = torch.zeros(len(x_Md), dtype=torch.long)
    for _ in range(rounds):
        distance, assigned = _nearest(x_Md, book)
        counts = torch.bincount(assigned, minlength=k).to(book)
        sums = torch.zeros_like(book).index_add_(0, assigned, x_Md)
        book = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], book)
        empty = (counts == 0).nonzero().flatten()
        if len(empty):  # an empty cell restarts at the worst served vectors
            book[empty] = x_Md[distance.topk(len(empty)).indices]
    return book, _nearest(x_Md, book)[1]


def _nearest(x_Md: Tensor, book_Kd: Tensor) -> tuple[Tensor, Tensor]:
    parts = [torch.cdist(chunk, book_Kd).min(1) for chunk in x_Md.split(4096)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def _levels(case: Case, codes: Tensor) -> int:
    """Return the residual levels: codes have one axis more than latent positions."""
    positions = case.z.ndim - 2
    return codes.shape[-1] if codes.ndim - 1 > max(positions, 0) and codes.ndim > 1 else 1


def _latent_vectors(case: Case) -> Tensor:
    """Return (M, d) latents before quantisation, ordered as the flattened codes."""
    mean = case.latent.mean
    return (
        mean.movedim(1, -1).reshape(-1, mean.shape[1]).float() if mean.ndim > 1 else mean[:, None]
    )


def _spread(x_Md: Tensor) -> float:
    return max(float((x_Md.double() - x_Md.double().mean(0)).square().mean()), 1e-20)
