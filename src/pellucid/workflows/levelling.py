"""Undo the loss of level that a waveform decoder learns, answering softly what it cannot know.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.metrics.waveform_errors import level_error
from pellucid.models.waveform import reconstruct_waveform
from pellucid.nn.seanet import SEANetDecoder

if TYPE_CHECKING:
    from pellucid.workflows.run import Run

_MOST_DB = 3.0
"""More is no shrinkage but a fault, which nobody should hide."""


def level_lost(run: Run) -> float:
    """Return the mean level error in dB of the validation clips, as far as it may be undone.

    0 for models other than waveform decoders that end in a convolution.
    """
    autoencoder = run.load()
    decoder = autoencoder.decoder
    if not isinstance(decoder, SEANetDecoder) or decoder.head != "none":
        return 0.0
    data: Any = run.data()
    errors = []
    for number in range(len(data.validation.clips)):
        _, x_CT = data.validation.whole(number)
        x_hat_CT = reconstruct_waveform(autoencoder, x_CT[None])[0]
        errors.append(level_error(x_hat_CT.mean(0).numpy(), x_CT.mean(0).numpy()))
    errors = [error for error in errors if math.isfinite(error)]
    if not errors:
        return 0.0
    return max(-_MOST_DB, min(_MOST_DB, sum(errors) / len(errors)))


def levelled(
    tensors: dict[str, Tensor], autoencoder: nn.Module, lost_db: float
) -> dict[str, Tensor]:
    """Return weights whose output is louder by what was lost: of the last layer and a linear path.

    Args:
        tensors: of the model, by name.
        autoencoder: the model, for the names of its layers.
        lost_db: level error in dB.
    """
    if not lost_db:
        return tensors
    factor = 10 ** (-lost_db / 20)
    scaled = dict(tensors)
    for name, _ in autoencoder.named_parameters():
        last = name.startswith(("decoder.final.", "decoder.linear."))
        if last and not name.endswith("original1"):  # the direction of a normalised weight
            scaled[name] = tensors[name] * factor
    return scaled
