"""Convolutions over time that give the same numbers at once or chunk by chunk.

A causal layer looks only back, so a chunk needs no future: it carries the last inputs (or the
overlapping tail of its output) as *state*. The state before the first chunk is silence, which is
what zero padding is.

Shape letters: B batch, C channels, T samples, F = T / stride frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as with_weight_norm

State = Tensor | None


class Conv1d(nn.Module):
    """Convolve (B, in, T) to (B, out, T / stride), padded with zeros.

    Causal: all (kernel − 1)·dilation + 1 − stride padding lies before the first sample, so output f
    sees input up to (f + 1)·stride − 1 only. Otherwise it lies on both sides, one more before.

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel: taps, at least `stride`.
        stride: samples per output.
        dilation: samples between taps.
        causal: look only back.
        bias: add one number per channel.
        weight_norm: learn direction and length of each kernel apart (Salimans & Kingma 2016).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = True,
        bias: bool = True,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(
            in_channels, out_channels, kernel, stride=stride, dilation=dilation, bias=bias
        )
        self.conv = with_weight_norm(conv) if weight_norm else conv
        padding = (kernel - 1) * dilation + 1 - stride
        self.after = 0 if causal else padding // 2
        self.before = padding - self.after

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return (B, out, T / stride); T is a multiple of the stride."""
        return self.conv(F.pad(x_BCT, (self.before, self.after)))

    def stream(self, x_BCT: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the next outputs, and the inputs that later ones still need.

        Args:
            x_BCT: the next chunk, a multiple of the stride long.
            state: what the chunk before returned; None at the start.
        """
        if state is None:
            state = x_BCT.new_zeros(*x_BCT.shape[:2], self.before)
        joined = torch.cat([state, x_BCT], -1)
        return self.conv(joined), joined[..., joined.shape[-1] - self.before :]


class ConvTranspose1d(nn.Module):
    """Spread (B, in, F) to (B, out, F·stride) by a transposed convolution.

    Causal: frame f reaches samples f·stride … f·stride + kernel − 1, and what runs over the end is
    cut. Otherwise the overhang of kernel − stride is cut on both sides, one more at the end.

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel: taps; a multiple of `stride` gives every output equally many.
        stride: samples per frame.
        causal: reach only forward.
        bias: add one number per channel.
        weight_norm: as in `Conv1d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int,
        causal: bool = True,
        bias: bool = True,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride, bias=False)
        self.conv = with_weight_norm(conv, dim=1) if weight_norm else conv
        # The convolution's own bias would be added twice where chunks overlap.
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.overhang = kernel - stride
        self.before = 0 if causal else self.overhang // 2

    def forward(self, x_BCF: Tensor) -> Tensor:
        """Return (B, out, F·stride)."""
        y = self._biased(self.conv(x_BCF))
        return y[..., self.before : y.shape[-1] - self.overhang + self.before]

    def stream(self, x_BCF: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the next outputs, and the tail that the next chunk adds to."""
        y = self.conv(x_BCF)
        if state is not None and self.overhang:
            y = torch.cat([y[..., : self.overhang] + state, y[..., self.overhang :]], -1)
        end = y.shape[-1] - self.overhang
        return self._biased(y[..., :end]), y[..., end:]

    def _biased(self, y_BCT: Tensor) -> Tensor:
        return y_BCT if self.bias is None else y_BCT + self.bias[:, None]
