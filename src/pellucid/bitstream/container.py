"""The `.plc` file: what a decoder must know, the codes, and a checksum.

    bytes   field
    0–3     "PLC" and the version, 1
    4       flags: bit 0 entropy-coded, bits 1–2 kind (0 audio, 1 image)
    5–12    fingerprint of the model; of an entropy-coded stream XOR that of the tables, so that
            other tables refuse it instead of reading other codes
    13–14   gain in hundredths of a decibel, signed, little-endian
    …       varints: sample rate (0 for images), axes of the shape, positions per axis of the codes,
            levels, K, bytes of the payload
    …       payload: packed or entropy-coded codes, position after position, levels last
    last 4  CRC-32 of everything before, little-endian

Shape letters: P positions, L levels.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Literal

import numpy as np

from pellucid.bitstream.contexts import ContextTables
from pellucid.bitstream.entropy import decode_codes, encode_codes
from pellucid.bitstream.fingerprint import SIZE
from pellucid.bitstream.packing import pack_bits, packed_size, unpack_bits
from pellucid.bitstream.varint import read_varint, write_varint
from pellucid.errors import BitstreamError

MAGIC, VERSION = b"PLC", 1
LONGEST_AXIS = 2**32
"""Samples along one axis; 74 hours of 16 kHz audio."""
_FIXED = len(MAGIC) + 1 + 1 + SIZE + 2
_CRC = 4

Kind = Literal["audio", "image"]
_ENTROPY = 1
_KINDS: tuple[Kind, ...] = ("audio", "image")


@dataclasses.dataclass(frozen=True)
class Stream:
    """One coded sample.

    Args:
        kind: "audio" with shape (C, T), or "image" with shape (C, H, W).
        shape: of the decoded sample.
        codes: (P..., L) integers in [0, K), one position axis for audio, two for images.
        codebook_size: K.
        model: fingerprint of the weights that wrote it.
        sample_rate: in hertz; 0 for images.
        gain_db: what the decoder's output is multiplied by.
    """

    kind: Kind
    shape: tuple[int, ...]
    codes: np.ndarray
    codebook_size: int
    model: bytes
    sample_rate: int = 0
    gain_db: float = 0.0


def pack(stream: Stream, tables: ContextTables | None = None) -> bytes:
    """Write a stream; with tables its codes are entropy-coded where that is shorter.

    Raises:
        BitstreamError: when a field does not fit its place.
    """
    _check(stream)
    flat_PL = stream.codes.reshape(-1, stream.codes.shape[-1])
    payload, flags = pack_bits(flat_PL.reshape(-1), stream.codebook_size), 0
    if tables is not None:
        shorter = encode_codes(flat_PL, tables)
        if len(shorter) < len(payload):
            payload, flags = shorter, _ENTROPY
    flags |= _KINDS.index(stream.kind) << 1
    fields = (
        stream.sample_rate,
        *stream.shape,
        *stream.codes.shape,
        stream.codebook_size,
        len(payload),
    )
    centibels = round(100 * stream.gain_db)
    head = MAGIC + bytes([VERSION, flags]) + _marked(stream.model, flags, tables)
    head += centibels.to_bytes(2, "little", signed=True)
    body = head + b"".join(write_varint(int(field)) for field in fields) + payload
    return body + zlib.crc32(body).to_bytes(_CRC, "little")


def unpack(
    data: bytes,
    tables: ContextTables | None = None,
    *,
    model: bytes | None = None,
    largest: int = 2**28,
) -> Stream:
    """Read and check a stream; time and memory are bounded by the length of `data` and `largest`.

    Args:
        data: the whole file.
        tables: the model's, needed for entropy-coded streams.
        model: the fingerprint it must carry; None takes any.
        largest: elements of the decoded sample that are accepted.

    Raises:
        BitstreamError: for another format, version or model, a wrong checksum, or fields that
            cannot be true.
    """
    flags = _opening(data)
    written_by = _written_by(data, flags, tables, model)
    kind = _KINDS[flags >> 1]
    axes = 1 if kind == "audio" else 2
    (sample_rate, *fields), at = _fields(data, flags)
    shape, code_shape = tuple(fields[: axes + 1]), tuple(fields[axes + 1 : 2 * axes + 2])
    codebook_size, size = fields[-2:]
    if at + size + _CRC != len(data):
        raise BitstreamError(
            "the payload has another length than the header says",
            expected=f"{size} bytes",
            found=f"{len(data) - at - _CRC} bytes",
        )
    _check_sizes(shape, code_shape, codebook_size, sample_rate, kind, largest)
    payload = data[at : at + size]
    count, levels = math.prod(code_shape), code_shape[-1]
    if flags & _ENTROPY:
        if tables is None or tables.codes != codebook_size:
            raise _no_tables(tables, f"tables for {codebook_size} codes")
        codes = decode_codes(payload, count // levels, levels, tables)
    else:
        if packed_size(count, codebook_size) != size:  # before anything of that size is made
            raise BitstreamError(
                "the payload does not fit the header",
                expected=f"{packed_size(count, codebook_size)} bytes",
                found=f"{size} bytes",
            )
        codes = unpack_bits(payload, count, codebook_size)
    return Stream(
        kind=kind,
        shape=shape,
        codes=codes.reshape(code_shape),
        codebook_size=codebook_size,
        model=written_by,
        sample_rate=sample_rate,
        gain_db=int.from_bytes(data[_FIXED - 2 : _FIXED], "little", signed=True) / 100,
    )


def payload_of(data: bytes) -> tuple[int, bool]:
    """Return the bytes of a stream's payload, and whether it is entropy-coded.

    Raises:
        BitstreamError: when the stream is damaged.
    """
    flags = _opening(data)
    fields, _ = _fields(data, flags)
    return fields[-1], bool(flags & _ENTROPY)


def _opening(data: bytes) -> int:
    """Check magic, version, checksum and flags; return the flags."""
    if len(data) < _FIXED + _CRC:
        raise BitstreamError("too short to be a .plc stream", found=f"{len(data)} bytes")
    if data[: len(MAGIC)] != MAGIC:
        raise BitstreamError("not a .plc stream", expected=MAGIC, found=data[: len(MAGIC)])
    if data[len(MAGIC)] != VERSION:
        raise BitstreamError(
            "this stream is of another version", expected=VERSION, found=data[len(MAGIC)]
        )
    if zlib.crc32(data[:-_CRC]) != int.from_bytes(data[-_CRC:], "little"):
        raise BitstreamError("the checksum does not match: the stream is cut or damaged")
    flags = data[len(MAGIC) + 1]
    if flags >> 1 >= len(_KINDS):
        raise BitstreamError("unknown flags", expected=f"< {2 * len(_KINDS)}", found=flags)
    return flags


def _fields(data: bytes, flags: int) -> tuple[list[int], int]:
    """Return the header's varints and the place after them."""
    axes = 1 if _KINDS[flags >> 1] == "audio" else 2
    fields, at = [], _FIXED
    for _ in range(1 + 2 * (axes + 1) + 2):
        value, at = read_varint(data, at)
        fields.append(value)
    return fields, at


def _written_by(
    data: bytes, flags: int, tables: ContextTables | None, model: bytes | None
) -> bytes:
    """Return the fingerprint of the model that wrote a stream; refuse it when not `model`."""
    mark = data[len(MAGIC) + 2 : len(MAGIC) + 2 + SIZE]
    if flags & _ENTROPY and tables is None:
        raise _no_tables(tables, "the tables of the model that wrote it")
    written_by = _marked(mark, flags, tables)  # XOR is its own inverse
    if model is not None and written_by != model:
        raise BitstreamError(
            "this stream was written by another model",
            expected=_marked(model, flags, tables).hex(),
            found=mark.hex(),
            hint="decode it with the model it was encoded with (--model)",
        )
    return written_by


def _marked(model: bytes, flags: int, tables: ContextTables | None) -> bytes:
    """Return the fingerprint that a header carries."""
    if not flags & _ENTROPY or tables is None:
        return model
    return bytes(a ^ b for a, b in zip(model, tables.fingerprint, strict=True))


def _no_tables(tables: ContextTables | None, expected: str) -> BitstreamError:
    return BitstreamError(
        "this stream is entropy-coded with tables that the model does not have",
        expected=expected,
        found="none" if tables is None else f"tables for {tables.codes} codes",
    )


def _check_sizes(
    shape: tuple[int, ...],
    code_shape: tuple[int, ...],
    codebook_size: int,
    sample_rate: int,
    kind: str,
    largest: int,
) -> None:
    """Refuse what cannot be meant before memory is asked for."""
    if min(*shape, *code_shape, codebook_size - 1) < 1:
        raise BitstreamError(
            "a size is zero",
            found=f"shape {shape}, codes {code_shape}, codebook of {codebook_size}",
        )
    if math.prod(shape) > largest or math.prod(code_shape) > largest or codebook_size > 2**24:
        raise BitstreamError(
            "the stream promises absurdly much",
            expected=f"at most {largest} values",
            found=f"shape {shape}, codes {code_shape}, codebook of {codebook_size}",
        )
    if (kind == "audio") != (sample_rate > 0):
        raise BitstreamError("audio has a sample rate, images have none", found=sample_rate)


def _check(stream: Stream) -> None:
    """Refuse to write what could not be read."""
    axes = {"audio": 1, "image": 2}[stream.kind]
    codes = stream.codes
    good = len(stream.shape) == axes + 1 and codes.ndim == axes + 1 and len(stream.model) == SIZE
    if not good:
        raise BitstreamError(
            "the parts of the stream do not fit its kind",
            expected=f"{stream.kind}: shape and codes of {axes + 1} axes, {SIZE} bytes of model",
            found=f"shape {stream.shape}, codes {codes.shape}, {len(stream.model)} bytes",
        )
    if not np.issubdtype(codes.dtype, np.integer) or codes.size == 0:
        raise BitstreamError("codes are integers", found=f"{codes.dtype}, {codes.size} of them")
    if int(codes.min()) < 0 or int(codes.max()) >= stream.codebook_size:
        raise BitstreamError(
            "a code is out of range",
            expected=f"0 … {stream.codebook_size - 1}",
            found=f"{int(codes.min())} … {int(codes.max())}",
        )
    if not abs(stream.gain_db) <= 327:
        raise BitstreamError("the gain does not fit", expected="within ±327 dB")
    if max(stream.shape) > LONGEST_AXIS:
        raise BitstreamError("the sample is too long", found=stream.shape)
    _check_sizes(
        stream.shape,
        codes.shape,
        stream.codebook_size,
        stream.sample_rate,
        stream.kind,
        largest=2**62,
    )
