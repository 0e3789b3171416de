"""Integers of a fixed number of bits, one after another.

Shape letters: M codes.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.errors import BitstreamError


def bits_of(codes: int) -> int:
    """Return ⌈log₂K⌉, the bits that one of K codes takes."""
    return max(1, math.ceil(math.log2(codes)))


def packed_size(count: int, codes: int) -> int:
    """Return the bytes that `count` codes take."""
    return -(-count * bits_of(codes) // 8)


def pack_bits(values_M: np.ndarray, codes: int) -> bytes:
    """Write each value with ⌈log₂K⌉ bits, highest bit first; the last byte is padded with zeros."""
    bits = bits_of(codes)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.int64)
    return np.packbits((values_M[:, None].astype(np.int64) >> shifts) & 1).tobytes()


def unpack_bits(payload: bytes, count: int, codes: int) -> np.ndarray:
    """Return (M,) values.

    Raises:
        BitstreamError: when the payload has another length, its padding is not zero, or a value is
            no code.
    """
    if len(payload) != packed_size(count, codes):
        raise BitstreamError(
            "the payload does not fit the header",
            expected=f"{packed_size(count, codes)} bytes for {count} codes of {codes}",
            found=f"{len(payload)} bytes",
        )
    bits = bits_of(codes)
    raw = np.unpackbits(np.frombuffer(payload, dtype=np.uint8))
    if raw[count * bits :].any():
        raise BitstreamError("the padding of the payload is not zero")
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    values = raw[: count * bits].reshape(count, bits).astype(np.int64) @ weights
    if count and int(values.max()) >= codes:
        raise BitstreamError(
            "the payload holds a code that does not exist",
            expected=f"0 … {codes - 1}",
            found=int(values.max()),
        )
    return values
