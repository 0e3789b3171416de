"""Loaders of training and validation batches that never touch the global random generators."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pellucid.data.order import Address, EpochOrder


class RemainingBatches(Sampler[list[Address]]):
    """The batches of `order` from its first step, a stated number of them.

    An end lets Lightning fetch no batch that is never trained on, and lets workers finish.

    Args:
        order: the endless order.
        count: how many batches are left to train on.
    """

    def __init__(self, order: EpochOrder, count: int) -> None:
        self.order = order
        self.count = count

    def __iter__(self) -> Iterator[list[Address]]:
        return itertools.islice(self.order, self.count)

    def __len__(self) -> int:
        return self.count


def training_loader(
    train_set: Dataset[Any], order: EpochOrder, *, count: int, workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Load `count` batches in the given order.

    Args:
        train_set: answers to (index, epoch).
        order: which samples form which batch.
        count: how many batches.
        workers: processes that prepare batches; 0 prepares them in this one.
        pin_memory: for copies to a GPU.
    """
    return _loader(train_set, RemainingBatches(order, count), workers, pin_memory)


def validation_loader(
    validation_set: Dataset[Any], *, batch_size: int, rank: int, world: int, pin_memory: bool
) -> tuple[DataLoader[Any], list[int]]:
    """Load this process's share of the validation set, and say what each batch weighs.

    All processes get equally many batches, so that no collective waits for ever; repeats that
    fill up the last round weigh nothing.

    Returns:
        the loader, and the number of samples that each of its batches counts for.
    """
    n = len(validation_set)  # type: ignore[arg-type]
    batches = [list(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]
    rounds = math.ceil(len(batches) / world)
    mine = [k * world + rank for k in range(rounds)]
    weights = [len(batches[k]) if k < len(batches) else 0 for k in mine]
    chosen = [batches[k % len(batches)] for k in mine]
    return _loader(validation_set, chosen, 0, pin_memory), weights


def _loader(dataset: Dataset[Any], batches: Any, workers: int, pin_memory: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        # a loader without its own generator would draw its workers' seed from the global one
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=_ignore_signals,
        persistent_workers=False,
    )


def _ignore_signals(_worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which reach a whole process group, to the main process.

    It stops after the step at hand, and may need one more batch for that.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
