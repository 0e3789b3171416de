"""Unsigned integers in as few bytes as they need (LEB128)."""

from __future__ import annotations

from pellucid.errors import BitstreamError

LARGEST = 2**40
"""No field of a header may be larger; what is larger is damage."""


def write_varint(value: int) -> bytes:
    """Return 7 bits per byte, lowest first, the high bit set on all but the last."""
    if not 0 <= value <= LARGEST:
        raise BitstreamError("a field does not fit", expected=f"0 … {LARGEST}", found=value)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, position after it).

    Raises:
        BitstreamError: when the data end inside it, or it is absurdly large.
    """
    value = shift = 0
    while True:
        if at >= len(data):
            raise BitstreamError("the stream ends inside its header", found=f"{len(data)} bytes")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if value > LARGEST or shift > 42:
            raise BitstreamError("a header field is absurdly large", expected=f"≤ {LARGEST}")
        if byte < 0x80:
            return value, at
