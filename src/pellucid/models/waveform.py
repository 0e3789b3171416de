"""Waveforms of any length through a codec: to codes and back, at once or as they arrive.

Shape letters: C channels, T samples, F frames, L residual levels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.bottlenecks import RVQ
from pellucid.bottlenecks.frozen_rvq import FrozenRVQ
from pellucid.errors import PellucidError
from pellucid.functional.padding import round_up
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn.row_stream import RowStream
from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder


@torch.no_grad()
def reconstruct_waveform(autoencoder: Autoencoder, x_BCT: Tensor) -> Tensor:
    """Return decode(encode(x)), as long as x: the last frame is filled with silence and cut again.

    Raises:
        PellucidError: when x is no batch of waveforms with the model's channels, or empty.
    """
    length = _length(x_BCT)
    padded = F.pad(x_BCT, (0, round_up(length, autoencoder.stride) - length))
    return autoencoder.decode(autoencoder.encode(padded))[..., :length]


@torch.no_grad()
def encode_waveform(autoencoder: Autoencoder, x_CT: Tensor, *, levels: int | None = None) -> Tensor:
    """Return the codes (F, L) of one waveform; F = ⌈T / stride⌉.

    Args:
        autoencoder: with codes.
        x_CT: (C, T).
        levels: residual levels to write; None writes all.

    Raises:
        PellucidError: when the model has no codes, or not so many levels.
    """
    length = _length(x_CT[None])
    padded = F.pad(x_CT[None], (0, round_up(length, autoencoder.stride) - length))
    with _evaluating(autoencoder):
        return _codes(autoencoder, autoencoder.encoder(padded), levels)


@torch.no_grad()
def decode_waveform(autoencoder: Autoencoder, codes_FL: Tensor, length: int) -> Tensor:
    """Return (C, T) samples of codes (F, L).

    Args:
        autoencoder: the model that wrote them.
        codes_FL: integers; fewer levels than the model has are a lower bit rate.
        length: T; must lie in the last frame.

    Raises:
        PellucidError: for a length that the frames do not give, or codes out of range.
    """
    frames, stride = codes_FL.shape[0], autoencoder.stride
    if round_up(length, stride) != frames * stride or length < 1:
        raise PellucidError(
            "the length does not fit the codes",
            expected=f"{(frames - 1) * stride + 1} … {frames * stride} samples for {frames} frames",
            found=length,
        )
    return autoencoder.decode_codes(_arranged(autoencoder, codes_FL))[0, :, :length]


class WaveEncoderStream:
    """Encode a waveform as it arrives; the codes are those of the whole.

    Args:
        autoencoder: causal, with codes; used in evaluation mode, with the weights it has now.
        levels: residual levels to write; None writes all.

    Raises:
        PellucidError: when the encoder cannot stream.
    """

    def __init__(self, autoencoder: Autoencoder, *, levels: int | None = None) -> None:
        self.autoencoder, self.levels = autoencoder, levels
        encoder, bottleneck = autoencoder.encoder, autoencoder.bottleneck
        if not isinstance(encoder, SEANetEncoder) or not encoder.causal:
            raise _cannot_stream(encoder)
        self._encoder = RowStream(encoder)
        self._rvq = FrozenRVQ(bottleneck) if isinstance(bottleneck, RVQ) else None
        self._rest = torch.zeros(autoencoder.in_channels, 0)
        self.length = 0

    def push(self, x_CT: Tensor) -> Tensor:
        """Return the codes (F, L) of all frames that are complete now; F may be 0."""
        self.length += x_CT.shape[-1]
        return self._encode(torch.cat([self._rest.to(x_CT), x_CT.detach()], -1))

    def finish(self) -> Tensor:
        """Return the codes of the last frame, filled with silence; none when nothing is left."""
        missing = -self._rest.shape[-1] % self.autoencoder.stride
        return self._encode(F.pad(self._rest, (0, missing)))

    @torch.no_grad()
    def _encode(self, waiting_CT: Tensor) -> Tensor:
        stride = self.autoencoder.stride
        whole = waiting_CT.shape[-1] // stride * stride
        self._rest = waiting_CT[:, whole:]
        if not whole:
            levels = self.levels or _levels(self.autoencoder)
            return torch.zeros(0, levels, dtype=torch.int64)
        h_FC = self._encoder.push(waiting_CT[:, :whole].T)
        if self._rvq is not None:
            return self._rvq.encode(h_FC, self.levels).clone()
        with _evaluating(self.autoencoder.bottleneck):
            return _codes(self.autoencoder, h_FC.T[None].clone(), self.levels)


class WaveDecoderStream:
    """Decode frames as they arrive; the samples are those of the whole.

    Args:
        autoencoder: causal, with codes; used in evaluation mode, with the weights it has now.

    Raises:
        PellucidError: when the decoder cannot stream.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder
        decoder, bottleneck = autoencoder.decoder, autoencoder.bottleneck
        if not isinstance(decoder, SEANetDecoder) or not decoder.causal:
            raise _cannot_stream(decoder)
        self._decoder = RowStream(decoder)
        self._rvq = FrozenRVQ(bottleneck) if isinstance(bottleneck, RVQ) else None

    @torch.no_grad()
    def push(self, codes_FL: Tensor) -> Tensor:
        """Return the (C, F · stride) samples of the next frames."""
        if not len(codes_FL):
            return torch.zeros(self.autoencoder.out_channels, 0)
        if self._rvq is not None:
            z_FC = self._rvq.decode(codes_FL)
        else:
            arranged = _arranged(self.autoencoder, codes_FL)
            z_FC = self.autoencoder.bottleneck.decode_codes(arranged)[0].T
        # A clone made here is an ordinary tensor again, which may be written to.
        return self._decoder.push(z_FC).T.clone()


def _cannot_stream(network: object) -> PellucidError:
    return PellucidError(
        "this model cannot work chunk by chunk",
        expected="a causal encoder and decoder (kind: seanet, causal: true)",
        found=type(network).__name__,
    )


def _codes(autoencoder: Autoencoder, h_BCF: Tensor, levels: int | None) -> Tensor:
    """Return the codes (F, L) of one waveform's features."""
    bottleneck = autoencoder.bottleneck
    if isinstance(bottleneck, RVQ):
        return bottleneck.encode_codes(h_BCF, levels=levels or bottleneck.levels)[0]
    if bottleneck.residual_levels is not None:
        codes = bottleneck(h_BCF, levels=levels or bottleneck.residual_levels).latent.codes
    elif levels not in (None, 1):
        raise PellucidError("this model has one level", expected="1", found=levels)
    else:
        codes = bottleneck(h_BCF).latent.codes
    if codes is None:
        raise PellucidError(
            "this model has no codes", expected="a quantising bottleneck", found=type(bottleneck)
        )
    return codes[0] if codes.ndim == 3 else codes[0, :, None]


def _levels(autoencoder: Autoencoder) -> int:
    return autoencoder.bottleneck.residual_levels or 1


def _arranged(autoencoder: Autoencoder, codes_FL: Tensor) -> Tensor:
    """Return codes as the bottleneck wants them: (1, F, L), or (1, F) for one level."""
    codes = codes_FL[None]
    return codes[..., 0] if autoencoder.bottleneck.residual_levels is None else codes


def _length(x_BCT: Tensor) -> int:
    if x_BCT.ndim != 3 or not x_BCT.shape[-1]:
        raise PellucidError(
            "waveforms are needed", expected="(batch, channels, samples)", found=tuple(x_BCT.shape)
        )
    return x_BCT.shape[-1]


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode: no statistics may move while coding."""
    training = [part for part in module.modules() if part.training]
    try:
        module.eval()
        yield
    finally:
        for part in training:
            part.training = True
