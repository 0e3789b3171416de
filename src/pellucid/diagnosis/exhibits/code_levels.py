"""How much of each level's codebook is used, and how many bits its codes really carry.

Shape letters: M code positions, K codes, L levels.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Exhibit
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.codes import level_columns


@dataclasses.dataclass(frozen=True)
class Level:
    """One level's codes over all samples.

    Args:
        size: K.
        used: distinct codes.
        entropy: −Σ p·log₂p, in bits per code; at most log₂K.
        positions: M.
    """

    size: int
    used: int
    entropy: float
    positions: int


def levels(case: Case) -> list[Level]:
    """Count every level; empty when there are no codes."""
    if case.latent.codes is None:
        return []
    found = []
    for level, index in enumerate(level_columns(case)):
        books = case.subject.codebooks
        index = index[index >= 0]  # −1 is a level not sent
        if not len(index):
            continue
        size = len(books[level]) if level < len(books) else int(index.max()) + 1
        p = torch.bincount(index, minlength=size).double() / len(index)
        entropy = float(-(p * p.clamp_min(1e-300).log2()).sum())
        found.append(Level(size, int((p > 0).sum()), entropy, len(index)))
    return found


def show(case: Case) -> Exhibit | None:
    """Say how full the levels are; None where there are no codes."""
    found = case.measure(levels)
    if not found:
        return None
    stated = sum(math.log2(level.size) for level in found)
    carried = sum(level.entropy for level in found)
    fullest = max(found, key=lambda level: level.used / level.size)
    emptiest = min(found, key=lambda level: level.used / level.size)
    books = f"{len(found)} levels" if len(found) > 1 else "one codebook"
    spread = (
        f"{emptiest.used} of {emptiest.size} codes used"
        if len(found) == 1
        else f"used between {emptiest.used} of {emptiest.size} and {fullest.used} of {fullest.size}"
    )
    text = (
        f"{books}, {spread} over {found[0].positions:,} positions; their entropy is {carried:.4g} "
        f"of {stated:.4g} bits per position, so that entropy coding would save "
        f"{100 * (1 - carried / max(stated, 1e-9)):.0f} % before any context"
    )
    few = min(level.positions / level.size for level in found)
    if few < 10:
        text += f" (few positions, {few:.1f} per code: both are underestimated)"
    return Exhibit("Codes by level", f"{text}.", tuple(_pictures(found)))


def _pictures(found: list[Level]) -> list[Plot]:
    """Draw use and entropy over the levels; one codebook needs no picture."""
    if len(found) < 2:
        return []
    place = tuple(float(i) for i in range(len(found)))
    names = tuple(str(i + 1) for i in range(len(found)))
    return [
        Plot(
            kind="bars",
            title="codes used, by level",
            x_label="level",
            y_label="share of the codebook, %",
            series=(Series("used", place, tuple(100 * lv.used / lv.size for lv in found)),),
            ticks=names,
        ),
        Plot(
            kind="bars",
            title="entropy of the codes, by level",
            x_label="level",
            y_label="bits per code",
            series=(
                Series("entropy", place, tuple(lv.entropy for lv in found)),
                Series("log₂K", place, tuple(math.log2(lv.size) for lv in found), reference=True),
            ),
            ticks=names,
        ),
    ]
