"""Train a prior on sequences of codes: every draw a function of (seed, step), so resuming is exact.

Shape letters: N samples, B batch, S sequence, M distinct prompts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import RecipeError, RunError
from pellucid.models.precision import Precision, autocast_for
from pellucid.priors.transformer import CodeTransformer
from pellucid.training.checkpoint import clean, read_checkpoint, write_checkpoint
from pellucid.training.optimizer import build_optimizer, learning_rate_factor
from pellucid.training.rng import preserved

Progress = Callable[[int, int], None]
_ORDER, _CHOICES = 11, 12  # second words of the keys of random streams


@dataclasses.dataclass(frozen=True)
class CodeSet:
    """Sequences of codes with what is known of each.

    Args:
        sequences: (N, S) int64.
        labels: (N,) classes, or None.
        prompts: (M, T) bytes or (M, E) vectors of distinct prompts, or None.
        choices: for each sample the numbers of its prompts.
    """

    sequences: Tensor
    labels: Tensor | None = None
    prompts: Tensor | None = None
    choices: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.sequences)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast a prior is trained.

    Args:
        steps: optimiser steps.
        batch_size: sequences per step.
        learning_rate: peak; linear warm-up, then a cosine to zero.
        weight_decay: AdamW's, on matrices.
        warmup_steps: of the learning rate.
        clip_norm: largest gradient norm.
        condition_dropout: share of samples that are told nothing.
        validate_every: steps between validations and checkpoints.
        patience: validations without improvement before stopping; None never stops early.
        precision: number format of matrix products.
        seed: of order, conditions and dropout.

    Raises:
        RecipeError: for a value without a meaning.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    condition_dropout: float
    validate_every: int
    patience: int | None
    precision: Precision
    seed: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            _require(getattr(self, name) >= 1, name, "a whole number ≥ 1", getattr(self, name))
        _require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        _require(
            0 <= self.condition_dropout <= 1,
            "condition_dropout",
            "a share, 0 to 1",
            self.condition_dropout,
        )


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
    _require(schedule.batch_size <= len(train), "batch_size", f"≤ {len(train)} training sequences",
             schedule.batch_size)  # fmt: skip
    device = next(model.parameters()).device
    optimizer = build_optimizer(
        model,
        learning_rate=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    clean(checkpoint.parent)
    history = _History()
    if resume:
        history = _restore(model, optimizer, checkpoint, schedule)
    with preserved(device):
        while history.step < schedule.steps and not history.out_of_patience(schedule.patience):
            _step(model, optimizer, train, schedule, history.step)
            history.step += 1
            if progress is not None:
                progress(history.step, schedule.steps)
            if history.step % schedule.validate_every == 0 or history.step == schedule.steps:
                told, absent = validate(model, validation, precision=schedule.precision)
                history.add(told, absent, model)
                write_checkpoint(_state(model, optimizer, history, schedule), checkpoint)
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
        condition_BD = _condition(model, held_out, rows, dropout=0.0, key=(0, start))
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
    condition_BD = _condition(
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


def _condition(
    model: CodeTransformer,
    known: CodeSet,
    rows: np.ndarray,
    *,
    dropout: float,
    key: tuple[int, int],
) -> Tensor | None:
    """Draw what each sample of a batch is told: its class, one of its prompts, or nothing."""
    if known.labels is None and known.prompts is None:
        return None
    stream = np.random.Philox(key=[key[0], _CHOICES], counter=[0, 0, 0, key[1]])
    kept, by_text, which = np.random.Generator(stream).random((3, len(rows)))
    device = next(model.parameters()).device
    told = torch.from_numpy(kept >= dropout)
    as_text = torch.from_numpy(by_text < 0.5)
    if known.labels is None or known.prompts is None:
        as_text = torch.full_like(as_text, known.prompts is not None)
    labels = None if known.labels is None else known.labels[rows].to(device)
    text = texts_of = None
    if known.prompts is not None:
        picks = [known.choices[r][int(u * len(known.choices[r]))]
                 for r, u in zip(rows, which, strict=True)]  # fmt: skip
        distinct, inverse = np.unique(picks, return_inverse=True)
        text = known.prompts[torch.from_numpy(distinct)].to(device)
        texts_of = torch.from_numpy(inverse).to(device)
    return model.condition(
        count=len(rows),
        labels=labels,
        text=text,
        texts_of=texts_of,
        keep_class=(told & ~as_text).to(device),
        keep_text=(told & as_text).to(device),
    )


class _History:
    """How far training got, and the best weights so far."""

    def __init__(self) -> None:
        self.step = self.best_step = 0
        self.validation: list[tuple[int, float, float]] = []
        self.best: dict[str, Tensor] = {}

    def add(self, told: float, absent: float, model: CodeTransformer) -> None:
        """Take one validation; the bits told their condition decide."""
        best = min((bits for _, bits, _ in self.validation), default=math.inf)
        self.validation.append((self.step, told, absent))
        if told < best or not self.best:
            self.best_step = self.step
            self.best = {name: value.clone() for name, value in model.state_dict().items()}

    def out_of_patience(self, patience: int | None) -> bool:
        """Return whether the last `patience` validations brought nothing."""
        steps = [step for step, _, _ in self.validation]
        since = len([step for step in steps if step > self.best_step])
        return patience is not None and since >= patience


def _state(
    model: CodeTransformer,
    optimizer: torch.optim.Optimizer,
    history: _History,
    schedule: Schedule,
) -> dict[str, Any]:
    return {
        "progress": {"step": history.step, "best_step": history.best_step},
        "schedule": dataclasses.asdict(schedule),
        "validation": [list(row) for row in history.validation],
        "model": dict(model.state_dict()),
        "best": history.best,
        "optimizer": optimizer.state_dict(),
    }


def _restore(
    model: CodeTransformer,
    optimizer: torch.optim.Optimizer,
    checkpoint: Path,
    schedule: Schedule,
) -> _History:
    if not checkpoint.exists():
        raise RunError("there is nothing to resume", where=checkpoint)
    state = read_checkpoint(checkpoint)
    differs = [k for k, v in dataclasses.asdict(schedule).items() if state["schedule"].get(k) != v]
    if differs:
        raise RunError(
            "a resumed prior keeps its schedule",
            where=checkpoint,
            expected=f"{differs[0]} = {state['schedule'].get(differs[0])}",
            found=getattr(schedule, differs[0]),
        )
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise RunError(
            "this checkpoint is of another prior", where=checkpoint, found=str(error)[:300]
        ) from error
    optimizer.load_state_dict(state["optimizer"])
    history = _History()
    history.step = state["progress"]["step"]
    history.best_step = state["progress"]["best_step"]
    history.validation = [(int(s), float(t), float(a)) for s, t, a in state["validation"]]
    history.best = state["best"]
    return history


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RecipeError(f"'{name}' has no meaning here", expected=expected, found=found)
