"""Swap a k-means codebook in: usage must rise and the quantisation error fall."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.codes import code_use, kmeans


def intervene(case: Case, finding: Finding) -> Confirmation | None:
    """Fit k-means on one half of the samples' latents, use it on the other half."""
    uses = case.measure(code_use)
    books = case.subject.codebooks
    if not books or len(books) != len(uses) or uses[0].kmeans_book is None:
        return None
    mean = case.latent.mean
    z = mean.movedim(1, -1).flatten(0, -2).float()
    size = len(books[0])
    half = len(z) // 2
    book, _ = kmeans(z[:half], min(size, max(2, half // 4)))
    held, own = z[half:], books[0].detach().float().cpu()
    generator = torch.Generator().manual_seed(0)
    held = held[torch.randperm(len(held), generator=generator)[:8192]]
    used_before = len(torch.cdist(held, own).argmin(1).unique())
    used_after = len(torch.cdist(held, book).argmin(1).unique())
    effect = Evidence(
        "distinct codes met on held samples, k-means minus own",
        used_after - used_before,
        "codes",
        "about 0",
    )
    return Confirmation(
        f"a k-means codebook of {len(book)} vectors was swapped in on frozen latents",
        "usage rises",
        effect,
        "confirmed"
        if used_after > 1.5 * used_before
        else "refuted"
        if used_after <= 1.1 * used_before
        else "undecided",
    )
