"""Codes through a range coder, with tables that say what is likely.

Shape letters: P positions in order, L levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pellucid.bitstream.contexts import START, TOTAL, ContextTables
from pellucid.errors import BitstreamError, require

SLACK_BYTES = 16
"""What a range coder may write beyond the ideal cost."""


def encode_codes(codes_PL: np.ndarray, tables: ContextTables) -> bytes:
    """Return the codes as bytes, position after position, levels within a position.

    Raises:
        BitstreamError: when the tables are for fewer levels.
    """
    constriction = _constriction()
    _check_levels(codes_PL.shape[1], tables)
    models = _Models(tables)
    encoder = constriction.stream.queue.RangeEncoder()
    before = [START] * codes_PL.shape[1]
    for row in codes_PL.tolist():
        for level, code in enumerate(row):
            encoder.encode(code, models.at(level, before[level]))
        before = row
    return encoder.get_compressed().astype("<u4").tobytes()


def decode_codes(payload: bytes, positions: int, levels: int, tables: ContextTables) -> np.ndarray:
    """Return (P, L) codes.

    Raises:
        BitstreamError: when the payload cannot hold so many codes, or is not used up by them.
    """
    constriction = _constriction()
    _check_levels(levels, tables)
    if len(payload) % 4:
        raise BitstreamError("the payload is cut", expected="whole words of 4 bytes")
    if positions * levels * tables.least_bits > 8 * (len(payload) + SLACK_BYTES):
        raise BitstreamError(
            "the payload cannot hold what the header promises",
            expected=f"at least {positions * levels * tables.least_bits / 8:.0f} bytes",
            found=f"{len(payload)} bytes",
        )
    models = _Models(tables)
    decoder = constriction.stream.queue.RangeDecoder(
        np.frombuffer(payload, dtype="<u4").astype(np.uint32)
    )
    codes = np.zeros((positions, levels), dtype=np.int64)
    before = [START] * levels
    for position in range(positions):
        try:
            row = [int(decoder.decode(models.at(level, before[level]))) for level in range(levels)]
        except AssertionError as error:  # the coder's word for bits that no code could have written
            raise BitstreamError("the payload is damaged", found=f"position {position}") from error
        codes[position] = row
        before = row
    if not decoder.maybe_exhausted():
        raise BitstreamError("the payload is longer than the codes it should hold")
    return codes


class _Models:
    """The coder's models, built when first met."""

    def __init__(self, tables: ContextTables) -> None:
        self.tables = tables
        self.built: dict[tuple[int, int], Any] = {}
        self.categorical = _constriction().stream.model.Categorical

    def at(self, level: int, before: int) -> Any:
        """Return the model of a level after the code before."""
        group = self.tables.group(level, before)
        model = self.built.get((level, group))
        if model is None:
            # Integers over a power of two are exact in floating point on every machine.
            probabilities = self.tables.frequencies_LGK[level, group] / TOTAL
            model = self.categorical(probabilities, perfect=False)
            self.built[level, group] = model
        return model


def _check_levels(levels: int, tables: ContextTables) -> None:
    if not 1 <= levels <= tables.levels:
        raise BitstreamError(
            "the code tables are for other levels", expected=f"1 … {tables.levels}", found=levels
        )


def _constriction() -> Any:
    return require("constriction", extra="codes", purpose="entropy coding")
