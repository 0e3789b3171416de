"""One pass of a model over held-out tiles, measuring it and the references on the way.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.tiles import TileSplit
from pellucid.evaluation.hidden_markers import Batch
from pellucid.evaluation.latent_cost import LatentCost
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.protocol import Steps
from pellucid.evaluation.stack_references import FittedReferences, Judge
from pellucid.metrics.markers import MarkerErrors


class MarkerPass:
    """Accumulate what one pass over held-out tiles or cells measures.

    Args:
        reconstruct: the model.
        judge: what is judged.
        channels: how many markers.
        cells: rows are cells, which have no neighbours; else tiles.
    """

    def __init__(
        self, reconstruct: Reconstructor, judge: Judge, channels: int, *, cells: bool = False
    ) -> None:
        self.reconstruct, self.judge = reconstruct, judge
        self.model = MarkerErrors(cosine=channels > 1, cells=cells)
        self.counts = MarkerErrors(cosine=False, cells=cells)
        self.references: dict[str, MarkerErrors] = {}
        self.latent = LatentCost(reconstruct.autoencoder.bottleneck.bits_per_position)
        self.digests: list[str] = []
        self._nonzero: list[Tensor] = []

    def compare(
        self,
        answered_BCP: Tensor,
        raw_BCP: Tensor,
        answers: Mapping[str, Tensor],
        groups: Sequence[str],
    ) -> None:
        """Set the model's counts, and the references' judged answers, beside what was there."""
        judged = self.judge(raw_BCP)
        self.model.update(self.judge(answered_BCP), judged, groups)
        self.counts.update(answered_BCP, raw_BCP, groups)
        for name, answer in answers.items():
            found = self.references.setdefault(
                name, MarkerErrors(cosine=self.model.cosine, cells=self.model.cells)
            )
            found.update(answer, judged, groups)
        self._nonzero.append((raw_BCP != 0).float().flatten(2).mean(2))
        self.digests += [hashlib.blake2b(t.numpy().tobytes(), digest_size=8).hexdigest()
                         for t in raw_BCP]  # fmt: skip

    def nonzero_C(self) -> np.ndarray:
        """Return the share of held-out pixels that are not zero."""
        return torch.cat(self._nonzero).mean(0).numpy()


class TilePass(MarkerPass):
    """Accumulate what one pass over the tiles measures."""

    def update(self, split: TileSplit, chosen: list[int], references: FittedReferences) -> None:
        """Measure some tiles by the model and by every reference."""
        raw = torch.from_numpy(np.stack([split.raw(index) for index in chosen]))
        x, scale = split.chain.forward(raw)
        groups = [str(split.groups[int(split.places[index, 0])]) for index in chosen]
        y, latent = self.reconstruct(x)
        answered = self.judge.counts(y.cpu(), scale)
        self.compare(answered, raw, references.reconstruct(self.judge(raw)), groups)
        self.latent.update(latent, groups)

    def samples(
        self, split: TileSplit, indices: list[int], live: list[int], std_C: Tensor
    ) -> dict[str, list[Any]]:
        """Return columns over the tiles; fvu is the mean over live markers of error / variance."""
        error_TC = self.model.sums_TCK[:, live, 0]
        fvu = (error_TC / std_C.square().numpy()[live]).mean(1)
        return {
            "index": list(indices),
            "name": [split.name(index) for index in indices],
            "group": list(self.model.groups),
            "digest": self.digests,
            "fvu": np.round(fvu, 6).tolist(),
        }


def sweep_tiles(
    reconstruct: Reconstructor,
    judge: Judge,
    split: TileSplit,
    indices: list[int],
    references: FittedReferences,
    *,
    batch_size: int,
    steps: Steps,
) -> TilePass:
    """Run the model and the references over the tiles at `indices` and measure.

    Args:
        reconstruct: the model.
        judge: what is judged.
        split: held-out tiles.
        indices: which tiles.
        references: fitted on training tiles.
        batch_size: tiles at once.
        steps: advanced by the tiles done.
    """
    measured = TilePass(reconstruct, judge, len(split.store.channels))
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        measured.update(split, chosen, references)
        steps.advance(len(chosen))
    return measured


def latent_shape(reconstruct: Reconstructor, split: TileSplit) -> tuple[int, ...]:
    """Return the shape of one latent."""
    _, latent = reconstruct(split.batch([0])["x"])
    return tuple(latent.mean.shape[1:])


def hidden_batches(
    reconstruct: Reconstructor,
    split: TileSplit,
    indices: list[int],
    judge: Judge,
    batch_size: int,
) -> Iterator[Batch]:
    """Yield tiles as `hidden_markers` takes them."""
    for start in range(0, len(indices), batch_size):
        raw = torch.from_numpy(
            np.stack([split.raw(index) for index in indices[start : start + batch_size]])
        )
        x, scale = split.chain.forward(raw)

        def answer(hidden: Tensor, scale: Tensor | None = scale) -> Tensor:
            return judge(judge.counts(reconstruct(hidden)[0].cpu(), scale))

        yield x, judge(raw), answer
