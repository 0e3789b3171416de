"""Two processes with half a batch each learn what one process learns from the whole."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.bottlenecks import RVQ, VQ, Bottleneck

STEPS, ROWS = 6, 400
KINDS = ("vq", "cosine", "rvq")


def build(kind: str) -> Bottleneck:
    torch.manual_seed(0)
    if kind == "vq":
        return VQ(6, codes=32, decay=0.8)
    if kind == "cosine":
        return VQ(6, codes=32, decay=0.8, cosine=True)
    return RVQ(6, levels=3, codes=32, decay=0.8)


def batch(step: int) -> Tensor:
    """Drifting data, so that codes die and restart."""
    generator = torch.Generator().manual_seed(step)
    z = torch.randn(ROWS, 6, generator=generator)
    return z + 2.0 * step * torch.sign(z[:, :1])


def learn(kind: str, rows: slice) -> tuple[dict[str, Tensor], int]:
    bottleneck = build(kind)
    restarts = 0
    for step in range(STEPS):
        before = [v.clone() for n, v in bottleneck.named_buffers() if n.endswith("ema_counts")]
        bottleneck(batch(step)[rows])
        restarts += sum(int((c < 0.25 * ROWS / 32).sum()) for c in before)
    return bottleneck.state_dict(), restarts


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    # A file, not a port: no port can be taken meanwhile, and no server's thread has to be ended.
    meeting = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.manual_seed(rank)
    for kind in KINDS:
        # Unequal shares: the last batch of an epoch need not divide evenly.
        state, _ = learn(kind, slice(0, 150) if rank == 0 else slice(150, ROWS))
        save_file(state, Path(folder) / f"{kind}-{rank}.safetensors")
    dist.barrier()  # neither leaves while the other is still in its last exchange
    dist.destroy_process_group()
    # What is tested lies in the files. The teardown of PyTorch's threads is not ours, and it has
    # aborted a process that was done.
    os._exit(0)


def test_two_processes_equal_one(tmp_path) -> None:
    mp.start_processes(work, (str(tmp_path),), nprocs=2, start_method="spawn")
    for kind in KINDS:
        alone, restarts = learn(kind, slice(0, ROWS))
        assert restarts > 0  # the drift did kill codes, so restarts are compared too
        ranks = [load_file(tmp_path / f"{kind}-{rank}.safetensors") for rank in (0, 1)]
        for name, value in alone.items():
            assert torch.equal(ranks[0][name], ranks[1][name]), name
            torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-4, msg=name)
