"""The Lightning module: one optimiser step, its guard, and the state that resume needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import lightning
import torch
from torch import Tensor

from pellucid.objectives.gradient_shares import gradient_shares
from pellucid.run_folder import RunFolder
from pellucid.training import rng
from pellucid.training.agreement import StepAgreement
from pellucid.training.ema import WeightAverage
from pellucid.training.forward import Forward, named_scalars, run_forward
from pellucid.training.freezing import FrozenGuard, freeze_encoder
from pellucid.training.layout import to_layout
from pellucid.training.nonfinite import Recorded, explain
from pellucid.training.optimizer import build_optimizer, learning_rate_factor, match_layout
from pellucid.training.selection import Selection
from pellucid.training.state_tree import check_shapes

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.opponent import Opponent


class TrainingModule(lightning.LightningModule):
    """Train an autoencoder under an objective.

    Lightning's own loop counters are not used to resume: to Lightning every `fit` is a fresh run
    over the steps that remain, because its restored loops would re-run or skip validations and
    cannot know where an infinite, step-addressed loader stands. `self.step` is the one counter,
    and learning rate, data order, averages and schedules are functions of it.

    Args:
        autoencoder: the model.
        objective: the weighted sum of terms.
        opponent: the other player of an adversarial training, or None; it is no part of this module
            and takes its own step beside this one.
        folder: where a bad batch is saved.
        learning_rate: base learning rate of AdamW.
        betas: AdamW's moment decays.
        weight_decay: for weights only; see `optimizer.parameter_groups`.
        warmup_steps: steps of linear warm-up.
        final_learning_rate: ratio of the base rate reached at `steps`.
        steps: optimiser steps of the whole run.
        clip_norm: gradient norm above which gradients are scaled down, or None.
        ema_decay: decay of the weight average, or None for none.
        precision: the resolved number format.
        channels_last: memory order of images and convolution weights.
        seed: seeds the generators of process r with seed + r.
        fingerprint: what must be equal between a run and its resumption.
        selection: which validation was the best; travels with the state.
        shares_every: steps between measurements of gradient shares; the first step gets one too.
        lagged_check: read the non-finite flag one step late (CUDA; see `StepAgreement`).
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: Objective,
        opponent: Opponent | None,
        *,
        folder: RunFolder,
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
        warmup_steps: int,
        final_learning_rate: float,
        steps: int,
        clip_norm: float | None,
        ema_decay: float | None,
        precision: Literal["float32", "bf16"],
        channels_last: bool,
        seed: int,
        fingerprint: dict[str, Any],
        selection: Selection,
        shares_every: int,
        lagged_check: bool,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.objective = objective
        self.opponent = opponent
        self.folder = folder
        self.base_learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.steps, self.warmup_steps = steps, warmup_steps
        self.final_learning_rate = final_learning_rate
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.compute: Literal["float32", "bf16"] = precision
        self.channels_last = channels_last
        self.seed = seed
        self.fingerprint = fingerprint
        self.selection = selection
        self.shares_every = shares_every
        self.agreement = StepAgreement(lagged=lagged_check)
        self.guard = FrozenGuard()

        self.step = 0
        self.stepped = False
        self.stop = False
        self.last_learning_rate = 0.0
        self.saved_step = 0
        self.seconds_before = 0.0
        self._started: float | None = None
        self.validated: dict[str, float] = {}
        self.average: WeightAverage | None = None
        self.gradient_norm: Tensor | None = None
        self.scalars: dict[str, Tensor] = {}
        self.rare_scalars: dict[str, float] = {}
        self._restored: dict[str, Any] | None = None
        self._window: list[Recorded] = []
        self._previous_window: list[Recorded] = []
        self._losses: list[Tensor] = []

    # ---- the step -------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build AdamW; the learning rate is set before every step, so there is no scheduler."""
        return build_optimizer(
            self,
            learning_rate=self.base_learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
        )

    def prepare(self) -> None:
        """Create or restore what follows the weights: moments' layout, average, generators, clock.

        Called when weights and optimiser are restored and on their device, and the training
        loader is open: from here to the first step nothing else draws random numbers.
        """
        match_layout(self.trainer.optimizers[0])
        if self.ema_decay is not None:
            self.average = WeightAverage(self.autoencoder, decay=self.ema_decay)
        if self.opponent is not None:
            restored = self._restored["adversary"] if self._restored is not None else None
            self.opponent.prepare(self.device, restored)
        if self._restored is None:
            rng.seed_all(self.seed + self.global_rank)
        else:
            if self.average is not None and self._restored["ema"] is not None:
                self.average.load_state_dict(self._restored["ema"])
            rng.restore(self._restored["rng"][self.global_rank], self.device)
            self._restored = None
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Forget that the batch before completed a step."""
        self.stepped = False

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the total of one micro-batch; keep its scalars for the log."""
        batch = to_layout(batch, channels_last=self.channels_last)
        self.autoencoder.at_step(self.step)
        self._window.append(Recorded.of(batch))
        rival = None
        if self.opponent is not None:
            rival = self.opponent.at(self.step)
            if rival is not None and self.opponent.adversary.freeze_encoder:
                freeze_encoder(self.autoencoder)
        forward = run_forward(
            self.autoencoder, self.objective, batch, precision=self.compute, rival=rival
        )
        if self._shares_due():
            self.rare_scalars = _gradient_shares(forward)
        self.scalars = named_scalars(forward)
        self._losses.append(self.scalars["total"])
        return forward.objective.total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure the gradient norm, refuse a non-finite step, clip.

        Raises:
            NonFiniteError: naming the first bad tensor; the weights are those before the step.
        """
        parameters = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])  # type: ignore[misc]
        # one sum is finite exactly when all its parts are
        watched = norm + torch.stack(self._losses).sum()
        optimizers = [optimizer]
        if self.opponent is not None:
            watched = watched + self.opponent.gradient_norm()
            optimizers.append(self.opponent.optimizer)
        bad, self.stop = self.agreement.exchange(~torch.isfinite(watched), optimizers)
        if bad:
            self._raise(one_step_ago=self.agreement.lagged)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        self.gradient_norm = norm
        self._previous_window, self._window = self._window, []
        self._losses = []

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take one step at this step's learning rate and advance the counter and the average."""
        self.last_learning_rate = self._learning_rate()
        for group in optimizer.param_groups:
            group["lr"] = self.last_learning_rate * group.get("scale", 1.0)
        measured = self._shares_due()
        if measured:
            self.guard.check(self.autoencoder.encoder, self.step)
        before = [p.detach().clone() for p in self.parameters()] if measured else []
        optimizer.step(closure=optimizer_closure)
        if self.opponent is not None:
            self.opponent.take_step(self.step)
        if measured:
            self.rare_scalars["update_ratio"] = _update_ratio(before, list(self.parameters()))
        self.step += 1
        self.stepped = True
        if self.average is not None:
            self.average.update(self.step)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions of the same run included."""
        since = time.monotonic() - self._started if self._started is not None else 0.0
        return self.seconds_before + since

    def settle(self) -> None:
        """Make sure the latest step was good before its state is written anywhere.

        Raises:
            NonFiniteError: when it was not.
        """
        if self.agreement.settle():
            self._raise(one_step_ago=True)

    def _shares_due(self) -> bool:
        step = self.step + 1
        return step == 1 or step % self.shares_every == 0

    def _learning_rate(self) -> float:
        return self.base_learning_rate * learning_rate_factor(
            self.step,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            final=self.final_learning_rate,
        )

    def _raise(self, *, one_step_ago: bool) -> None:
        window = self._previous_window if one_step_ago and self._previous_window else self._window
        raise explain(
            self.autoencoder,
            self.objective,
            window,
            opponent=self.opponent,
            precision=self.compute,
            folder=self.folder,
            step=self.step + (0 if one_step_ago else 1),
            rank=self.global_rank,
        )

    # ---- the state ------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add step, clock, selection, generators and average; drop Lightning's loop counters."""
        checkpoint.pop("loops", None)
        checkpoint["global_step"] = self.step  # Lightning counts from the last resumption
        checkpoint["progress"] = {
            "step": self.step,
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
            "selection": self.selection.state_dict(),
        }
        if "optimizer_states" not in checkpoint:  # weights only
            return
        checkpoint["rng"] = rng.capture_all(self.device)
        checkpoint["ema"] = self.average.state_dict() if self.average is not None else None
        if self.opponent is not None:
            checkpoint["adversary"] = self.opponent.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over step, clock, selection, generators and average.

        Raises:
            RunError: when the checkpoint belongs to another model or another run.
        """
        check_shapes(checkpoint["state_dict"], self.state_dict(), what="model")
        progress = checkpoint["progress"]
        self.step = self.saved_step = progress["step"]
        self.seconds_before = progress["seconds"]
        self.selection.load_state_dict(progress["selection"])
        self._restored = {
            "rng": checkpoint["rng"],
            "ema": checkpoint["ema"],
            "adversary": checkpoint.get("adversary"),  # it may join a run that began without one
        }


def _gradient_shares(forward: Forward) -> dict[str, float]:
    shares = gradient_shares(forward.objective, forward.x_hat, forward.output.h)
    values = {f"terms.{name}.gradient_share": share.at_output for name, share in shares.items()}
    latent = {
        f"terms.{name}.latent_gradient_share": share.at_latent for name, share in shares.items()
    }
    return values | latent


def _update_ratio(before: list[Tensor], after: list[torch.nn.Parameter]) -> float:
    moved = torch.nn.utils.get_total_norm(
        [new.detach() - old for old, new in zip(before, after, strict=True)]
    )
    return float(moved / torch.nn.utils.get_total_norm(before).clamp_min(1e-12))
