"""What codes usually follow what: integer tables, so that every machine computes the same bits.

p(code | level, class of the code before it in the same level), from counts. Codes before are
grouped into a few classes, so that the tables stay small and well filled.

Shape letters: P positions in order, L levels, K codes, G classes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pellucid.bitstream.fingerprint import SIZE
from pellucid.errors import BitstreamError

TOTAL = 1 << 16
"""Every row of a table sums to this."""

START = -1
"""Stands for the code before the first."""


@dataclasses.dataclass(frozen=True)
class ContextTables:
    """Frequencies of codes in their contexts.

    Args:
        classes_LK: (L, K) uint8, the class of each code.
        frequencies_LGK: (L, G + 1, K) uint16 > 0, rows sum to TOTAL; the last row serves the first
            position, which has nothing before it.

    Raises:
        BitstreamError: when the tables do not fit together.
    """

    classes_LK: np.ndarray
    frequencies_LGK: np.ndarray

    def __post_init__(self) -> None:
        classes, frequencies = self.classes_LK, self.frequencies_LGK
        fits = (
            classes.ndim == 2
            and frequencies.ndim == 3
            and frequencies.shape[0] == classes.shape[0]
            and frequencies.shape[2] == classes.shape[1]
            and int(classes.max(initial=0)) < frequencies.shape[1] - 1
        )
        if not fits:
            raise BitstreamError(
                "the tables do not fit together",
                found=f"classes {classes.shape}, frequencies {frequencies.shape}",
            )
        if int(frequencies.min()) < 1 or not (frequencies.sum(-1, dtype=np.int64) == TOTAL).all():
            raise BitstreamError("table rows must be positive and sum to a whole", expected=TOTAL)

    @property
    def levels(self) -> int:
        """L."""
        return self.classes_LK.shape[0]

    @property
    def codes(self) -> int:
        """K."""
        return self.classes_LK.shape[1]

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell these tables from others."""
        digest = hashlib.sha256(f"{self.classes_LK.shape} {self.frequencies_LGK.shape}\n".encode())
        for array, kind in ((self.classes_LK, "u1"), (self.frequencies_LGK, "<u2")):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        return digest.digest()[:SIZE]

    @property
    def least_bits(self) -> float:
        """Bits of the cheapest code in the cheapest context: bounds what a payload can hold."""
        return -math.log2(int(self.frequencies_LGK.max()) / TOTAL)

    def group(self, level: int, before: int) -> int:
        """Return the row of a level that serves after the code before (START at the start)."""
        return -1 if before == START else int(self.classes_LK[level, before])

    def cost_bits(self, codes_PL: np.ndarray) -> float:
        """Return the ideal cost in bits of a sequence of codes."""
        bits = 0.0
        for level in range(codes_PL.shape[1]):
            column = codes_PL[:, level]
            groups = self.classes_LK[level][column[:-1]].astype(np.int64)
            groups = np.concatenate([[self.frequencies_LGK.shape[1] - 1], groups])
            chosen = self.frequencies_LGK[level][groups, column]
            bits -= float(np.log2(chosen / TOTAL).sum())
        return bits

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the tables by name, ready for safetensors."""
        return {"classes": self.classes_LK, "frequencies": self.frequencies_LGK}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ContextTables:
        """Build the tables that `to_arrays` wrote.

        Raises:
            BitstreamError: when one is missing or they do not fit together.
        """
        missing = {"classes", "frequencies"} - set(arrays)
        if missing:
            raise BitstreamError("the code tables are incomplete", found=f"no {sorted(missing)}")
        return cls(arrays["classes"], arrays["frequencies"])

    @classmethod
    def fit(
        cls, sequences: Sequence[np.ndarray], *, codes: int, groups: int = 16, weight: float = 32.0
    ) -> ContextTables:
        """Count codes in their contexts over training sequences.

        A context's row is its own counts plus `weight` times the level's overall distribution (one
        imaginary observation spread over all codes besides), so rare contexts fall back on it.

        Args:
            sequences: (P, L) integer codes in order, one array per clip.
            codes: K.
            groups: G, classes of the code before.
            weight: strength of the fall-back, in observations.

        Raises:
            BitstreamError: without sequences, for codes out of range, or more than TOTAL / 4 codes.
        """
        if not sequences or codes > TOTAL // 4 or not 1 <= groups <= 255:
            raise BitstreamError(
                "tables cannot be fitted",
                expected=f"sequences, at most {TOTAL // 4} codes, 1 to 255 groups",
                found=f"{len(sequences)} sequences, {codes} codes, {groups} groups",
            )
        levels = sequences[0].shape[1]
        if any(int(s.min(initial=0)) < 0 or int(s.max(initial=0)) >= codes for s in sequences):
            raise BitstreamError("a code is out of range", expected=f"0 … {codes - 1}")
        classes = np.zeros((levels, codes), dtype=np.uint8)
        tables = np.zeros((levels, groups + 1, codes), dtype=np.uint16)
        for level in range(levels):
            columns = [s[:, level].astype(np.int64) for s in sequences]
            classes[level] = _classes(columns, codes, groups)
            tables[level] = _rows(columns, classes[level], codes, groups, weight)
        return cls(classes, tables)


def _rows(
    columns: list[np.ndarray], classes_K: np.ndarray, codes: int, groups: int, weight: float
) -> np.ndarray:
    """Return (G + 1, K) integer frequencies of one level."""
    overall = np.bincount(np.concatenate(columns), minlength=codes).astype(np.float64)
    overall = (overall + 1.0 / codes) / (overall.sum() + 1.0)
    counts = np.zeros((groups + 1, codes))
    for column in columns:
        np.add.at(counts, (classes_K[column[:-1]].astype(np.int64), column[1:]), 1.0)
        counts[-1, column[:1]] += 1.0
    return np.stack([_integers(row + weight * overall) for row in counts])


def _integers(weights_K: np.ndarray) -> np.ndarray:
    """Round to positive integers that sum to TOTAL (largest remainders)."""
    free = TOTAL - len(weights_K)
    exact = weights_K / weights_K.sum() * free
    whole = np.floor(exact).astype(np.int64)
    short = free - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:short]] += 1
    return (whole + 1).astype(np.uint16)


def _classes(columns: list[np.ndarray], codes: int, groups: int, rounds: int = 8) -> np.ndarray:
    """Group codes by what follows them: k-means of square-root frequencies of the next codes.

    Distances between square roots of distributions (Hellinger) weigh rare and common codes alike.
    """
    follow = np.zeros((codes, codes), dtype=np.float32)
    for column in columns:
        np.add.at(follow, (column[:-1], column[1:]), 1.0)
    seen = follow.sum(1)
    rows = np.sqrt(follow / np.maximum(seen, 1.0)[:, None])
    order = np.argsort(-seen, kind="stable")
    centres = rows[order[:groups]].copy()
    assigned = np.zeros(codes, dtype=np.int64)
    for _ in range(rounds):
        distance = (centres**2).sum(1)[None] - 2 * rows @ centres.T
        assigned = distance.argmin(1)
        for group in range(len(centres)):
            members = assigned == group
            if seen[members].sum() > 0:
                total = follow[members].sum(0)
                centres[group] = np.sqrt(total / total.sum())
    return assigned.astype(np.uint8)
