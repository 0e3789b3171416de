"""Images: trained bases, what is done to them, and healthy controls."""

from benchmarks.faults.images import (
    bases_codes,
    bases_vae,
    mutants_adversary,
    mutants_artefacts,
    mutants_codes,
    mutants_generalisation,
    mutants_quantizer,
    mutants_rate,
    mutants_training,
    mutants_units,
    mutants_wiring,
)
from benchmarks.faults.images.controls import CONTROLS
from benchmarks.faults.images.doubles import DOUBLES

__all__ = ["BASES", "CONTROLS", "DOUBLES", "MUTANTS"]

BASES = [*bases_vae.BASES, *bases_codes.BASES]
MUTANTS = [
    *mutants_units.MUTANTS,
    *mutants_wiring.MUTANTS,
    *mutants_quantizer.MUTANTS,
    *mutants_training.MUTANTS,
    *mutants_generalisation.MUTANTS,
    *mutants_rate.MUTANTS,
    *mutants_codes.MUTANTS,
    *mutants_artefacts.MUTANTS,
    *mutants_adversary.MUTANTS,
]
