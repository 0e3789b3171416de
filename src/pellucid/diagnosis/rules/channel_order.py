"""channel-order: output channels answer to other input channels (RGB against BGR)."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.rules.access import channels as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when a permutation of channels makes the held-out error much smaller."""
    from scipy.optimize import linear_sum_assignment

    channels = case.x.shape[1]
    count = min(len(case.x), 128)
    x, x_hat = (t[:count].transpose(0, 1).flatten(1).double() for t in (case.x, case.x_hat))
    # ‖x_c − x̂_k‖² for all pairs; the best permutation is the cheapest assignment.
    cost = x.square().sum(1)[:, None] + x_hat.square().sum(1)[None] - 2 * x @ x_hat.T
    order = torch.as_tensor(linear_sum_assignment(cost.numpy())[1])
    moved = int((order != torch.arange(channels)).sum())
    if moved == 0:
        return None
    after = mean_square(case.x_hat[count // 2 :][:, order] - case.x[count // 2 :])
    before = mean_square(case.x_hat[count // 2 :] - case.x[count // 2 :])
    win = decibels(before / max(after, 1e-20))
    confidence = min(
        case.threshold("channel-order.win_db").confidence(win),
        case.threshold("channel-order.fvu_after").confidence(after / case.variance),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="channel-order",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=f"{moved} of {channels} output channels match another input channel; reordering "
        f"them wins {win:.1f} dB",
        evidence=(
            Evidence("held-out win of the best channel permutation", win, "dB", "0"),
            Evidence("channels moved by it", moved, "1", "0"),
            Evidence("error after it / R1", after / case.variance, "1", "small"),
        ),
        ruled_out=(RuledOut("range-mismatch", "a permutation, not a gain or offset, repairs it"),),
        treatment=f"read and write channels in one order; output order now: {order.tolist()[:16]}",
        expects=("the diagonal wins", "PSNR/SNR rises by the severity"),
    )
