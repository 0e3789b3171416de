"""Train a prior on sequences of codes: every draw a function of (seed, step), so resuming is exact.

Shape letters: B batch, S sequence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.models.precision import Precision, autocast_for
from pellucid.priors.conditions import CodeSet, draw_conditions
from pellucid.priors.history import History, restore, state_of
from pellucid.priors.schedule import Schedule, require
from pellucid.priors.transformer import CodeTransformer
from pellucid.training.checkpoint import clean, write_checkpoint
from pellucid.training.optimizer import build_optimizer, learning_rate_factor
from pellucid.training.rng import preserved

Progress = Callable[[int, int], None]
_ORDER = 11  # second word of the key: a stream apart from the one of `conditions`


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training came to.

    Args:
        step: steps taken.
        best_step: the step whose weights the model now holds.
        validation: (step, bits per code told its condition, bits per code told nothing).
        stopped_early: whether patience ran out.
    """

    step: int
    best_step: int
    validation: tuple[tuple[int, float, float], ...]
    stopped_early: bool


def fit_prior(
    model: CodeTransformer,
    train: CodeSet,
    validation: CodeSet,
    checkpoint: Path,
    schedule: Schedule,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Minimise the negative log-likelihood of codes and leave the best weights in the model.

    Args:
        model: the prior, in any mode; in eval mode afterwards.
        train: what it learns from.
        validation: what chooses the weights.
        checkpoint: folder of the whole training state.
        schedule: how long and how fast.
        resume: go on from the checkpoint.
        progress: told the steps done.

    Raises:
        RunError: when there is nothing to resume, or it was another training.
        RecipeError: when the batch is larger than the set.
    """
    require(schedule.batch_size <= len(train), "batch_size", f"≤ {len(train)} training sequences",
             schedule.batch_size)  # fmt: skip
    device = next(model.parameters()).device
    optimizer = build_optimizer(
        model,
        learning_rate=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    clean(checkpoint.parent)
    history = History()
    if resume:
        history = restore(model, optimizer, checkpoint, schedule)
    with preserved(device):
        while history.step < schedule.steps and not history.out_of_patience(schedule.patience):
            _step(model, optimizer, train, schedule, history.step)
            history.step += 1
            if progress is not None:
                progress(history.step, schedule.steps)
            if history.step % schedule.validate_every == 0 or history.step == schedule.steps:
                told, absent = validate(model, validation, precision=schedule.precision)
                history.add(told, absent, model)
                write_checkpoint(state_of(model, optimizer, history, schedule), checkpoint)
    model.load_state_dict(history.best)
    model.eval()
    stopped = history.step < schedule.steps
    return Fitted(history.step, history.best_step, tuple(history.validation), stopped)


def nll(
    model: CodeTransformer, sequence_BS: Tensor, condition_BD: Tensor | None, precision: Precision
) -> Tensor:
    """Return the mean negative log-likelihood per code, in nats."""
    with autocast_for(sequence_BS.device, precision):
        logits_BSK = model(sequence_BS, condition_BD)
    return F.cross_entropy(logits_BSK.float().flatten(0, 1), sequence_BS.flatten())


@torch.no_grad()
def validate(
    model: CodeTransformer,
    held_out: CodeSet,
    *,
    precision: Precision = "auto",
    batch_size: int = 128,
) -> tuple[float, float]:
    """Return held-out bits per code: told what is known of each sample, and told nothing.

    Where there are prompts and classes, half of the samples are told the one, half the other.
    """
    model.eval()
    device = next(model.parameters()).device
    told = absent = 0.0
    for start in range(0, len(held_out), batch_size):
        rows = np.arange(start, min(start + batch_size, len(held_out)))
        sequence_BS = held_out.sequences[rows].to(device)
        condition_BD = draw_conditions(model, held_out, rows, dropout=0.0, key=(0, start))
        told += float(nll(model, sequence_BS, condition_BD, precision)) * len(rows)
        absent += float(nll(model, sequence_BS, None, precision)) * len(rows)
    scale = len(held_out) * math.log(2)
    return told / scale, absent / scale


def _step(
    model: CodeTransformer,
    optimizer: torch.optim.Optimizer,
    train: CodeSet,
    schedule: Schedule,
    step: int,
) -> None:
    model.train()
    torch.manual_seed(schedule.seed * 1_000_003 + step)  # of dropout
    rows = _batch(len(train), schedule, step)
    sequence_BS = train.sequences[rows].to(next(model.parameters()).device)
    condition_BD = draw_conditions(
        model, train, rows, dropout=schedule.condition_dropout, key=(schedule.seed, step)
    )
    loss = nll(model, sequence_BS, condition_BD, schedule.precision)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
    factor = learning_rate_factor(
        step, steps=schedule.steps, warmup_steps=schedule.warmup_steps, final=0.0
    )
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rate * factor
    optimizer.step()


def _batch(count: int, schedule: Schedule, step: int) -> np.ndarray:
    epoch, place = divmod(step, count // schedule.batch_size)
    stream = np.random.Philox(key=[schedule.seed, _ORDER], counter=[0, 0, 0, epoch])
    start = place * schedule.batch_size
    return np.random.Generator(stream).permutation(count)[start : start + schedule.batch_size]
