"""Start waveform networks with activations of unit power, so that they are no near-linear maps.

Recordings have a root mean square of a twentieth, and every convolution of the usual
initialisation shrinks what it gets, so that the deeper layers of a fresh network see small numbers
only, to which their activations answer in proportion.

Source: Salimans & Kingma 2016, "Weight normalization", section 3 (data-dependent initialisation).

Shape letters: N crops, C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder
from pellucid.nn.streaming_conv import Conv1d, ConvTranspose1d

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder

_TINY = 1e-6


@torch.no_grad()
def start_unit_activations(autoencoder: Autoencoder, x_NCT: Tensor, target_NCT: Tensor) -> None:
    """Give every convolution outputs of mean 0 and variance 1 per channel on these crops.

    The encoder's frames have unit variance then, and the decoder's last layer the power of the
    target. Linear paths beside the networks are left as they are.

    Args:
        autoencoder: a SEANet encoder and decoder; changed in place.
        x_NCT: crops of the training split; their length is a multiple of the stride.
        target_NCT: what should come out.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, SEANetEncoder)
    assert isinstance(decoder, SEANetDecoder)
    _normalise(encoder, lambda: encoder(x_NCT))
    z_NDF = autoencoder.encode(x_NCT).mean  # codebooks have not begun
    _normalise(decoder, lambda: decoder(z_NDF))
    _scale(decoder.final, target_NCT.square().mean().sqrt() / decoder.rms)


def _normalise(network: nn.Module, run: Callable[[], Any]) -> None:
    """Run a network once; every convolution is rescaled before the next one sees its output."""
    linear = getattr(network, "linear", None)
    layers = [m for m in network.modules() if isinstance(m, Conv1d | ConvTranspose1d)]
    hooks = [m.register_forward_hook(_rescaled) for m in layers if m is not linear]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


def _rescaled(layer: Any, _: Any, y_NCT: Tensor) -> Tensor:
    """Set a layer's lengths and bias to what makes this output standard; return it so."""
    mean_C = y_NCT.mean((0, 2))
    deviation_C = (y_NCT.var((0, 2), correction=0) + _TINY**2).sqrt()
    bias = _bias(layer)
    if bias is None:
        mean_C = torch.zeros_like(mean_C)
    else:
        bias.sub_(mean_C).div_(deviation_C)
    _scale(layer, 1 / deviation_C)
    return (y_NCT - mean_C[:, None]) / deviation_C[:, None]


def _scale(layer: Any, factor: Tensor) -> None:
    """Multiply a layer's weight by a number, or by one per output channel."""
    output = 1 if isinstance(layer, ConvTranspose1d) else 0
    shape = [1, 1, 1]
    shape[output] = -1
    weights = dict(layer.conv.named_parameters())
    weight = weights.get("parametrizations.weight.original0", weights.get("weight"))
    assert weight is not None
    weight.mul_(factor.reshape(shape) if factor.ndim else factor)


def _bias(layer: Any) -> Tensor | None:
    return layer.bias if isinstance(layer, ConvTranspose1d) else layer.conv.bias
