"""Two faults in one model: both must be said, the one earlier in precedence first.

A planted fault that the catalogue folds under the other counts when listed as its consequence.
"""

from __future__ import annotations

import dataclasses

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.mutants_codes import bad_start, dead_codes
from benchmarks.faults.images.mutants_generalisation import shared_samples, validation_in_train
from benchmarks.faults.images.mutants_rate import heavier
from benchmarks.faults.images.mutants_training import (
    average_never_updated,
    modes_differ,
    stale_statistics,
)
from benchmarks.faults.images.mutants_units import pairs_are_worse, with_facts
from benchmarks.faults.images.mutants_wiring import is_random
from benchmarks.faults.images.training import specimen, twin
from benchmarks.faults.measure import both, held_out_mse, loses, mean_kl, reconstruct
from torch import Tensor


def altered(made: Specimen, alter) -> Specimen:
    """Put something between the decoder and its user."""
    decode = made.subject.decode
    changed = with_facts(made, decode=lambda z: alter(decode(z)))
    assert made.validation is not None
    mse = held_out_mse(changed.subject, made.validation)
    return dataclasses.replace(changed, mse=mse)


def starved_in_other_units(healthy: Trained, seed: int) -> Specimen:
    """The KL is weighted twentyfold, and outputs are in [−1, 1] where data are in [0, 1]."""
    return altered(heavier(20)(healthy, seed), lambda y: 2 * y - 1)


def noisy_and_swapped(healthy: Trained, seed: int) -> Specimen:
    """Dropout noise is left on in the decoder, and red and blue are exchanged."""
    model = twin(healthy)

    def alter(y: Tensor) -> Tensor:
        return (y + 0.15 * torch.randn_like(y)).flip(1)

    return altered(specimen(model, healthy), alter)


def collapsed_codes_unpaired(healthy: Trained, seed: int) -> Specimen:
    """A codebook that started badly, scored against a reshuffled loader."""
    made = bad_start(healthy, seed)
    assert made.validation is not None
    outputs = reconstruct(made.subject, made.validation)
    return with_facts(made, pairs=(made.validation, outputs.roll(17, 0)))


def stale_statistics_and_leak(healthy: Trained, seed: int) -> Specimen:
    """BatchNorm's statistics never caught up, and validation images are among the training ones."""
    made = stale_statistics(healthy, seed)
    return dataclasses.replace(made, train=validation_in_train(healthy, seed).train)


def swapped_with_stale_average(healthy: Trained, seed: int) -> Specimen:
    """Averages never updated, red and blue exchanged."""
    return altered(average_never_updated(healthy, seed), lambda y: y.flip(1))


def fewer_nats(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """KL by the closed form, in both models."""
    before, after = mean_kl(healthy), mean_kl(mutant)
    return 0.5 < after < before / 1.3, f"{after:.3g} nats, healthy {before:.3g}"


# fmt: off
DOUBLES = [
    Mutant("digits-vae/units+starvation", "digits-vae", ("range-mismatch", "rate-starvation"),
           starved_in_other_units, both(loses(3), fewer_nats),
           plants=("range-mismatch", "rate-starvation"), forbidden=("posterior-collapse",)),
    Mutant("cifar-vae/noise+bgr", "cifar-vae", ("channel-order", "random-decoder"),
           noisy_and_swapped, both(loses(1), is_random),
           plants=("channel-order", "random-decoder")),
    Mutant("cifar-vq/unpaired+dead-codes", "cifar-vq", ("unpaired-evaluation", "codebook-collapse"),
           collapsed_codes_unpaired, both(pairs_are_worse, dead_codes),
           plants=("unpaired-evaluation", "codebook-collapse")),
    Mutant("cifar-batchnorm/statistics+leak", "cifar-batchnorm", ("batchnorm-gap", "split-leak"),
           stale_statistics_and_leak, both(modes_differ, shared_samples),
           plants=("batchnorm-gap", "split-leak")),
    Mutant("cifar-sigmoid/bgr+stale-average", "cifar-sigmoid", ("channel-order", "stale-ema"),
           swapped_with_stale_average, loses(1), plants=("channel-order", "stale-ema")),
]
