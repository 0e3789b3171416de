"""Pictures by channel: how well each is reconstructed, matched and centred.

Shape letters: C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import curve, evenly, numbers
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.affine import affine_refit, trained_refit
from pellucid.diagnosis.rules.channel_scale_imbalance import channel_r2

SAMPLES = 128
FLOOR_R2 = -1.0
"""A channel worse than this is drawn here: how much worse tells nothing more."""


def r2_against_std(case: Case) -> Plot | None:
    """Draw R² of every channel against its std: a scale fault climbs from left to right."""
    r2, std, _ = case.measure(channel_r2)
    live = std > 0
    if int(live.sum()) < 2:
        return None
    span = (float(std[live].min()), float(std[live].max()))
    return Plot(
        kind="points",
        title="is a channel reconstructed because it is loud?",
        x_label="std of the channel, data units",
        y_label="R² (below −1 drawn at −1)",
        series=(
            Series("channels", numbers(std[live]), numbers(r2[live].clamp_min(FLOOR_R2))),
            Series("the channel's mean", span, (0.0, 0.0), reference=True),
        ),
        x_log=True,
    )


def std_by_channel(case: Case) -> Plot | None:
    """Draw the std of every channel of x, and of x̂."""
    if case.x.ndim < 3 or case.x.shape[1] < 2:
        return None
    own, out = (t.transpose(0, 1).flatten(1).double().std(1) for t in (case.x, case.x_hat))
    order = own.sort(descending=True).indices
    return Plot(
        kind="lines",
        title="scale of each channel",
        x_label="channel, by std",
        y_label="std, data units",
        series=(curve("x̂", out[order]), curve("x", own[order], reference=True)),
        y_log=True,
    )


def channel_match(case: Case) -> Plot | None:
    """Draw the correlation of each output channel with its own input, and with its best one."""
    if case.x.ndim < 3 or case.x.shape[1] < 2:
        return None
    kept = evenly(len(case.x), SAMPLES)
    x, x_hat = (_centred(t[kept]) for t in (case.x, case.x_hat))
    norms = x_hat.norm(dim=1)[:, None] * x.norm(dim=1)[None]
    correlation_CC = x_hat @ x.T / norms.clamp_min(1e-20)
    return Plot(
        kind="bars" if len(x) <= 64 else "lines",
        title="which input does an output channel follow?",
        x_label="output channel",
        y_label="correlation",
        series=(
            curve("with its own input", correlation_CC.diagonal()),
            curve("with its best input", correlation_CC.max(1).values, reference=True),
        ),
    )


def channel_offsets(case: Case) -> Plot | None:
    """Draw the mean of x − x̂ per channel, in std, on held-out and training samples."""
    if case.x.ndim < 3:
        return None
    std = case.x.transpose(0, 1).flatten(1).double().std(1).clamp_min(1e-12)
    held, trained = case.measure(affine_refit), case.measure(trained_refit)
    channels = len(std)
    return Plot(
        kind="bars" if channels <= 64 else "lines",
        title="how far channel means are off",
        x_label="channel",
        y_label="mean of x − x̂ / std of x",
        series=(
            curve("held-out", held.channel_offsets / std),
            curve("training samples", trained.channel_offsets / std),
            Series("healthy", (0.0, float(max(1, channels - 1))), (0.0, 0.0), reference=True),
        ),
    )


def _centred(x_NCP: Tensor) -> Tensor:
    flat = x_NCP.transpose(0, 1).flatten(1).double()
    return torch.nan_to_num(flat - flat.mean(1, keepdim=True))
