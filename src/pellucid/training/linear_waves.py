"""Start a waveform model with linear paths as a transform coder of its data.

Shape letters: N crops, T samples, S samples of a frame, F frames, D latent channels, R frames of
all crops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder

_SHAPING = 0.25
"""Components are divided by λ^this, λ their variance: noise that a quantiser adds alike to all
follows the spectrum by half in dB, as weighting filters of speech coders have it (γ ≈ ½)."""
_RIDGE = 1e-4  # of the mean diagonal
_SOFT = 0.1


@torch.no_grad()
def start_linear_waves(autoencoder: Autoencoder, x_NCT: Tensor, target_NCT: Tensor) -> None:
    """Set the linear paths to principal components and least squares, the networks to a tenth.

    Args:
        autoencoder: a SEANet encoder and decoder with `linear`, whose layers have unit power;
            changed in place.
        x_NCT: crops of the training split; their length is a multiple of the stride.
        target_NCT: what should come out.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, SEANetEncoder)
    assert encoder.linear is not None
    assert isinstance(decoder, SEANetDecoder)
    assert decoder.linear is not None
    for network in (encoder.end[-1], decoder.final):
        _quieten(network)
    _principal_components(encoder.linear.conv, x_NCT / encoder.rms)
    z_NDF = autoencoder.encode(x_NCT).mean  # codebooks have not begun
    _least_squares(decoder.linear.conv, z_NDF, target_NCT / decoder.rms)


def _quieten(network: nn.Module) -> None:
    """Let a convolution speak softly.

    Not silently: under weight norm a kernel of length zero passes no gradient to its direction,
    and a length whose direction cannot turn stays near zero for ever.
    """
    for name, parameter in network.named_parameters():
        if not name.endswith("original1"):  # a direction
            parameter.mul_(_SOFT)


def _principal_components(conv: nn.Module, x_NCT: Tensor) -> None:
    """Set a frame convolution to shaped principal components of frames, of mean square 1."""
    assert isinstance(conv, nn.Conv1d)
    frame = conv.kernel_size[0]
    rows_RS = x_NCT.unfold(-1, frame, frame).transpose(1, 2).flatten(0, 1).flatten(1).double()
    values, vectors = torch.linalg.eigh(rows_RS.T @ rows_RS / len(rows_RS))
    count = min(conv.out_channels, values.numel())
    variances = values.flip(0)[:count].clamp_min(1e-12)
    scale = variances.pow(-_SHAPING)
    scale = scale / (variances * scale.square()).mean().sqrt()
    axes_DS = vectors.flip(1)[:, :count].T * scale[:, None]
    conv.weight.zero_()
    conv.weight[:count] = axes_DS.reshape(count, *conv.weight.shape[1:]).to(conv.weight)
    if conv.bias is not None:
        conv.bias.zero_()


def _least_squares(conv: nn.Module, z_NDF: Tensor, target_NCT: Tensor) -> None:
    """Set a transposed convolution to predict each frame's samples from its own and the last z."""
    assert isinstance(conv, nn.ConvTranspose1d)
    frame = conv.stride[0]
    target = target_NCT.unfold(-1, frame, frame).transpose(1, 2).flatten(2)
    both = torch.cat([z_NDF, F.pad(z_NDF, (1, 0))[..., :-1]], 1).transpose(1, 2)
    columns, goal = both.flatten(0, 1).double(), target.flatten(0, 1).double()
    gram = columns.T @ columns
    gram.diagonal().add_(_RIDGE * float(gram.diagonal().mean()))
    weight = torch.linalg.solve(gram, columns.T @ goal).unflatten(0, (2, -1))
    channels = conv.out_channels
    taps = weight.unflatten(-1, (channels, frame)).permute(1, 2, 0, 3).flatten(2)
    conv.weight.copy_(taps.to(conv.weight))
