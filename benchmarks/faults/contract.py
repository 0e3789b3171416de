"""What the bench is made of: trained bases, mutants with an independent proof, healthy controls.

Shapes: images (N, C, H, W), waveforms (N, 1, T), stacks (N, C, H, W) with many channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from pellucid.diagnosis import Subject

Family = Literal["images", "waveforms", "stacks"]

CALIBRATION_SEEDS = (1, 2, 3)
TEST_SEEDS = (101, 102, 103)


@dataclasses.dataclass
class Trained:
    """A model that really was trained, with all that is needed to mutate and diagnose it.

    Args:
        model: an nn.Module with `encode(x)`, `decode(z)` and `loss_terms(x) -> {name: scalar}`.
        train: training samples.
        validation: held-out samples.
        learning_rate: what it was trained with (Adam).
        facts: further keywords of `Subject`: value_range, sample_rate, kl_weight, codebook …
    """

    model: Any
    train: Tensor
    validation: Tensor
    learning_rate: float
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Specimen:
    """What `diagnose` is handed.

    Args:
        subject: the model and whatever its user would hand over.
        train: training samples.
        validation: held-out samples.
        goal: the user's goal, or None.
        mse: held-out mean squared error, as the user would measure it.
        model: the mutated module, for independent proofs.
    """

    subject: Subject
    train: Tensor
    validation: Tensor | None
    mse: float
    goal: str | None = None
    model: nn.Module | None = None


@dataclasses.dataclass(frozen=True)
class Base:
    """A healthy model of one family, trained once per seed and cached.

    Args:
        name: e.g. "digits-vae".
        family: kind of data.
        train: seed -> Trained; deterministic, a minute or two at most on one thread.
        build: seed -> Trained, the same without training: what cached weights are loaded into. A
            base without it is trained afresh by every process.
    """

    name: str
    family: Family
    train: Callable[[int], Trained]
    build: Callable[[int], Trained] | None = None


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault put into a base.

    Args:
        name: unique, e.g. "digits-vae/rate-starvation".
        base: name of its base.
        expects: catalogue ids that count as right; the first is the planted one, others are listed
            only where the catalogue itself makes them equivalent. A double fault plants `plants`.
        make: (healthy, seed) -> Specimen; mutates a copy and fine-tunes it shortly.
        sick: (healthy specimen, mutant specimen) -> (is it sick, the independent measurement in
            words). A mutant that is not verified sick does not count.
        forbidden: ids that must not be asserted (rate starvation is never called collapse).
        plants: for double faults, all the planted ids; recall then counts each.
        black_box: diagnose it from encode, decode and data alone.
        quick: part of `--quick`.
    """

    name: str
    base: str
    expects: tuple[str, ...]
    make: Callable[[Trained, int], Specimen]
    sick: Callable[[Specimen, Specimen], tuple[bool, str]]
    forbidden: tuple[str, ...] = ()
    plants: tuple[str, ...] = ()
    black_box: bool = False
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Control:
    """A healthy model on which nothing may be asserted (`under-training` aside, where declared).

    Args:
        name: unique.
        family: kind of data.
        make: seed -> Specimen.
        may_assert: ids that may be asserted without being a false alarm ("under-training" for a
            young model).
        must_assert: ids that must be asserted (a young model is under-trained, and says so).
        quick: part of `--quick`.
    """

    name: str
    family: Family
    make: Callable[[int], Specimen]
    may_assert: tuple[str, ...] = ()
    must_assert: tuple[str, ...] = ()
    quick: bool = False
