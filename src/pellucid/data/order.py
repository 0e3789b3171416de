"""The order of training samples: a pure function of the step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from pellucid.errors import DataError

Address = tuple[int, int]  # (index, epoch)

_ORDER = 1  # second word of the key: a stream apart from the one that augmentation draws from


class EpochOrder(Sampler[list[Address]]):
    """Yield batches of (index, epoch) for ever; step s is the same in a resumed run.

    Every epoch is a fresh permutation from (seed, epoch). Its ragged rest is dropped, so each
    batch is full. Ranks take disjoint parts of one global batch of batch_size · world samples,
    so the samples of a step do not depend on how many processes share it.

    It has no length, because it has no end: `steps_per_epoch` says where epochs turn.

    Args:
        n: samples in the set.
        batch_size: samples per batch and rank.
        seed: chooses the permutations.
        rank: this process, 0…world − 1.
        world: number of processes.
        start_step: first step to yield, for a resumed run.

    Raises:
        DataError: when one global batch does not fit into the set, or an argument has no meaning.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
    ) -> None:
        if batch_size < 1 or world < 1 or not 0 <= rank < world or start_step < 0 or seed < 0:
            raise DataError(
                "a sampling order needs other numbers",
                expected="batch_size ≥ 1, 0 ≤ rank < world, start_step ≥ 0, seed ≥ 0",
                found=f"batch_size {batch_size}, rank {rank}, world {world}, "
                f"start_step {start_step}, seed {seed}",
            )
        if batch_size * world > n:
            raise DataError(
                "the batch is larger than the training set",
                where="training.batch_size",
                expected=f"batch_size × processes ≤ {n} training samples",
                found=f"{batch_size} × {world} = {batch_size * world}",
                hint=f"training.batch_size={n // world} fits; data.train_crops adds samples"
                if n >= world
                else f"{world} processes are too many for {n} samples",
            )
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.rank, self.world, self.start_step = rank, world, start_step
        self.steps_per_epoch = n // (batch_size * world)

    def batch(self, step: int) -> list[Address]:
        """Return this rank's samples of optimiser step `step` (0 is the first)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._batch(self._permutation(epoch), place, epoch)

    def __iter__(self) -> Iterator[list[Address]]:
        epoch, place = divmod(self.start_step, self.steps_per_epoch)
        while True:
            permutation = self._permutation(epoch)
            for later in range(place, self.steps_per_epoch):
                yield self._batch(permutation, later, epoch)
            epoch, place = epoch + 1, 0

    def _permutation(self, epoch: int) -> np.ndarray:
        stream = np.random.Philox(key=[self.seed, _ORDER], counter=[0, 0, 0, epoch])
        return np.random.Generator(stream).permutation(self.n)

    def _batch(self, permutation: np.ndarray, place: int, epoch: int) -> list[Address]:
        start = (place * self.world + self.rank) * self.batch_size
        chosen = permutation[start : start + self.batch_size]
        return [(index, epoch) for index in chosen.tolist()]
