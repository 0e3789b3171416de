"""What bottlenecks with codes share: the maps around the quantiser, their output, their metrics.

Shape letters: B batch, C channels, D code dimensions, P positions (zero or more axes),
N = B·P rows, K codes, L levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.contract import BottleneckOutput
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.code_statistics import code_counts, perplexity, usage
from pellucid.records import Latent, Penalty


def projections(channels: int, dim: int | None) -> tuple[nn.Module, nn.Module]:
    """Return linear maps from C features to D numbers and back; with None nothing is mapped."""
    if dim is None:
        return nn.Identity(), nn.Identity()
    return nn.Linear(channels, dim), nn.Linear(dim, channels)


def projected(h_BCP: Tensor, projection: nn.Module) -> Tensor:
    """Return (B, D, P...) float32: `projection` of every position, outside autocast."""
    with torch.autocast(h_BCP.device.type, enabled=False):
        return from_rows(projection(to_rows(h_BCP).float()), h_BCP)


def coded_output(
    h_BCP: Tensor,
    *,
    mean_NC: Tensor,
    quantized_NC: Tensor,
    codes: Tensor,
    penalties: dict[str, Penalty],
    metrics: dict[str, Tensor],
) -> BottleneckOutput:
    """Bring rows back to the positions of the features and return them as an output.

    Args:
        h_BCP: features that came in.
        mean_NC: what the decoder would get if nothing were rounded.
        quantized_NC: what it gets, with its gradient path.
        codes: (N,) or (N, L).
        penalties: of the output.
        metrics: of the output.
    """
    quantized_BCP = from_rows(quantized_NC, h_BCP)
    return BottleneckOutput(
        z=quantized_BCP.to(h_BCP.dtype),
        latent=Latent(
            mean=from_rows(mean_NC, h_BCP),
            codes=codes.view(h_BCP.shape[0], *h_BCP.shape[2:], *codes.shape[1:]),
            quantized=quantized_BCP,
        ),
        penalties=penalties,
        metrics=metrics,
    )


def code_metrics(z_ND: Tensor, q_ND: Tensor, codes_N: Tensor, codes: int) -> dict[str, Tensor]:
    """Return batch perplexity, usage, quantisation error E‖z − q‖²/Var(z), and the RMS of z."""
    counts_K = code_counts(codes_N, codes)
    variance = z_ND.var(dim=0, correction=0).mean().clamp(min=1e-12)
    return {
        "perplexity": perplexity(counts_K),
        "usage": usage(counts_K),
        "quantisation_error_ratio": (z_ND - q_ND).square().mean() / variance,
        "latent_rms": z_ND.square().mean().sqrt(),
    }
