"""Channel stacks of the mutant bench: real multiplexed tissue, really trained models."""

from __future__ import annotations

from benchmarks.faults.contract import Mutant
from benchmarks.faults.convolutional import ceilings, codebook, measurement, optimisation, posterior
from benchmarks.faults.stacks import bases, channels, controls, permuted
from benchmarks.faults.stacks.doubles import DOUBLES

BASES = [*bases.BASES, *permuted.BASES]
CONTROLS = [*controls.CONTROLS, *permuted.CONTROLS]
MUTANTS: list[Mutant] = [
    *channels.mutants("stack-ae"),
    *measurement.mutants("stack-ae"),
    *optimisation.mutants("stack-ae"),
    *posterior.mutants("stack-vae", starving=150, coarse=4.0, floor_beta=300),
    *codebook.mutants("stack-vq"),
    ceilings.renderer("stack-ae"),
    ceilings.goal("stack-vq", 30),
    *permuted.MUTANTS,
]

__all__ = ["BASES", "CONTROLS", "DOUBLES", "MUTANTS"]
