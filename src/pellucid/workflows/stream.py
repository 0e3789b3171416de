"""A live codec: raw PCM in, framed codes out, and back, chunk by chunk.

PCM is mono, 16-bit little-endian, at the model's rate, without a header: what
`ffmpeg -f s16le -ac 1 -ar 16000 -` writes.
"""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.bitstream.frames import FrameHeader, FrameReader, end, packet
from pellucid.errors import BitstreamError, DataError
from pellucid.models.waveform import WaveDecoderStream, WaveEncoderStream
from pellucid.workflows.coder import Coder
from pellucid.workflows.run import Run
from pellucid.workflows.samples_on_disk import FULL_SCALE, to_int16

Direction = Literal["encode", "decode", "roundtrip"]
_READ = 65536


@dataclasses.dataclass(frozen=True)
class StreamReport:
    """What went through.

    Args:
        samples: of PCM.
        seconds: of audio.
        coded_bytes: of the framed codes, 0 when they never left the process.
        coding_seconds: spent in the model, waiting left out.
        clipped: output samples that 16 bits could not hold.
    """

    samples: int
    seconds: float
    coded_bytes: int
    coding_seconds: float
    clipped: int

    @property
    def times_real_time(self) -> float:
        """Seconds of audio per second of work."""
        return self.seconds / max(self.coding_seconds, 1e-9)


def stream(
    source: BinaryIO,
    sink: BinaryIO,
    *,
    direction: Direction = "roundtrip",
    model: str | Path | Run | Coder | None = None,
    levels: int | None = None,
    gain_db: float = 0.0,
    chunk_seconds: float = 0.1,
) -> StreamReport:
    """Code from one pipe into another until the first closes; flush after every chunk.

    The codes are those of the whole, whatever sizes the pipe delivers.

    Args:
        source: PCM, or framed codes to decode.
        sink: framed codes, or PCM.
        direction: "roundtrip" goes from PCM to PCM.
        model: a run with a causal model; None takes the one that comes with the package.
        levels: residual levels to write; None writes all.
        gain_db: applied before encoding and taken back after decoding, because a live signal's
            loudness is not known beforehand.
        chunk_seconds: most PCM to read at once; what is there is taken, so less means less delay
            and more packets.

    Raises:
        PellucidError: when the model cannot stream.
        DataError: for the wrong kind of model or levels, or half a sample at the end.
        BitstreamError: when framed codes are damaged, cut or another model's.
    """
    coder = Coder.open(model)
    coder.check("audio", levels)
    if not 0 < chunk_seconds <= 20 or not abs(gain_db) <= 100:
        raise DataError(
            "chunk or gain are out of range",
            expected="chunks of 0 … 20 s, a gain within ±100 dB",
            found=f"{chunk_seconds} s, {gain_db} dB",
        )
    size = max(1, round(chunk_seconds * coder.sample_rate)) * 2
    work = _Work(coder, levels, round(gain_db, 2))
    steps = {"encode": work.encode, "decode": work.decode, "roundtrip": work.roundtrip}
    chunks = _arriving(source, _READ if direction == "decode" else size)
    for piece in steps[direction](chunks):
        if piece:
            sink.write(piece)
            sink.flush()
    return work.report()


class _Work:
    """One pass; every method turns arriving bytes into bytes to send."""

    def __init__(self, coder: Coder, levels: int | None, gain_db: float) -> None:
        self.coder, self.levels, self.gain_db = coder, levels or coder.levels, gain_db
        self.samples = self.coded_bytes = self.clipped = 0
        self.coding_seconds = 0.0

    def report(self) -> StreamReport:
        seconds = self.samples / self.coder.sample_rate
        return StreamReport(
            self.samples, seconds, self.coded_bytes, self.coding_seconds, self.clipped
        )

    def encode(self, arriving: Iterator[bytes]) -> Iterator[bytes]:
        """PCM → framed codes."""
        coder = self.coder
        header = FrameHeader(
            coder.fingerprint, coder.sample_rate, self.levels, coder.codebook_size, -self.gain_db
        )
        yield self._sent(header.to_bytes())
        for codes_FL, last in self._codes(arriving):
            if last is None:
                yield self._sent(packet(codes_FL.numpy(), header))
            else:
                yield self._sent(end(codes_FL.numpy(), last, header))

    def decode(self, arriving: Iterator[bytes]) -> Iterator[bytes]:
        """Framed codes → PCM."""
        reader, decoder = FrameReader(), WaveDecoderStream(self.coder.autoencoder)
        for data in arriving:
            self.coded_bytes += len(data)
            before = reader.header
            items = reader.push(data)
            if reader.header is not None and before is None:
                self._accept(reader.header)
                self.gain_db = -reader.header.gain_db
            for item in items:
                self._check_last(item.samples)
                codes_FL = torch.from_numpy(item.codes_FL)
                yield self._pcm(decoder, codes_FL, item.samples)
        reader.finish()

    def roundtrip(self, arriving: Iterator[bytes]) -> Iterator[bytes]:
        """PCM → PCM."""
        decoder = WaveDecoderStream(self.coder.autoencoder)
        for codes_FL, last in self._codes(arriving):
            yield self._pcm(decoder, codes_FL, last)

    def _codes(self, arriving: Iterator[bytes]) -> Iterator[tuple[Tensor, int | None]]:
        """Yield whole frames, and at the end a last one with its number of samples."""
        encoder = WaveEncoderStream(self.coder.autoencoder, levels=self.levels)
        scale = np.float32(10 ** (self.gain_db / 20) / FULL_SCALE)
        for data in _whole_samples(arriving):
            x_T = np.frombuffer(data, "<i2").astype(np.float32) * scale
            yield self._timed(lambda x_T=x_T: encoder.push(torch.from_numpy(x_T)[None])), None
        yield self._timed(encoder.finish), encoder.length % self.coder.autoencoder.stride
        self.samples = encoder.length

    def _pcm(self, decoder: WaveDecoderStream, codes_FL: Tensor, last: int | None) -> bytes:
        x_T = self._timed(lambda: decoder.push(codes_FL))[0, :last].numpy()
        whole_T, clipped = to_int16(x_T * np.float32(10 ** (-self.gain_db / 20)))
        self.clipped += clipped
        self.samples += len(whole_T)
        return whole_T.astype("<i2").tobytes()

    def _sent(self, data: bytes) -> bytes:
        self.coded_bytes += len(data)
        return data

    def _timed(self, work: Callable[[], Tensor]) -> Tensor:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.coding_seconds += time.perf_counter() - start

    def _check_last(self, samples: int | None) -> None:
        stride = self.coder.autoencoder.stride
        if samples is not None and samples >= stride:
            raise BitstreamError(
                "the last frame is longer than a frame", expected=f"< {stride}", found=samples
            )

    def _accept(self, header: FrameHeader) -> None:
        coder = self.coder
        if header.model != coder.fingerprint:
            raise BitstreamError(
                "this stream was written by another model",
                expected=coder.fingerprint.hex(),
                found=header.model.hex(),
                hint="decode it with the model it was encoded with (--model)",
            )
        expected = (coder.sample_rate, coder.codebook_size)
        found = (header.sample_rate, header.codebook_size)
        if expected != found or header.levels > coder.levels:
            raise BitstreamError(
                "the stream does not fit the model",
                expected=f"{expected[0]} Hz, {expected[1]} codes, up to {coder.levels} levels",
                found=f"{found[0]} Hz, {found[1]} codes, {header.levels} levels",
            )


def _arriving(source: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield what a pipe holds, at most `size` bytes at once, without waiting for more."""
    read = source.read1 if isinstance(source, io.BufferedReader) else source.read
    while data := read(size):
        yield data


def _whole_samples(arriving: Iterator[bytes]) -> Iterator[bytes]:
    """Join the halves of samples that a pipe has torn apart.

    Raises:
        DataError: when half a sample is left at the end.
    """
    half = b""
    for data in arriving:
        data = half + data
        whole = len(data) // 2 * 2
        half = data[whole:]
        if whole:
            yield data[:whole]
    if half:
        raise DataError("the PCM ends in half a sample", expected="2 bytes per sample")
