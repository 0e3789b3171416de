"""Codes with what is known of them, and what a prior is told of it at each step.

Shape letters: N samples, B batch, S sequence, M distinct prompts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from pellucid.priors.transformer import CodeTransformer

_CHOICES = 12  # second word of the key: a stream apart from the one that `fit` orders samples by


@dataclasses.dataclass(frozen=True)
class CodeSet:
    """Sequences of codes with what is known of each.

    Args:
        sequences: (N, S) int64.
        labels: (N,) classes, or None.
        prompts: (M, T) bytes or (M, E) vectors of distinct prompts, or None.
        choices: for each sample the numbers of its prompts.
    """

    sequences: Tensor
    labels: Tensor | None = None
    prompts: Tensor | None = None
    choices: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.sequences)


def draw_conditions(
    model: CodeTransformer,
    known: CodeSet,
    rows: np.ndarray,
    *,
    dropout: float,
    key: tuple[int, int],
) -> Tensor | None:
    """Draw what each sample of a batch is told: its class, one of its prompts, or nothing.

    Args:
        model: makes vectors of what is told.
        known: what may be told.
        rows: (B,) samples of the batch.
        dropout: share of them that are told nothing.
        key: of the draw; equal keys draw the same.
    """
    if known.labels is None and known.prompts is None:
        return None
    stream = np.random.Philox(key=[key[0], _CHOICES], counter=[0, 0, 0, key[1]])
    kept, by_text, which = np.random.Generator(stream).random((3, len(rows)))
    device = next(model.parameters()).device
    told = torch.from_numpy(kept >= dropout)
    as_text = torch.from_numpy(by_text < 0.5)
    if known.labels is None or known.prompts is None:
        as_text = torch.full_like(as_text, known.prompts is not None)
    labels = None if known.labels is None else known.labels[rows].to(device)
    text = texts_of = None
    if known.prompts is not None:
        picks = [known.choices[r][int(u * len(known.choices[r]))]
                 for r, u in zip(rows, which, strict=True)]  # fmt: skip
        distinct, inverse = np.unique(picks, return_inverse=True)
        text = known.prompts[torch.from_numpy(distinct)].to(device)
        texts_of = torch.from_numpy(inverse).to(device)
    return model.condition(
        count=len(rows),
        labels=labels,
        text=text,
        texts_of=texts_of,
        keep_class=(told & ~as_text).to(device),
        keep_text=(told & as_text).to(device),
    )
