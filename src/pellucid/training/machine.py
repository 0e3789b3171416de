"""Which device, how many processes and threads, and what the run's environment was."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Literal

import torch
import torch.distributed as dist

from pellucid.errors import RecipeError, unknown_name

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
_PACKAGES = ("pellucid", "torch", "lightning", "numpy", "safetensors")


def choose_device(accelerator: Accelerator) -> torch.device:
    """Return this process's device; "auto" prefers CUDA, then Apple's GPU, then the CPU.

    Raises:
        RecipeError: when the accelerator is unknown or absent.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if accelerator == "auto":
        accelerator = next(name for name, here in present.items() if here)  # type: ignore[assignment]
    if accelerator not in present:
        raise unknown_name(
            "accelerator", accelerator, ("auto", *present), where="training.accelerator"
        )
    if not present[accelerator]:
        raise RecipeError(
            f"there is no usable {accelerator} device",
            where="training.accelerator",
            expected=" or ".join(["auto", *(name for name, here in present.items() if here)]),
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device(accelerator, local) if accelerator == "cuda" else torch.device(accelerator)


def processes(devices: int | Literal["auto"]) -> tuple[int, int]:
    """Return (rank, world) as torchrun set them, or (0, 1).

    Raises:
        RecipeError: when another number of devices is asked for than processes were started.
    """
    world = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if devices not in ("auto", world):
        raise RecipeError(
            "every device needs its own process",
            where="training.devices",
            expected=f"'auto' or {world}, the number of processes",
            found=devices,
            hint=f"torchrun --nproc-per-node {devices} -m pellucid train …",
        )
    return (int(os.environ["RANK"]) if world > 1 else 0), world


def connect_processes(device: torch.device, world: int) -> None:
    """Connect the processes that torchrun started, once, until they exit.

    The connection outlives a fit: a second one in the same processes could not be made anew,
    because the launcher's store still holds the addresses of the first.
    """
    if world == 1 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    atexit.register(_disconnect)


def _disconnect() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def barrier(world: int) -> None:
    """Wait for all processes."""
    if world > 1:
        dist.barrier()


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[int]:
    """Set torch's threads for a while.

    None keeps torch's own number, but never more than the CPUs this process may run on, shared
    among the processes of this machine (torchrun itself would leave each with one).
    """
    before = torch.get_num_threads()
    if threads is None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else before
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = max(1, allowed // local) if local > 1 else min(before, allowed)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's banners, tips and advice, which name none of our options."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def environment(
    device: torch.device, *, threads: int, world: int, precision: str
) -> dict[str, Any]:
    """Describe what the run ran on, for run.json."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "versions": {package: _version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device.type,
        "device_name": name or platform.machine(),
        "processes": world,
        "threads": threads,
        "precision": precision,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
