"""channel-scale-imbalance: loud channels own the error, quiet ones are not reconstructed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.references import references, standardised_r2
from pellucid.diagnosis.rules.access import channels as missing

__all__ = ["channel_names", "channel_r2", "examine", "missing"]


def channel_r2(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return per channel: R² of the model about the mean sample, std of x, MSE."""

    def by_channel(x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1).double()

    error = by_channel(case.x_hat - case.x).square().mean(1)
    variance = by_channel(case.x - case.mean_sample).square().mean(1)
    return 1 - error / variance.clamp_min(1e-20), by_channel(case.x).std(1), error


def examine(case: Case) -> Finding | None:
    """Assert when scales spread, quiet channels fail, and a scale-blind linear model wins."""
    r2, std, error = case.measure(channel_r2)
    live = std > 1e-4 * std.max()
    if int(live.sum()) < 2:
        return None
    r2, std, error = r2[live], std[live], error[live]
    spread = float(std.max() / std.quantile(0.1))
    worst = _decile(r2)
    linear = standardised_r2(case, case.measure(references).pca.patch)[live]
    quiet = std <= std.median()
    # Below 0 is not reconstructed, however far: a few sparse channels must not hide the others.
    could_win = float((linear[quiet].clamp_min(0) - r2[quiet].clamp_min(0)).mean())
    loud = std >= std.quantile(0.9)
    contrast = float(r2[loud].mean() - r2[quiet].mean())
    confidence = min(
        case.threshold("channel-scale-imbalance.std_ratio").confidence(spread),
        case.threshold("channel-scale-imbalance.worst_r2").confidence(worst),
        case.threshold("channel-scale-imbalance.contrast").confidence(contrast),
        case.threshold("channel-scale-imbalance.could_win").confidence(could_win),
    )
    if confidence < 0.1:
        return None
    share = float(error.max() / error.sum())
    dead = int((~live).sum())
    return Finding(
        id="channel-scale-imbalance",
        confidence=confidence,
        severity=could_win,
        severity_unit="R² on quiet channels",
        summary=f"channel scales differ {spread:.3g}-fold; quiet channels reach R² "
        f"{float(r2[quiet].mean()):.2f} against {float(r2[loud].mean()):.2f} for loud ones"
        + _worst_named(channel_names(case, live), r2),
        evidence=(
            Evidence("std of the loudest / quietest decile", spread, "1", "< 5"),
            Evidence("R² of the worst decile of live channels", worst, "1", "> 0"),
            Evidence(
                "R² of quiet channels by a linear model on standardised data",
                float(linear[quiet].mean()),
                "1",
                "about the model's own",
            ),
            Evidence(
                "largest channel's share of the squared error", share, "1", f"{1 / len(error):.2f}"
            ),
            Evidence("(near-)constant channels", dead, "1", "0; left out here"),
        ),
        ruled_out=(
            RuledOut(
                "capacity-limit",
                "a linear model with as many numbers, blind to scale, "
                f"reaches {could_win:+.2f} R² more on the same quiet channels",
            ),
        ),
        treatment="normalise each channel with mean and std fitted on the training set, store them "
        "with the model and invert them at the output (or weight channels by 1/variance)",
        expects=(
            "R² of quiet channels rises above 0",
            "each channel's share of the error evens out",
        ),
    )


def channel_names(case: Case, live: Tensor) -> list[str]:
    """Return the names of live channels where the recipe states them, else none."""
    data = (case.subject.recipe or {}).get("data")
    names = data.get("channels") if isinstance(data, Mapping) else None
    if not isinstance(names, list) or len(names) != len(live):
        return []
    return [str(name) for name, alive in zip(names, live.tolist(), strict=True) if alive]


def _worst_named(names: list[str], r2: Tensor) -> str:
    if not names:
        return ""
    worst = torch.argsort(r2)[:3].tolist()
    return "; worst are " + ", ".join(f"{names[place]} ({float(r2[place]):.2f})" for place in worst)


def _decile(values: Tensor) -> float:
    """Return the mean of the worst tenth (at least one channel)."""
    count = max(1, len(values) // 10)
    return float(torch.sort(values).values[:count].mean())
