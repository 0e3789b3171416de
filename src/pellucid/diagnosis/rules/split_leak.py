"""split-leak: held-out samples have (near-)duplicates among the training samples."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.rules.access import held_out as missing

__all__ = ["duplicates", "examine", "missing"]

MOST = 4096
"""Elements of a sample that are compared."""


def examine(case: Case) -> Finding | None:
    """Assert when more held-out samples than chance allows lie on top of a training sample."""
    share, exact = case.measure(duplicates)
    confidence = case.threshold("split-leak.share").confidence(share)
    if confidence < 0.1:
        return None
    return Finding(
        id="split-leak",
        confidence=confidence,
        severity=share,
        severity_unit="share of held-out samples",
        summary=f"{share:.0%} of held-out samples have a (near-)duplicate in the training set",
        evidence=(
            Evidence(
                "held-out samples nearer to a training sample than 5 % of the usual distance",
                share,
                "1",
                "0",
            ),
            Evidence("of which identical", exact, "1", "0"),
        ),
        treatment="split by group (photograph, speaker, slide, video), then remove duplicates "
        "across the splits",
        expects=("held-out error rises to its honest value",),
    )


def duplicates(case: Case) -> tuple[float, float]:
    """Return (share of near-duplicates, share of exact ones) among held-out samples.

    Near means within 5 % of the distance to the nearest other sample that is usual in this data,
    and within 10 % of the sample's own contrast: flat patches of sky are alike and no copies.
    """
    # A few loud channels must not decide what is near.
    scale_C = case.fit.transpose(0, 1).flatten(1).std(1).clamp_min(1e-12)
    scale_C = scale_C.clamp_min(1e-3 * float(scale_C.max())).view(1, -1, *[1] * (case.x.ndim - 2))
    contrast = _contrast(case.x / scale_C)
    x, train = _reduced(case.x / scale_C), _reduced(case.fit / scale_C)
    nearest = torch.cat([torch.cdist(part, train).min(1).values for part in x.split(256)])
    own = torch.cdist(train[:512], train)
    own.fill_diagonal_(float("inf"))
    typical = float(own.min(1).values.median())
    scale = float((x - x.mean(0)).norm(dim=1).mean())
    if typical < 0.02 * scale:  # the training set repeats itself: nothing can be told from nearness
        typical = float(torch.cdist(train[:512], train).median()) * 0.2
    near = (nearest < 0.05 * typical) & (nearest < 0.1 * contrast)
    return (
        float(near.double().mean()),
        float((near & (nearest < 1e-5 * max(scale, 1e-12))).double().mean()),
    )


def _contrast(x_NCP: Tensor) -> Tensor:
    """Return (N,) the norm of what varies inside a sample, in as many elements as `_reduced` keeps.

    About the mean of each channel where there are positions: a flat coloured patch has none.
    """
    inside = tuple(range(2 if x_NCP.ndim > 2 else 1, x_NCP.ndim))
    varies = (x_NCP - x_NCP.mean(inside, keepdim=True)).flatten(1)
    return varies.norm(dim=1) * min(1.0, MOST / varies.shape[1]) ** 0.5


def _reduced(x_NCP: Tensor) -> Tensor:
    """Flatten samples; large ones are represented by fixed random elements."""
    flat = x_NCP.flatten(1)
    if flat.shape[1] <= MOST:
        return flat
    generator = torch.Generator().manual_seed(0)
    columns = torch.randperm(flat.shape[1], generator=generator)[:MOST]
    return flat[:, columns]
