"""Two faults at once in one speech model; both have to be found."""

from __future__ import annotations

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.codebook import collapsed, gain_of_path, quantizer
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import both, codes_used, measures
from benchmarks.faults.convolutional.training import copied, fine_tune, specimen
from benchmarks.faults.waveforms.level import Shift, mean_share, shift_wins


def counted_levels_and_offset(healthy: Trained, seed: int) -> Specimen:
    """A straight-through per level, and a drifted last bias."""
    model = copied(healthy)
    quantizer(model).gradient = "per level"
    fine_tune(healthy, model, seed, steps=60)
    with torch.no_grad():
        model.last_layer.bias += 0.6 * healthy.train.std()
    return specimen(healthy, model)


def late_and_collapsed(healthy: Trained, seed: int) -> Specimen:
    """Codebooks that never started, behind a decoder that is five samples late."""
    model = collapsed(healthy, seed).model
    assert isinstance(model, Autoencoder)
    model.decoder = Shift(5, model.decoder)
    return specimen(healthy, model)


_GAIN = measures("gain of the straight-through path", gain_of_path, 0.5, 1.5)
_LATE = measures("dB won by a shift", shift_wins, None, 0.3)


DOUBLES = [
    Mutant(
        "wave-codec/straight-through+dc-offset",
        "wave-codec",
        ("straight-through-gain", "dc-offset"),
        counted_levels_and_offset,
        both(_GAIN, measures("share of DC in the output's energy", mean_share, None, 0.02)),
        plants=("straight-through-gain", "dc-offset"),
    ),
    Mutant(
        "wave-codec/misalignment+codebook-collapse",
        "wave-codec",
        ("misalignment", "codebook-collapse"),
        late_and_collapsed,
        both(_LATE, measures("share of codes used at the worst level", codes_used, 0.3, None)),
        plants=("misalignment", "codebook-collapse"),
    ),
]
