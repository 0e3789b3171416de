"""One model as a coder: samples to `.plc` bytes and back.

Shape letters: C channels, T samples, H height, W width, F frames, L residual levels.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.bitstream import ContextTables, Stream, fingerprint, pack, unpack
from pellucid.errors import BitstreamError, DataError, RunError
from pellucid.functional.padding import round_up
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.folding import folded
from pellucid.models.picture import decode_picture, encode_picture
from pellucid.models.waveform import (
    WaveDecoderStream,
    WaveEncoderStream,
    decode_waveform,
    encode_waveform,
)
from pellucid.workflows.run import Run
from pellucid.workflows.shipped_model import default_model

CHUNK_SECONDS = 20
"""Longer waveforms go through a causal model in such chunks, so that memory does not grow."""


@dataclasses.dataclass(frozen=True)
class Coder:
    """Code samples with one model.

    Args:
        name: of the model in messages.
        kind: "audio" or "image".
        autoencoder: with codes; a folded copy of it does the work.
        value_range: the range of its pictures.
        sample_rate: of its audio, in hertz; 0 for images.
        loudness_db: active level it was trained at; None leaves waveforms as they are.
        tables: for entropy coding, or None.
    """

    name: str
    kind: Literal["audio", "image"]
    autoencoder: Autoencoder
    value_range: ValueRange
    sample_rate: int
    loudness_db: float | None
    tables: ContextTables | None
    fingerprint: bytes = dataclasses.field(init=False)
    codebook_size: int = dataclasses.field(init=False)
    levels: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        size, levels = code_space(self.autoencoder, self.name)
        object.__setattr__(self, "codebook_size", size)
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "fingerprint", fingerprint(self.autoencoder.state_dict()))
        object.__setattr__(self, "autoencoder", folded(self.autoencoder))

    @classmethod
    def open(cls, model: str | Path | Run | Coder | None = None) -> Coder:
        """Open a run's model; None takes the one that comes with the package.

        Raises:
            RunError: when it is no run, has no weights, no codes, or unreadable tables.
        """
        from pellucid.build.assemble import data_facts
        from pellucid.data import AudioData

        if isinstance(model, Coder):
            return model
        run = default_model() if model is None else Run.open(model)
        facts = data_facts(run.recipe)
        if facts.value_range is None or (facts.axes == 2 and facts.channels not in (1, 3)):
            raise RunError("only pictures of 1 or 3 channels can be coded", found=facts.channels)
        loudness = inspect.signature(AudioData).parameters["loudness_db"].default
        return cls(
            name=str(run.path),
            kind="audio" if facts.axes == 1 else "image",
            autoencoder=run.load(),
            value_range=facts.value_range,
            sample_rate=facts.sample_rate or 0,
            loudness_db=run.recipe.data.get("loudness_db", loudness),
            tables=read_tables(run),
        )

    @property
    def channels(self) -> int:
        """C."""
        return self.autoencoder.in_channels

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.autoencoder.parameters()).device

    def encode_audio(self, samples_T: np.ndarray, *, levels: int | None = None) -> Stream:
        """Bring a waveform to the model's loudness and code it; the gain goes along, inverted.

        Args:
            samples_T: float32 at `sample_rate`.
            levels: residual levels to write; None writes all.
        """
        from pellucid.data.audio.loudness import active_level_db, gain_to

        self.check("audio", levels)
        gain_db = gain_to(active_level_db(samples_T, self.sample_rate), self.loudness_db)
        scaled_T = samples_T * np.float32(10 ** (gain_db / 20))
        codes_FL = self._codes(torch.from_numpy(scaled_T)[None].to(self.device), levels)
        return Stream(
            kind="audio",
            shape=(1, len(samples_T)),
            codes=codes_FL.numpy(),
            codebook_size=self.codebook_size,
            model=self.fingerprint,
            sample_rate=self.sample_rate,
            gain_db=-gain_db,
        )

    def encode_image(self, pixels_HWC: np.ndarray, *, levels: int | None = None) -> Stream:
        """Code a picture.

        Args:
            pixels_HWC: uint8 with the model's channels.
            levels: residual levels to write; None writes all.
        """
        self.check("image", levels)
        x_CHW = self.value_range.from_uint8(torch.from_numpy(pixels_HWC.copy()).permute(2, 0, 1))
        x_CHW = x_CHW.to(self.device)
        return Stream(
            kind="image",
            shape=tuple(x_CHW.shape),
            codes=encode_picture(self.autoencoder, x_CHW, levels=levels).cpu().numpy(),
            codebook_size=self.codebook_size,
            model=self.fingerprint,
        )

    def decode_audio(self, stream: Stream) -> np.ndarray:
        """Return (T,) float32 at the level of the original; peaks may pass ±1.

        Raises:
            BitstreamError: when the stream does not fit the model.
        """
        self._check_stream(stream, "audio")
        x_CT = self._samples(torch.from_numpy(stream.codes).to(self.device), stream.shape[-1])
        return x_CT[0].numpy() * np.float32(10 ** (stream.gain_db / 20))

    def decode_image(self, stream: Stream) -> np.ndarray:
        """Return (H, W, C) uint8.

        Raises:
            BitstreamError: when the stream does not fit the model.
        """
        self._check_stream(stream, "image")
        _, height, width = stream.shape
        x_CHW = decode_picture(
            self.autoencoder,
            torch.from_numpy(stream.codes).to(self.device),
            height=height,
            width=width,
        )
        return self.value_range.to_uint8(x_CHW).permute(1, 2, 0).cpu().numpy()

    def pack(self, stream: Stream, *, entropy: bool = True) -> bytes:
        """Return the bytes of a stream, entropy-coded where the model has tables and it is shorter.

        Raises:
            MissingExtraError: when entropy coding is not installed.
        """
        return pack(stream, self.tables if entropy else None)

    def unpack(self, data: bytes, *, largest: int = 2**28) -> Stream:
        """Read a stream that this model wrote.

        Raises:
            BitstreamError: when it is damaged or another model's.
        """
        return unpack(data, self.tables, model=self.fingerprint, largest=largest)

    def check(self, kind: str, levels: int | None) -> None:
        """Refuse what this model does not code.

        Raises:
            DataError: for the other kind of data, or levels it does not have.
        """
        if kind != self.kind:
            raise DataError(f"this model codes {self.kind}", where=self.name, found=kind)
        if levels is not None and not 1 <= levels <= self.levels:
            raise DataError(
                "this model does not have so many levels",
                where="levels",
                expected=f"1 … {self.levels}",
                found=levels,
            )

    def _codes(self, x_CT: Tensor, levels: int | None) -> Tensor:
        """Return (F, L), on the CPU."""
        chunk = CHUNK_SECONDS * self.sample_rate
        if x_CT.shape[-1] <= chunk or not _causal(self.autoencoder.encoder):
            return encode_waveform(self.autoencoder, x_CT, levels=levels).cpu()
        encoder = WaveEncoderStream(self.autoencoder, levels=levels)
        parts = [encoder.push(part).cpu() for part in x_CT.split(chunk, -1)]
        return torch.cat([*parts, encoder.finish().cpu()])

    def _samples(self, codes_FL: Tensor, length: int) -> Tensor:
        """Return (C, T), on the CPU."""
        frames = max(1, CHUNK_SECONDS * self.sample_rate // self.autoencoder.stride)
        if len(codes_FL) <= frames or not _causal(self.autoencoder.decoder):
            return decode_waveform(self.autoencoder, codes_FL, length).cpu()
        decoder = WaveDecoderStream(self.autoencoder)
        parts = [decoder.push(part).cpu() for part in codes_FL.split(frames)]
        return torch.cat(parts, -1)[:, :length]

    def _check_stream(self, stream: Stream, kind: str) -> None:
        """Refuse a stream whose header and codes do not fit each other or the model."""
        stride = self.autoencoder.stride
        positions = tuple(round_up(side, stride) // stride for side in stream.shape[1:])
        expected = {
            "kind": (kind, stream.kind),
            "channels": (self.channels, stream.shape[0]),
            "sample rate": (self.sample_rate, stream.sample_rate),
            "codes": (self.codebook_size, stream.codebook_size),
            "positions": (positions, stream.codes.shape[:-1]),
            "levels": (min(self.levels, stream.codes.shape[-1]), stream.codes.shape[-1]),
        }
        wrong = {name: pair for name, pair in expected.items() if pair[0] != pair[1]}
        if wrong:
            name, (wanted, found) = next(iter(wrong.items()))
            raise BitstreamError(
                f"the stream does not fit the model: other {name}", expected=wanted, found=found
            )


def code_space(autoencoder: Autoencoder, name: str) -> tuple[int, int]:
    """Return K and the levels L of a model's codes.

    Raises:
        RunError: when it has none.
    """
    bottleneck = autoencoder.bottleneck
    if bottleneck.codebook_size is None:
        raise RunError(
            "this model has no codes to write",
            where=name,
            expected="a bottleneck that quantises: vq, rvq, fsq …",
            found=type(bottleneck).__name__,
        )
    return bottleneck.codebook_size, bottleneck.residual_levels or 1


def read_tables(run: Run) -> ContextTables | None:
    """Return the code tables of a run, None when it has none.

    Raises:
        RunError: when they cannot be read.
        BitstreamError: when they do not fit together.
    """
    from pellucid.models.weights import read_tensors

    path = run.folder.code_tables
    if not path.is_file():
        return None
    tensors = read_tensors(path)
    return ContextTables.from_arrays({name: tensor.numpy() for name, tensor in tensors.items()})


def _causal(network: object) -> bool:
    return bool(getattr(network, "causal", False))
