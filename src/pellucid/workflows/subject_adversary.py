"""Bring back a run's second player for a diagnosis: its discriminator, terms and steps."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.workflows.run import Run

if TYPE_CHECKING:
    import torch

    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.opponent import Opponent, Rival


def load_opponent(run: Run, autoencoder: Autoencoder, objective: Objective) -> Opponent | None:
    """Build a run's opponent as the last checkpoint left it; None where it has not played yet.

    The averages of the objective's balancer come back with it, and an encoder that the second
    stage froze is frozen.

    Args:
        run: the run.
        autoencoder: its model.
        objective: its objective.

    Raises:
        RunError: when the checkpoint is damaged or belongs to another discriminator.
    """
    last = run.folder.checkpoints / "last"
    if run.recipe.adversary is None or not last.is_dir():
        return None
    import torch

    from pellucid.build.adversary import build_adversary
    from pellucid.training.checkpoint import read_checkpoint  # brings Lightning
    from pellucid.training.freezing import freeze_encoder
    from pellucid.training.opponent import Opponent

    adversary = build_adversary(run.recipe)
    assert adversary is not None
    checkpoint = read_checkpoint(last)
    if checkpoint["progress"]["step"] <= adversary.start_step or "adversary" not in checkpoint:
        return None
    opponent = Opponent(
        adversary,
        steps=adversary.start_step + 1,
        warmup_steps=0,
        final_learning_rate=1.0,  # forks are short: they need the rate training had, not its end
        accumulate=1,
        precision="float32",
    )
    opponent.prepare(torch.device("cpu"), checkpoint["adversary"])
    prefix = "objective."
    stored = checkpoint["state_dict"].items()
    objective.load_state_dict(
        {name.removeprefix(prefix): value for name, value in stored if name.startswith(prefix)}
    )
    if adversary.freeze_encoder:
        freeze_encoder(autoencoder)
    return opponent


def observed(opponent: Opponent, step: int) -> Rival:
    """Return the opponent as it judges at `step`, without learning."""

    def rival(x_hat: Tensor, target: Tensor):
        return opponent.contest(x_hat, target, step=step, learns=False)

    return rival


def real_step(
    run: Run,
    autoencoder: Autoencoder,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    opponent: Opponent,
    taken: int,
) -> Callable[[Tensor], None]:
    """Return x → one optimisation step of both players, as after `taken` steps of training."""
    from pellucid.training.fit import fit
    from pellucid.training.plain_step import plain_step

    clip_norm = run.recipe.training.get(
        "clip_norm", inspect.signature(fit).parameters["clip_norm"].default
    )
    # from where training stands, at the start of a period, where the discriminator learns
    settings = opponent.adversary
    periods = -(-(taken - settings.start_step) // settings.period)
    steps = itertools.count(settings.start_step + periods * settings.period)

    def step(x: Tensor) -> None:
        plain_step(
            autoencoder,
            objective,
            optimizer,
            [{"x": x, "target": x}],
            accumulate=1,
            precision="float32",
            clip_norm=clip_norm,
            opponent=opponent,
            step=next(steps),
        )

    return step
