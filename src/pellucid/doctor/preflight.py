"""Before the first epoch: what can be said of a model that has learned nothing yet.

An untrained model is not bad. So it first overfits one batch, in a fork that is undone, and only
what does not depend on training is examined on the fork: heads, gradients, owners, wiring.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from pellucid.diagnosis import Diagnosis, Evidence, Finding, Subject
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.diagnose import examine_rows
from pellucid.diagnosis.evidence import RuledOut
from pellucid.diagnosis.ranking import fold
from pellucid.diagnosis.runner import Runner, decoded_latent
from pellucid.diagnosis.snapshot import Snapshot
from pellucid.diagnosis.thresholds import thresholds

ROWS = (
    "broken-filterbank",
    "codebook-ownership",
    "frozen-module",
    "inert-loss",
    "metric-range",
    "straight-through-gain",
)
"""Rows that an untrained model can be held to."""

STEPS = 60
"""Steps on one batch: enough for zero-initialised layers to wake up and for an error to fall."""

OVERFIT_SHARE = 0.4
"""Part of the budget that overfitting may take."""


@dataclasses.dataclass(frozen=True)
class Overfit:
    """One batch, trained on repeatedly.

    Args:
        steps: the user's own steps taken.
        before, after: mean squared error of decode(encode(x)) / variance of the batch.
    """

    steps: int
    before: float
    after: float

    @property
    def fails(self) -> bool:
        """Whether many steps on a single batch left its error where it was."""
        return self.steps >= 30 and self.after > 0.98 * min(self.before, 1.0)


def preflight(subject: Subject, x_NCP: Tensor, budget_seconds: float) -> Diagnosis:
    """Examine an untrained model on its first batch; everything is put back.

    Args:
        subject: the model in training, with its own step.
        x_NCP: the samples of the first batches.
        budget_seconds: time to keep to.

    Raises:
        PellucidError: when the model cannot be run on the data.
    """
    clock = Clock(budget_seconds)
    head = check_head(subject, x_NCP)
    with Snapshot(subject.reachable()):
        found = overfit_one_batch(subject, x_NCP, clock.share(OVERFIT_SHARE))
        rest = max(clock.left, 0.2 * budget_seconds)
        diagnosis = examine_rows(subject, x_NCP, rows=ROWS, budget_seconds=rest)
    findings = [f for f in (head, failed_overfit(found)) if f is not None]
    notes = ["pre-flight: measured before the first step; references do not apply"]
    if found is not None:
        notes.append(
            f"pre-flight: {found.steps} steps on one batch took its FVU from "
            f"{found.before:.3g} to {found.after:.3g}"
        )
    return dataclasses.replace(
        diagnosis,
        findings=fold([*diagnosis.findings, *findings]),
        tested=(*diagnosis.tested, *({"range-mismatch"} if head is not None else ())),
        notes=tuple(notes),
        seconds=clock.elapsed,
    )


def overfit_one_batch(subject: Subject, x_NCP: Tensor, clock: Clock) -> Overfit | None:
    """Take the user's steps on one batch. Call under a snapshot; None without a step."""
    if subject.training_step is None:
        return None
    runner = Runner(subject, x_NCP)
    before = _fvu(subject, runner, x_NCP)
    for module in subject.reachable().roots:
        module.train()
    taken, x = 0, runner.to_model(x_NCP)
    with torch.enable_grad():
        while taken < STEPS and not clock.out:
            subject.training_step(x)
            taken += 1
    return Overfit(taken, before, _fvu(subject, runner, x_NCP))


def _fvu(subject: Subject, runner: Runner, x_NCP: Tensor) -> float:
    """Return the error of decode(encode(x)) over the variance, in eval mode."""
    for module in subject.reachable().roots:
        module.eval()
    x_hat = runner.roundtrip(x_NCP)[1]
    variance = (x_NCP - x_NCP.mean(0, keepdim=True)).double().square().mean()
    return float((x_hat - x_NCP).double().square().mean() / variance.clamp_min(1e-20))


def failed_overfit(found: Overfit | None) -> Finding | None:
    """Hint at a model that cannot learn one batch; assert one that blows up on it."""
    if found is None or not (found.fails or not math.isfinite(found.after)):
        return None
    blown = not math.isfinite(found.after)
    return Finding(
        id="nan-or-overflow" if blown else "capacity-limit",
        confidence=0.8 if blown else 0.4,
        severity=found.after / max(found.before, 1e-12) if not blown else math.inf,
        severity_unit="FVU after / before",
        summary=f"{found.steps} steps on one batch "
        + ("end in NaN" if blown else f"leave its FVU at {found.after:.3g}"),
        evidence=(
            Evidence("FVU of the batch before", found.before, "1", "any"),
            Evidence(f"FVU after {found.steps} steps on it", found.after, "1", "falling to 0"),
        ),
        treatment="lower the learning rate, or clip gradients"
        if blown
        else "overfit one batch before anything else: raise the learning rate, check that every "
        "term pulls towards the reconstruction, widen the model last",
        expects=("the error of a single batch falls to almost nothing",),
    )


# --- the head, read off the autograd graph ----------------------------------------------------

_SHAPE_ONLY = ("View", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Permute", "Transpose", "Copy",
               "Clone", "Contiguous", "Alias", "Select", "Unflatten", "Expand")  # fmt: skip
_BOUNDS = {
    "Sigmoid": (0.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Relu": (0.0, math.inf),
    "Softplus": (0.0, math.inf),
}


def head_bounds(x_hat: Tensor) -> tuple[str, float, float] | None:
    """Return (name, low, high) of the activation an output comes out of; None when unbounded."""
    node: Any = x_hat.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name in _BOUNDS:
            return (name.lower(), *_BOUNDS[name])
        if name in ("Clamp", "Hardtanh"):
            suffix = "" if name == "Clamp" else "_val"
            low, high = (getattr(node, f"_saved_{end}{suffix}", None) for end in ("min", "max"))
            if isinstance(low, Tensor) or isinstance(high, Tensor):
                return None
            return (
                name.lower(),
                -math.inf if low is None else float(low),
                math.inf if high is None else float(high),
            )
        if not any(part in name for part in _SHAPE_ONLY) or not node.next_functions:
            return None
        node = node.next_functions[0][0]
    return None


def check_head(subject: Subject, x_NCP: Tensor) -> Finding | None:
    """Assert data that the output activation can never reach, trained or not."""
    runner = Runner(subject, x_NCP)
    with Snapshot(subject.reachable()), torch.enable_grad():
        x = runner.to_model(x_NCP[: runner.batch])
        bounds = head_bounds(runner.decode_live(decoded_latent(runner.encode_live(x)), x))
    if bounds is None:
        return None
    name, low, high = bounds
    slack = 0.05 * float(x_NCP.std())
    outside = float(((x_NCP < low - slack) | (x_NCP > high + slack)).float().mean())
    confidence = thresholds()["range-mismatch.outside"].confidence(outside)
    if confidence < 0.1:
        return None
    span = (float(x_NCP.min()), float(x_NCP.max()))
    return Finding(
        id="range-mismatch",
        confidence=confidence,
        severity=outside,
        severity_unit="share of the data",
        summary=f"data span [{span[0]:.3g}, {span[1]:.3g}] but the output comes out of a {name}, "
        f"within [{low:g}, {high:g}]: {outside:.0%} of the data are out of reach",
        evidence=(
            Evidence("share of the data beyond the head's reach", outside, "1", "0"),
            Evidence("smallest value of the data", span[0], "data units", f"≥ {low:g}"),
            Evidence("largest value of the data", span[1], "data units", f"≤ {high:g}"),
        ),
        ruled_out=(
            RuledOut("under-training", f"a {name} stays in its range however long it trains"),
        ),
        treatment="use one value-range contract: normalise the data to the range the output head "
        "produces (sigmoid → [0, 1], tanh → [−1, 1], none → any)",
        expects=("no data are out of reach", "PSNR/SNR rises"),
    )
