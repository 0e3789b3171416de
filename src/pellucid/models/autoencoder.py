"""Autoencoder: encoder + bottleneck + decoder; a permuter around them where order is free, and a
postfilter behind them where one was fitted.

Shape letters: B batch, C channels, H height, W width, P positions (any number of axes).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.errors import PellucidError, RecipeError
from pellucid.nn.permuters.contract import Arranged, Permuter
from pellucid.nn.postfilter import Postfilter
from pellucid.records import Latent, Penalty


@dataclasses.dataclass(frozen=True)
class AutoencoderOutput:
    """What an autoencoder returns for one batch.

    Args:
        x_hat: the reconstruction, shaped as x, float32, in the run's value range.
        z: (B, out_channels, P...) what the decoder received.
        latent: mean, log-variance, codes and quantised latent.
        penalties: named differentiable scalars of bottleneck and permuter.
        metrics: named detached measurements of bottleneck and permuter.
        h: (B, channels, P...) what the encoder returned.
    """

    x_hat: Tensor
    z: Tensor
    latent: Latent
    penalties: dict[str, Penalty]
    metrics: dict[str, Tensor]
    h: Tensor


class Autoencoder(nn.Module):
    """Join three live parts that fit each other.

    Args:
        encoder: has `in_channels`, `channels`, `stride`; x (B, C, H, W) → h.
        bottleneck: h → what the decoder receives, with codes and penalties.
        decoder: has `in_channels`, `out_channels`, `stride`; z → x_hat.
        permuter: brings x into canonical order before the encoder and x_hat back after the
            decoder; None leaves both alone.
        postfilter: filters what `decode` returns; training (`forward`) goes without it.

    Raises:
        RecipeError: when channels or strides of neighbours differ.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        permuter: Permuter | None = None,
        postfilter: Postfilter | None = None,
    ) -> None:
        super().__init__()
        _check_fit("encoder.channels", encoder, "bottleneck.channels", bottleneck)
        _check_fit("bottleneck.out_channels", bottleneck, "decoder.in_channels", decoder)
        _check_fit("encoder.stride", encoder, "decoder.stride", decoder)
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder
        self.permuter = permuter
        self.postfilter = postfilter
        self.in_channels: int = _member(encoder, "in_channels")
        self.out_channels: int = _member(decoder, "out_channels")
        self.stride: int = _member(encoder, "stride")

    def forward(self, x: Tensor) -> AutoencoderOutput:
        """Reconstruct a batch as training sees it, without the postfilter.

        In train mode the bottleneck samples and updates its statistics.
        """
        arranged = self.arrange(x)
        h = self.encoder(arranged.x)
        out = self.squeezed(h, arranged.x)
        x_hat = self._restored(self.written(out.z, out.latent.told), arranged.pose)
        return AutoencoderOutput(
            x_hat,
            out.z,
            dataclasses.replace(out.latent, pose=arranged.pose),
            out.penalties | arranged.penalties,
            out.metrics | arranged.metrics,
            h,
        )

    def squeezed(self, h: Tensor, x: Tensor) -> BottleneckOutput:
        """Return what the bottleneck makes of features of (arranged) x."""
        del x
        return self.bottleneck(h)

    def written(self, z: Tensor, told: Tensor | None) -> Tensor:
        """Return x_hat of what the decoder receives and is told, in canonical order."""
        del told
        return self.decoder(z)

    def compared(self, x_hat: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what an objective compares: both as they are, where every element counts."""
        return x_hat, target

    def arrange(self, x: Tensor) -> Arranged:
        """Return x in canonical order, in its own precision; x itself without a permuter."""
        if self.permuter is None:
            return Arranged(x, None)
        with torch.autocast(x.device.type, enabled=False):
            return self.permuter(x)

    def encode(self, x: Tensor) -> Latent:
        """Return the latent as evaluated: mean or nearest codes, no sampling, no update.

        The same in train and eval mode; buffers and modes are left as they were. Gradients flow.
        """
        with evaluating(self):
            arranged = self.arrange(x)
            latent = self.squeezed(self.encoder(arranged.x), arranged.x).latent
        return latent if arranged.pose is None else dataclasses.replace(latent, pose=arranged.pose)

    def decode(self, z: Latent | Tensor) -> Tensor:
        """Return the reconstruction of a latent: its quantised values when it has them.

        Args:
            z: a `Latent`, or a tensor (B, out_channels, P...) in the decoder's space. Only a
                `Latent` knows its pose; a bare tensor comes out in canonical order.
        """
        pose = told = None
        if isinstance(z, Latent):
            pose, told = z.pose, z.told
            z = z.mean if z.quantized is None else z.quantized
        with evaluating(self):
            return self.finished(self._restored(self.written(z, told), pose))

    def finished(self, x_hat: Tensor) -> Tensor:
        """Return what leaves the model: x_hat, filtered where there is a postfilter."""
        return x_hat if self.postfilter is None else self.postfilter(x_hat)

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return the reconstruction of integer codes (B, P...[, L]).

        Raises:
            PellucidError: when the bottleneck has no codes, or a code is out of range.
        """
        return self.decode(self.bottleneck.decode_codes(codes))

    def at_step(self, step: int) -> None:
        """Set every schedule to optimiser step `step`; called before every training step."""
        if hasattr(self.encoder, "at_step"):  # staged freezing
            self.encoder.at_step(step)  # pyright: ignore[reportCallIssue]
        self.bottleneck.at_step(step)
        if self.permuter is not None:
            self.permuter.at_step(step)

    def _restored(self, x_hat: Tensor, pose: Tensor | None) -> Tensor:
        if self.permuter is None or pose is None:
            return x_hat
        with torch.autocast(x_hat.device.type, enabled=False):
            return self.permuter.restore(x_hat, pose)

    def parameter_count(self) -> int:
        """Return how many numbers are learned by gradient (buffers such as EMA codes excluded)."""
        return sum(parameter.numel() for parameter in self.parameters())


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold every submodule in eval mode and give each its own mode back."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _member(part: nn.Module, name: str) -> int:
    value = getattr(part, name, None)
    if not isinstance(value, int):
        raise PellucidError(
            f"{type(part).__name__} does not say its {name}",
            expected="the attributes of docs/architecture.md, 'The contracts between rooms'",
        )
    return value


def _check_fit(left_name: str, left: nn.Module, right_name: str, right: nn.Module) -> None:
    found_left = _member(left, left_name.split(".")[1])
    found_right = _member(right, right_name.split(".")[1])
    if found_left != found_right:
        raise RecipeError(
            f"{left_name} and {right_name} must be equal",
            where=f"{type(left).__name__} → {type(right).__name__}",
            found=f"{left_name} = {found_left}, {right_name} = {found_right}",
            hint=f"set {right_name} to {found_left}, or {left_name} to {found_right}",
        )
