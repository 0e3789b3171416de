"""unpaired-evaluation: the pairs that are scored are not pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, decibels
from pellucid.diagnosis.evidence import Evidence, Finding


def missing(case: Case) -> str | None:
    """Pairs as the user evaluates them."""
    return None if case.subject.pairs is not None else "Subject.pairs (originals, reconstructions)"


def examine(case: Case) -> Finding | None:
    """Rank each original among all by its distance to the reconstruction it was paired with."""
    assert case.subject.pairs is not None
    originals, answers = (t.detach().cpu().float().flatten(1)[:512] for t in case.subject.pairs)
    if originals.shape != answers.shape:
        return _finding(
            0.99,
            float("nan"),
            float("nan"),
            "originals and reconstructions differ in "
            f"number or size: {tuple(originals.shape)} against {tuple(answers.shape)}",
        )
    distance = torch.cdist(answers, originals)
    own = distance.diagonal()
    rank = (distance < own[:, None]).sum(1) + 1
    wrong = float((rank > 1).double().mean())
    # One original each: answers that are all alike (a collapsed model) gain nothing by it.
    matched = distance.flatten()[_assignment(distance)]
    win = decibels(float(own.square().mean() / matched.square().mean().clamp_min(1e-20)))
    confidence = min(
        case.threshold("unpaired-evaluation.wrong").confidence(wrong),
        case.threshold("unpaired-evaluation.win_db").confidence(win),
    )
    if confidence < 0.1:
        return None
    return _finding(
        confidence,
        wrong,
        win,
        f"{wrong:.0%} of reconstructions are nearer to another "
        f"original than to their own; re-pairing wins {win:.1f} dB",
    )


def _assignment(distance_NN: Tensor) -> Tensor:
    """Return (N,) flat indices of the cheapest one-to-one pairing by squared distance."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(distance_NN.double().square().numpy())
    return torch.as_tensor(rows * distance_NN.shape[1] + columns)


def _finding(confidence: float, wrong: float, win: float, summary: str) -> Finding:
    return Finding(
        id="unpaired-evaluation",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=summary,
        evidence=(
            Evidence("reconstructions nearer to another original", wrong, "1", "0"),
            Evidence("win of the best one-to-one pairing", win, "dB", "0"),
        ),
        treatment="keep the order: no shuffling loader between encoding and scoring, no cached "
        "latents of another epoch; score what one pass returns together",
        expects=("every original ranks first for its reconstruction",),
    )
