"""The second player of an adversarial training: its judgement, its own gradient and its step.

It stands beside the Lightning module and not inside it: no gradient of the autoencoder's backward
pass can reach the discriminator, DDP and the average of weights never see it, and a run without
one is untouched. Both players take their step after both gradients are known to be finite, from
the weights before the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pellucid.models.precision import autocast_for
from pellucid.nn.discriminators import Judgement
from pellucid.objectives.adversarial import (
    ADVERSARIAL,
    FEATURES,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from pellucid.records import Penalty
from pellucid.training.adversary import Adversary
from pellucid.training.optimizer import build_optimizer, learning_rate_factor, match_layout
from pellucid.training.state_tree import check_shapes


@dataclasses.dataclass(frozen=True)
class Contest:
    """What one batch came to between the two players.

    Args:
        terms: what the discriminator asks of x̂, with its gradient path.
        scalars: the discriminator's own loss and mean scores, detached.
        adaptive: bound of the adversarial term's adaptive weight, or None.
    """

    terms: dict[str, Penalty]
    scalars: dict[str, Tensor]
    adaptive: float | None = None


Rival = Callable[[Tensor, Tensor], Contest]
"""(x_hat, target) → what the discriminator makes of them in this step."""


class Opponent:
    """Hold a discriminator and its optimiser through a training.

    Args:
        adversary: what the recipe says.
        steps: optimiser steps of the whole run.
        warmup_steps: of the autoencoder's schedule; the discriminator has the same from its start.
        final_learning_rate: see `warmup_steps`.
        accumulate: forward passes per optimiser step.
        precision: the resolved number format.
    """

    def __init__(
        self,
        adversary: Adversary,
        *,
        steps: int,
        warmup_steps: int,
        final_learning_rate: float,
        accumulate: int,
        precision: Literal["float32", "bf16"],
    ) -> None:
        self.adversary = adversary
        self.steps, self.warmup_steps = steps, warmup_steps
        self.final_learning_rate = final_learning_rate
        self.accumulate = accumulate
        self.compute: Literal["float32", "bf16"] = precision
        self.discriminator = adversary.discriminator.train()
        self.optimizer = build_optimizer(
            self.discriminator,
            learning_rate=adversary.learning_rate,
            betas=adversary.betas,
            weight_decay=0.0,
        )
        self._norm: Tensor | None = None

    def at(self, step: int) -> Rival | None:
        """Return the rival of the optimiser step after `step` steps, or None before its start."""
        if not self.adversary.plays(step):
            return None
        return functools.partial(self.contest, step=step, learns=self.adversary.learns(step))

    def contest(self, x_hat: Tensor, target: Tensor, *, step: int, learns: bool) -> Contest:
        """Judge a batch; when it learns, add the gradient of the discriminator's loss to its own.

        The discriminator sees x once: the scores serve its loss, the features are what x̂ is
        matched with. Its own backward pass starts from a detached x̂ and ends at its weights; the
        terms' graph holds the weights as constants.

        Args:
            x_hat: (B, ...) reconstruction in the autoencoder's graph.
            target: (B, ...) data.
            step: steps taken so far.
            learns: whether the discriminator is updated in this step.
        """
        settings = self.adversary
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            real = self._judge(target)
        if learns:
            loss = discriminator_loss(
                real.scores, self._judge(x_hat.detach()).scores, settings.loss
            )
            (loss / self.accumulate).backward()
        with _constant(self.discriminator):
            fake = self._judge(x_hat)
        with torch.no_grad():
            loss = discriminator_loss(real.scores, fake.scores, settings.loss)
            scalars = {"loss": loss, "real": _mean(real.scores), "fake": _mean(fake.scores)}
        ramp = settings.ramp(step)
        terms = {
            ADVERSARIAL: Penalty(
                generator_loss(fake.scores, settings.loss), settings.weight * ramp, settings.loss
            ),
            FEATURES: Penalty(
                feature_matching(real.features, fake.features),
                settings.feature_weight * ramp,
                "relative to the features of x",
            ),
        }
        return Contest(terms, scalars, settings.adaptive)

    def gradient_norm(self) -> Tensor:
        """Average the gradient over processes and return its norm, 0 where it did not learn."""
        gradients = [p.grad for p in self.discriminator.parameters() if p.grad is not None]
        if not gradients:
            self._norm = None
            return torch.zeros((), device=next(self.discriminator.parameters()).device)
        if dist.is_initialized() and dist.get_world_size() > 1:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            parts = flat.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        self._norm = torch.nn.utils.get_total_norm(gradients)
        return self._norm

    def take_step(self, step: int) -> None:
        """Clip and apply the gradient that was measured, at this step's rate, and clear it."""
        if self._norm is None:
            return
        settings = self.adversary
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(
                list(self.discriminator.parameters()), settings.clip_norm, self._norm
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group.get("scale", 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._norm = None

    def learning_rate(self, step: int) -> float:
        """Return the discriminator's rate in the optimiser step after `step` steps."""
        start = self.adversary.start_step
        return self.adversary.learning_rate * learning_rate_factor(
            step - start,
            steps=self.steps - start,
            warmup_steps=self.warmup_steps,
            final=self.final_learning_rate,
        )

    def prepare(self, device: torch.device, state: Mapping[str, Any] | None) -> None:
        """Move to the device, take over a checkpoint's state, and start equal on all processes.

        Raises:
            RunError: when the state belongs to another discriminator.
        """
        self.discriminator.to(device)
        if state is not None:
            check_shapes(
                state["discriminator"], self.discriminator.state_dict(), what="discriminator"
            )
            self.discriminator.load_state_dict(state["discriminator"])
            self.optimizer.load_state_dict(state["optimizer"])
            match_layout(self.optimizer)
        if dist.is_initialized() and dist.get_world_size() > 1:
            for tensor in self.discriminator.state_dict().values():
                dist.broadcast(tensor, src=0)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and moments; the schedules are functions of the step."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _judge(self, x: Tensor) -> Judgement:
        with autocast_for(x.device, self.compute):
            return self.discriminator(x)


@contextlib.contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Leave a module's weights out of the graphs that are built in the block."""
    learned = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def _mean(scores: list[Tensor]) -> Tensor:
    return torch.stack([score.float().mean() for score in scores]).mean()
