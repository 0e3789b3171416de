"""nan-or-overflow met in the base pass: nothing else can be measured until it is repaired."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding


def non_finite(case: Case) -> Finding | None:
    """Name the first stage whose output is not finite; None when all is."""
    latent = case.latent
    stages = (
        ("encode: mean", latent.mean),
        ("encode: log-variance", latent.logvar),
        ("encode: quantized", latent.quantized),
        ("decode", case.x_hat),
    )
    for stage, tensor in stages:
        if tensor is None or bool(torch.isfinite(tensor).all()):
            continue
        bad = ~torch.isfinite(tensor).flatten(1).all(1)
        return Finding(
            id="nan-or-overflow",
            confidence=0.99,
            severity=float(bad.float().mean()),
            severity_unit="share of samples",
            summary=f"{stage} returns NaN or infinity for {int(bad.sum())} of {len(bad)} samples",
            evidence=(
                Evidence(f"samples with non-finite {stage}", float(bad.sum()), "samples", "0"),
                Evidence("first such sample", float(bad.nonzero()[0]), "index", "none"),
            ),
            treatment="clamp the log-variance, add an epsilon under logarithms and roots, keep "
            "float32 or bfloat16 where activations are large; replay this batch in float32",
            expects=("every number becomes finite",),
        )
    return None
