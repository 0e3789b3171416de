"""Codes through a pipe: a header once, then packets, each with its own checksum.

    header  "PLS" and the version, 1; fingerprint of the model, 8 bytes; gain in hundredths of a
            decibel, signed, 2 bytes; varints sample rate, levels, K; CRC-32
    packet  varint frames, 1 … 1024; codes packed frame after frame, levels last; CRC-32
    end     varint 0; varint samples of one more, last frame that is not full (0: there is none);
            its packed codes; CRC-32

All numbers are little-endian. A CRC covers its own header, packet or end. What arrives is parsed as
soon as it is whole; nothing is held beyond one packet, whose size the header bounds. A pipe that
closes before the end is a cut stream.

Shape letters: F frames, L levels.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from pellucid.bitstream.fingerprint import SIZE
from pellucid.bitstream.packing import pack_bits, packed_size, unpack_bits
from pellucid.bitstream.varint import read_varint, write_varint
from pellucid.errors import BitstreamError

MAGIC, VERSION = b"PLS", 1
MOST_FRAMES = 1024
"""Frames of a packet; at 50 frames a second, 20 seconds."""
MOST_LEVELS = 256
MOST_CODES = 2**24
_FIXED = len(MAGIC) + 1 + SIZE + 2
_CRC = 4
_LONGEST_VARINT = 6


@dataclasses.dataclass(frozen=True)
class FrameHeader:
    """What a decoder must know before the first packet.

    Args:
        model: fingerprint of the weights that write the codes.
        sample_rate: in hertz.
        levels: L.
        codebook_size: K.
        gain_db: what the decoder's output is multiplied by.
    """

    model: bytes
    sample_rate: int
    levels: int
    codebook_size: int
    gain_db: float = 0.0

    def to_bytes(self) -> bytes:
        """Write the header.

        Raises:
            BitstreamError: when a field does not fit its place.
        """
        _check_header(self)
        body = MAGIC + bytes([VERSION]) + self.model
        body += round(100 * self.gain_db).to_bytes(2, "little", signed=True)
        fields = (self.sample_rate, self.levels, self.codebook_size)
        return _signed(body + b"".join(write_varint(field) for field in fields))


def packet(codes_FL: np.ndarray, header: FrameHeader) -> bytes:
    """Write whole frames, as several packets when they are more than one may hold."""
    return b"".join(
        _signed(write_varint(len(part)) + _packed(part, header))
        for start in range(0, len(codes_FL), MOST_FRAMES)
        for part in (codes_FL[start : start + MOST_FRAMES],)
    )


def end(codes_1L: np.ndarray, samples: int, header: FrameHeader) -> bytes:
    """Write the end.

    Args:
        codes_1L: the last frame, or (0, L) when the samples filled whole frames.
        samples: how many of its samples are real.
        header: of the stream.

    Raises:
        BitstreamError: when frame and samples do not fit each other.
    """
    if len(codes_1L) != (1 if samples else 0):
        raise BitstreamError(
            "the last frame does not fit its samples",
            expected="one frame, or none for 0 samples",
            found=f"{len(codes_1L)} frames, {samples} samples",
        )
    return _signed(write_varint(0) + write_varint(samples) + _packed(codes_1L, header))


@dataclasses.dataclass(frozen=True)
class Arrived:
    """Frames that came out of a pipe.

    Args:
        codes_FL: int64.
        samples: of the last frame when that is not full, else None.
    """

    codes_FL: np.ndarray
    samples: int | None = None


class FrameReader:
    """Parse a stream as it arrives."""

    def __init__(self) -> None:
        self.header: FrameHeader | None = None
        self.ended = False
        self._waiting = b""

    def push(self, data: bytes) -> list[Arrived]:
        """Return what is complete now.

        Raises:
            BitstreamError: for another format or version, a wrong checksum, fields that cannot be
                true, or bytes after the end.
        """
        self._waiting += data
        arrived = []
        if self.header is None and (parsed := _read_header(self._waiting)):
            self.header, self._waiting = parsed[0], self._waiting[parsed[1] :]
        while self.header is not None and self._waiting:
            if self.ended:
                raise BitstreamError("there is something after the end of the stream")
            if (found := _read_packet(self._waiting, self.header)) is None:
                break
            item, used = found
            self._waiting = self._waiting[used:]
            self.ended = item.samples is not None
            arrived.append(item)
        return arrived

    def finish(self) -> None:
        """Say that nothing more will come.

        Raises:
            BitstreamError: when the stream has not come to its end.
        """
        if not self.ended:
            raise BitstreamError(
                "the stream was cut before its end",
                found="no header" if self.header is None else f"{len(self._waiting)} bytes left",
            )


def _read_header(data: bytes) -> tuple[FrameHeader, int] | None:
    """Return the header and its size, or None while it is not whole."""
    known = data[: len(MAGIC)]
    if known != MAGIC[: len(known)]:
        raise BitstreamError("not a pellucid stream", expected=MAGIC, found=known)
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise BitstreamError(
            "this stream is of another version", expected=VERSION, found=data[len(MAGIC)]
        )
    fields, at = [], _FIXED
    for _ in range(3):
        if (read := _varint(data, at)) is None:
            return None
        value, at = read
        fields.append(value)
    if len(data) < at + _CRC:
        return None
    _check_sum(data[: at + _CRC], "header")
    model = data[len(MAGIC) + 1 : len(MAGIC) + 1 + SIZE]
    gain = int.from_bytes(data[_FIXED - 2 : _FIXED], "little", signed=True) / 100
    header = FrameHeader(model, *fields, gain_db=gain)
    _check_header(header)
    return header, at + _CRC


def _read_packet(data: bytes, header: FrameHeader) -> tuple[Arrived, int] | None:
    """Return the first packet and its size, or None while it is not whole."""
    if (read := _varint(data, 0)) is None:
        return None
    frames, at = read
    samples = None
    if frames > MOST_FRAMES:
        raise BitstreamError("a packet is absurdly long", expected=MOST_FRAMES, found=frames)
    if frames == 0:
        if (read := _varint(data, at)) is None:
            return None
        samples, at = read
        frames = 1 if samples else 0
    size = packed_size(frames * header.levels, header.codebook_size)
    if len(data) < at + size + _CRC:
        return None
    _check_sum(data[: at + size + _CRC], "packet")
    codes = unpack_bits(data[at : at + size], frames * header.levels, header.codebook_size)
    return Arrived(codes.reshape(frames, header.levels), samples), at + size + _CRC


def _varint(data: bytes, at: int) -> tuple[int, int] | None:
    """Return (value, position after it), or None while it is not whole."""
    window = data[at : at + _LONGEST_VARINT]
    if len(window) < _LONGEST_VARINT and all(byte >= 0x80 for byte in window):
        return None
    return read_varint(data, at)


def _packed(codes_FL: np.ndarray, header: FrameHeader) -> bytes:
    if codes_FL.ndim != 2 or codes_FL.shape[1] != header.levels:
        raise BitstreamError(
            "the codes do not fit the header",
            expected=f"(frames, {header.levels})",
            found=codes_FL.shape,
        )
    if codes_FL.size and not 0 <= codes_FL.min() <= codes_FL.max() < header.codebook_size:
        raise BitstreamError("a code is out of range", expected=f"0 … {header.codebook_size - 1}")
    return pack_bits(codes_FL.reshape(-1), header.codebook_size)


def _signed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(_CRC, "little")


def _check_sum(data: bytes, what: str) -> None:
    if zlib.crc32(data[:-_CRC]) != int.from_bytes(data[-_CRC:], "little"):
        raise BitstreamError(f"the checksum of a {what} does not match: the stream is damaged")


def _check_header(header: FrameHeader) -> None:
    fits = (
        len(header.model) == SIZE
        and header.sample_rate >= 1
        and 1 <= header.levels <= MOST_LEVELS
        and 2 <= header.codebook_size <= MOST_CODES
        and abs(header.gain_db) <= 327
    )
    if not fits:
        raise BitstreamError(
            "the header of the stream cannot be true",
            expected=f"1 … {MOST_LEVELS} levels of 2 … {MOST_CODES} codes, a gain within ±327 dB",
            found=header,
        )
