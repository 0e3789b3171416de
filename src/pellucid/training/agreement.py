"""After every step all processes agree: was anything non-finite, was anyone asked to stop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class StepAgreement:
    """Exchange two flags per optimiser step, without making a GPU wait for the host.

    On the CPU the answer is about the step at hand. On CUDA reading a flag at once would stall
    the device every step, so there the flag is *sticky on the device*: it is handed to the fused
    optimiser as `found_inf`, whose kernel then skips this update and all later ones, and the
    host reads it one step late. Weights therefore never take a bad update either way.

    Args:
        lagged: read the flags one step late (CUDA).
    """

    def __init__(self, *, lagged: bool) -> None:
        self.lagged = lagged
        self.stop_requested = False
        self._bad: Tensor | None = None
        self._pending: tuple[Tensor, torch.cuda.Event | None] | None = None

    def exchange(
        self, bad: Tensor, optimizers: Sequence[torch.optim.Optimizer]
    ) -> tuple[bool, bool]:
        """Return (bad, stop) of this step, or of the step before when lagged.

        Args:
            bad: scalar bool, whether this process met a non-finite value.
            optimizers: those about to step; all of them step, or none.
        """
        flags = torch.stack((bad.float(), torch.full_like(bad, self.stop_requested).float()))
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        if not self.lagged:
            return _read(flags)
        self._bad = flags[0] if self._bad is None else torch.maximum(self._bad, flags[0])
        for optimizer in optimizers:
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]
        before, self._pending = self._pending, _to_host(flags)
        return (False, False) if before is None else _read(*before)

    def settle(self) -> bool:
        """Wait for a lagged answer; return whether the latest step was bad.

        Called before anything is written that must not hold a bad state.
        """
        if self._bad is None:
            return False
        return bool(self._bad.item())


def _to_host(flags: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Start copying the flags to the host; the event says when they have arrived."""
    if flags.device.type != "cuda":
        return flags, None
    host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
    host.copy_(flags, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return host, arrived


def _read(flags: Tensor, arrived: torch.cuda.Event | None = None) -> tuple[bool, bool]:
    if arrived is not None:
        arrived.synchronize()
    bad, stop = flags.tolist()
    return bool(bad), bool(stop)
