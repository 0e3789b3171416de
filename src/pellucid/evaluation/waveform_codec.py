"""A model as a codec of whole clips: its output, its codes, and the bits of its files.

Shape letters: T samples, F frames, L residual levels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pellucid.bitstream import ContextTables, Stream, fingerprint, pack, payload_of
from pellucid.errors import PellucidError
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.folding import folded
from pellucid.models.receptive_field import receptive_field
from pellucid.models.waveform import decode_waveform, encode_waveform, reconstruct_waveform

_TIMED = 3
"""Passes timed; the fastest counts, since anything else on the machine only adds."""


@dataclasses.dataclass(frozen=True)
class CodedClip:
    """What the model made of one clip.

    Args:
        x_hat_T: (T,) float32.
        codes_FL: integers, None for a model without codes.
        file_bits: of its `.plc` file, None without codes.
        payload_bits: of the codes alone, None without codes.
    """

    x_hat_T: np.ndarray
    codes_FL: Tensor | None = None
    file_bits: int | None = None
    payload_bits: int | None = None


class WaveformCodec:
    """Code whole clips.

    Args:
        autoencoder: with one channel, on any device; left in its mode.
        sample_rate: in hertz.
        tables: for entropy coding, or None for packed codes.
    """

    def __init__(
        self, autoencoder: Autoencoder, sample_rate: int, tables: ContextTables | None = None
    ) -> None:
        if autoencoder.in_channels != 1:
            raise PellucidError("clips are mono", expected=1, found=autoencoder.in_channels)
        self.autoencoder, self.sample_rate, self.tables = autoencoder, sample_rate, tables
        self.levels = autoencoder.bottleneck.residual_levels or 1
        self.codebook_size = autoencoder.bottleneck.codebook_size
        self._model = fingerprint(autoencoder.state_dict())
        self._device = next(autoencoder.parameters()).device

    def __call__(self, x_T: np.ndarray, *, levels: int | None = None) -> CodedClip:
        """Code and decode one clip.

        Args:
            x_T: (T,) float32 at the model's loudness.
            levels: residual levels to spend; None spends all.

        Raises:
            PellucidError: when the model has not so many levels.
        """
        x_CT = torch.from_numpy(x_T)[None].to(self._device)
        if self.codebook_size is None:
            x_hat = reconstruct_waveform(self.autoencoder, x_CT[None])
            return CodedClip(x_hat[0, 0].float().cpu().numpy())
        codes_FL = encode_waveform(self.autoencoder, x_CT, levels=levels)
        x_hat_CT = decode_waveform(self.autoencoder, codes_FL, len(x_T))
        file = self._file(codes_FL, len(x_T))
        return CodedClip(
            x_hat_CT[0].float().cpu().numpy(), codes_FL, 8 * len(file), 8 * payload_of(file)[0]
        )

    def times_real_time(self, x_T: np.ndarray) -> float:
        """Return seconds of audio per second of one core, coding one clip as `encode` does."""
        x_BCT = torch.from_numpy(x_T)[None, None].to(self._device)
        seconds, model = [], folded(self.autoencoder)
        with _single_thread():
            for _ in range(_TIMED):
                start = time.perf_counter()
                reconstruct_waveform(model, x_BCT)
                if self._device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
        return len(x_T) / self.sample_rate / min(seconds)

    def look_ahead(self) -> int | None:
        """Return how many samples beyond its frame the output waits for; None without an end."""
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        ahead = 0
        for network, unit in ((encoder, 1), (decoder, self.autoencoder.stride)):
            if getattr(network, "causal", False):
                continue
            reach = receptive_field(network)
            if reach is None:
                return None
            ahead += reach * unit
        return ahead

    def _file(self, codes_FL: Tensor, length: int) -> bytes:
        assert self.codebook_size is not None
        codes = codes_FL.cpu().numpy()
        stream = Stream(
            kind="audio",
            shape=(1, length),
            codes=codes,
            codebook_size=self.codebook_size,
            model=self._model,
            sample_rate=self.sample_rate,
        )
        return pack(stream, self.tables)


@contextlib.contextmanager
def _single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
