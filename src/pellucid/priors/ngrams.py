"""What counting alone predicts: unigram and bigram entropies that a prior has to beat.

Shape letters: N samples, S sequence, K codes, L levels.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from torch import Tensor

from pellucid.priors.layout import Layout

_PSEUDO_COUNT = 0.5


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Bits per code on held-out sequences.

    Args:
        unigram: of the frequencies of codes, per level.
        bigram: given the code before in the sequence, per level.
        uniform: log₂K.
    """

    unigram: float
    bigram: float
    uniform: float


def baselines(train_NS: Tensor, held_out_NS: Tensor, layout: Layout) -> Baselines:
    """Fit counts on training sequences and measure their cross-entropy on held-out ones.

    p₁(c) = (n(c) + ½)/(n + K/2), per level; p₂(c|a) = (n(a, c) + T(a)·p₁(c))/(n(a) + T(a)) with
    T(a) the number of different codes seen after a. Source: Witten & Bell 1991, method C.
    """
    depth, size = layout.depth, layout.codes
    # the code before, as a context of its own per level; `size` stands before the first
    train, held = (x.numpy().astype(np.int64) for x in (train_NS, held_out_NS))
    bits = {"unigram": 0.0, "bigram": 0.0}
    for level in range(depth):
        columns = slice(level, None, depth)
        before = [_before(x, size)[:, columns].ravel() for x in (train, held)]
        codes = [x[:, columns].ravel() for x in (train, held)]
        unigram_K = np.bincount(codes[0], minlength=size) + _PSEUDO_COUNT
        unigram_K = unigram_K / unigram_K.sum()
        bits["unigram"] += float(-np.log2(unigram_K[codes[1]]).sum())
        bits["bigram"] += _bigram_bits(before, codes, unigram_K)
    total = held.size
    return Baselines(bits["unigram"] / total, bits["bigram"] / total, math.log2(size))


def _before(sequence_NS: np.ndarray, start: int) -> np.ndarray:
    first = np.full((len(sequence_NS), 1), start)
    return np.concatenate([first, sequence_NS[:, :-1]], axis=1)


def _bigram_bits(before: list[np.ndarray], codes: list[np.ndarray], unigram_K: np.ndarray) -> float:
    size = len(unigram_K)
    pairs, counts = np.unique(before[0] * size + codes[0], return_counts=True)
    seen_A = np.bincount(before[0], minlength=size + 1)  # n(a)
    kinds_A = np.bincount(pairs // size, minlength=size + 1)  # T(a)
    wanted = before[1] * size + codes[1]
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    count = np.where(pairs[place] == wanted, counts[place], 0)
    kinds, seen = kinds_A[before[1]], seen_A[before[1]]
    known = seen > 0
    smoothed = (count + kinds * unigram_K[codes[1]]) / np.maximum(seen + kinds, 1)
    p = np.where(known, smoothed, unigram_K[codes[1]])  # after a code never seen: the unigram
    return float(-np.log2(p).sum())
