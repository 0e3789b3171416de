"""Who is labelled and who is tested: blocks of time, few labels, several draws.

Shape letters: K images, L landmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pellucid.errors import DataError
from pellucid.evaluation.landmarks.head import Fields, fit_head


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Leave one block of consecutive images out; learn from few of the others.

    Args:
        blocks: equal stretches of the images in their order; each is tested once.
        labels: how many labelled images a head learns from; None takes all.
        draws: random choices of the labelled images for each number of them.
        margin: images next to the tested block that no head learns from.
        seed: of the draws.
    """

    blocks: int = 5
    labels: tuple[int | None, ...] = (5, 10, 20, None)
    draws: int = 3
    margin: int = 1
    seed: int = 0

    def folds(self, usable: Sequence[int]) -> list[tuple[list[int], list[int]]]:
        """Return (to learn from, to test) per block, both of `usable` image numbers.

        Raises:
            DataError: when there are too few images.
        """
        if self.blocks < 2 or len(usable) < 2 * self.blocks:
            raise DataError(
                "too few labelled images for blocks in time",
                where="--blocks",
                expected=f"at least two blocks and two images in each of {self.blocks}",
                found=f"{len(usable)} usable images",
            )
        folds = []
        for part in np.array_split(np.asarray(usable), self.blocks):
            low, high = part[0] - self.margin, part[-1] + self.margin
            rest = [index for index in usable if not low <= index <= high]
            folds.append((rest, part.tolist()))
        return folds

    def chosen(self, rest: Sequence[int], labels: int | None, draw: int) -> list[int]:
        """Return the labelled images of one draw: the same for every method."""
        if labels is None or labels >= len(rest):
            return list(rest)
        rng = np.random.default_rng([self.seed, draw, labels, rest[0], len(rest)])
        return sorted(rng.choice(np.asarray(rest), labels, replace=False).tolist())


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one method did at one number of labels.

    Args:
        predicted: (K, L, 2) points of the first draw, in pixels; NaN where not tested.
        errors: (draws, K, L) distances in pixels; NaN where not tested or missing.
        ridges: what inner cross-validation chose, one per head.
    """

    predicted: np.ndarray
    errors: np.ndarray
    ridges: tuple[float, ...]


def run_trials(
    fields_of: Callable[[int], Fields],
    points_KL2: np.ndarray,
    usable: Sequence[int],
    protocol: Protocol,
    progress: Callable[[], None],
) -> dict[int | None, Trial]:
    """Fit and test one method's heads.

    Args:
        fields_of: draw → the method's features; one with random weights draws them anew.
        points_KL2: in pixels, NaN where missing.
        usable: numbers of the images with at least one point, in order of time.
        protocol: the folds and draws.
        progress: called after every head.
    """
    shape = points_KL2.shape
    predicted = {n: np.full(shape, np.nan) for n in protocol.labels}
    errors = {n: np.full((protocol.draws, *shape[:2]), np.nan) for n in protocol.labels}
    ridges: dict[int | None, list[float]] = {n: [] for n in protocol.labels}
    for draw in range(protocol.draws):
        fields = fields_of(draw)
        for rest, tested in protocol.folds(usable):
            for labels in protocol.labels:
                if draw and protocol.chosen(rest, labels, draw) == rest:
                    errors[labels][draw, tested] = errors[labels][0, tested]  # no other choice
                    progress()
                    continue
                head = fit_head(fields, points_KL2, protocol.chosen(rest, labels, draw))
                points = np.stack([fields.points(head.weights, index) for index in tested])
                gaps = np.linalg.norm(points - points_KL2[tested], axis=-1)
                errors[labels][draw, tested] = gaps
                ridges[labels].append(head.ridge)
                if draw == 0:
                    predicted[labels][tested] = points
                progress()
    return {n: Trial(predicted[n], errors[n], tuple(ridges[n])) for n in protocol.labels}
