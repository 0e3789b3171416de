"""Waveforms of the mutant bench: real speech, really trained autoencoders and codecs."""

from __future__ import annotations

from benchmarks.faults.contract import Mutant
from benchmarks.faults.convolutional import ceilings, codebook, measurement, optimisation, posterior
from benchmarks.faults.waveforms import adversarial, bases, level, spectral
from benchmarks.faults.waveforms.controls import CONTROLS
from benchmarks.faults.waveforms.doubles import DOUBLES

BASES = [*bases.BASES, adversarial.GAN]

MUTANTS: list[Mutant] = [
    *level.mutants("wave-ae"),
    *spectral.mutants("wave-ae"),
    *measurement.mutants("wave-codec"),
    *measurement.frozen("wave-ae"),
    measurement.wrong_metric("wave-ae"),
    *optimisation.mutants("wave-ae"),
    optimisation.batchnorm("wave-norm"),
    *posterior.mutants("wave-vae", starving=30, coarse=1.5, floor_beta=30),
    *codebook.mutants("wave-codec"),
    ceilings.renderer("wave-ae"),
    ceilings.goal("wave-codec", 40),
    *adversarial.mutants("wave-gan"),
]

__all__ = ["BASES", "CONTROLS", "DOUBLES", "MUTANTS"]
