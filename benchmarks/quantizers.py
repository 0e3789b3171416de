"""VQ and 8-level residual VQ against vector-quantize-pytorch with the same options.

8192 vectors of 64 numbers, K = 1024, float32. Training is forward + backward + EMA update;
inference is forward without gradient. Both sides start from the same k-means codebook and see the
same batches; ours and theirs alternate call by call in one process, so that a busy moment hits
both, and the ratio is the median of the pairs' ratios. Peak memory is taken from a child process
per side, where nothing else has raised it.

    python benchmarks/quantizers.py [--pairs 15] [--threads 2] [--write]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.bottlenecks import RVQ, VQ
from pellucid.functional.kmeans import kmeans
from results import write_section

N, D, K, LEVELS = 8192, 64, 1024, 8
DECAY, COMMITMENT = 0.99, 0.25
KINDS = ("vq", "rvq")
MODES = ("train", "inference")


# ---- the two sides


def build_ours(kind: str) -> nn.Module:
    """Our quantiser; no restart, because the peer's is random and the states are compared."""
    options = {"decay": DECAY, "commitment": COMMITMENT, "init": "normal", "restart_threshold": 0.0}
    return VQ(D, codes=K, **options) if kind == "vq" else RVQ(D, levels=LEVELS, codes=K, **options)


def build_theirs(kind: str) -> nn.Module:
    """The peer's quantiser with plain straight-through, as ours has."""
    from vector_quantize_pytorch import ResidualVQ, VectorQuantize

    options = {"decay": DECAY, "commitment_weight": COMMITMENT, "rotation_trick": False}
    if kind == "vq":
        return VectorQuantize(dim=D, codebook_size=K, **options)
    return ResidualVQ(dim=D, num_quantizers=LEVELS, codebook_size=K, **options)


def same_start(ours: nn.Module, theirs: nn.Module, z_ND: Tensor) -> None:
    """Give both sides the same k-means codebooks and EMA statistics."""
    for mine, peer in zip(codebooks(ours), peer_codebooks(theirs), strict=True):
        fitted = kmeans(z_ND, K)
        sums_KD = fitted.vectors * fitted.counts[:, None]
        mine.vectors.copy_(fitted.vectors)
        mine.ema_sums.copy_(sums_KD)
        mine.ema_counts.copy_(fitted.counts)
        peer.embed.copy_(fitted.vectors[None])
        peer.embed_avg.copy_(sums_KD[None])
        peer.cluster_size.copy_(fitted.counts[None])
        z_ND = z_ND - mine.lookup(mine.search(z_ND))


def codebooks(ours: nn.Module) -> list[nn.Module]:
    """Our codebooks, one per level."""
    return [ours.codebook] if isinstance(ours, VQ) else list(ours.codebooks)


def peer_codebooks(theirs: nn.Module) -> list[nn.Module]:
    """The peer's codebooks, one per level."""
    layers = theirs.layers if hasattr(theirs, "layers") else [theirs]
    return [layer._codebook for layer in layers]


def call_ours(ours: nn.Module, z_ND: Tensor, mode: str) -> Tensor:
    """One training step or one inference; returns the codes."""
    if mode == "inference":
        with torch.no_grad():
            return ours(z_ND).latent.codes
    output = ours(z_ND.requires_grad_())
    penalty = output.penalties["commitment"]
    (output.z.square().mean() + penalty.value * penalty.weight).backward()
    return output.latent.codes


def call_theirs(theirs: nn.Module, z_ND: Tensor, mode: str) -> Tensor:
    """The same for the peer."""
    if mode == "inference":
        with torch.no_grad():
            return theirs(z_ND[None])[1][0]
    quantised, codes, loss = theirs(z_ND.requires_grad_()[None])
    (quantised.square().mean() + loss.mean()).backward()
    return codes[0]


def batch(step: int) -> Tensor:
    """Vectors with structure: a mixture, so that codes differ in how often they are used."""
    centres = torch.randn(300, D, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1 + step)
    which = torch.randint(0, len(centres), (N,), generator=generator)
    return centres[which] + 0.5 * torch.randn(N, D, generator=generator)


# ---- measurements


@dataclasses.dataclass(frozen=True)
class Row:
    """One paired comparison; times are medians in milliseconds."""

    kind: str
    mode: str
    ours_ms: float
    theirs_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bare_ms: float
    over_bare: float
    ours_mib: float
    theirs_mib: float
    agreement: float
    state_gap: float


def timed(function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Run once; return milliseconds and the result."""
    start = time.perf_counter()
    result = function()
    return 1e3 * (time.perf_counter() - start), result


def compare(kind: str, mode: str, pairs: int) -> Row:
    """Alternate ours, theirs and the bare distance product over the same batches."""
    torch.manual_seed(0)
    ours, theirs = build_ours(kind), build_theirs(kind)
    same_start(ours, theirs, batch(0))
    ours.train(mode == "train")
    theirs.train(mode == "train")
    levels = len(codebooks(ours))
    vectors_KD = codebooks(ours)[0].vectors.clone()
    times: list[tuple[float, float, float]] = []
    agreement = []
    for step in range(pairs + 2):
        z_ND = batch(step)
        ours_ms, codes = timed(lambda z=z_ND: call_ours(ours, z.clone(), mode))
        theirs_ms, peer_codes = timed(lambda z=z_ND: call_theirs(theirs, z.clone(), mode))
        bare_ms = sum(timed(lambda z=z_ND: z @ vectors_KD.t())[0] for _ in range(levels))
        agreement.append((codes == peer_codes).float().mean().item())
        if step >= 2:  # warm-up
            times.append((ours_ms, theirs_ms, bare_ms))
    ratios = sorted(theirs_ms / ours_ms for ours_ms, theirs_ms, _ in times)
    quartiles = statistics.quantiles(ratios, n=4)
    gaps = [
        (getattr(mine, a) - getattr(peer, b)[0]).abs().max().item()
        for mine, peer in zip(codebooks(ours), peer_codebooks(theirs), strict=True)
        for a, b in (("vectors", "embed"), ("ema_counts", "cluster_size"))
    ]
    median = [statistics.median(column) for column in zip(*times, strict=True)]
    return Row(
        kind=kind,
        mode=mode,
        ours_ms=median[0],
        theirs_ms=median[1],
        ratio=statistics.median(ratios),
        ratio_low=quartiles[0],
        ratio_high=quartiles[2],
        bare_ms=median[2],
        over_bare=statistics.median(ours_ms / bare_ms for ours_ms, _, bare_ms in times),
        ours_mib=peak_memory("ours", kind, mode),
        theirs_mib=peak_memory("theirs", kind, mode),
        agreement=statistics.mean(agreement),
        state_gap=max(gaps),
    )


def peak_memory(side: str, kind: str, mode: str) -> float:
    """Peak resident memory above an idle process, in MiB, measured in a child process."""
    command = [sys.executable, __file__, "--child", side, kind, mode]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(side: str, kind: str, mode: str) -> None:
    """Print how much three calls raise this process's peak memory, in MiB."""
    torch.manual_seed(0)
    quantiser = (build_ours if side == "ours" else build_theirs)(kind)
    call = call_ours if side == "ours" else call_theirs
    quantiser.train(mode == "train")
    call(quantiser, batch(0)[:64].clone(), mode)  # imports and thread pools, not counted
    z_ND = batch(0)
    before = peak_resident_kib()
    for _ in range(3):
        call(quantiser, z_ND.clone(), mode)
    print((peak_resident_kib() - before) / 1024)


def peak_resident_kib() -> int:
    """This process's peak resident memory. Not ru_maxrss, which keeps the parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


# ---- output


def table(rows: list[Row], pairs: int) -> str:
    """The Markdown section."""
    lines = [
        "## Quantisers against vector-quantize-pytorch",
        "",
        f"`python benchmarks/quantizers.py --write`: {N} × {D} float32 vectors, K = {K}, residual "
        f"VQ with {LEVELS} levels; {pairs} alternating pairs, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}. Medians; the ratio is the median (quartiles) of the pairs' "
        "ratios. *Bare* is the float32 product z·cᵀ alone, once per level, in the same run. "
        "Memory is the rise of a child process's peak.",
        "",
        "| quantiser | ours | peer | faster | bare product | ours / bare | memory ours / peer "
        "| equal codes | EMA state gap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.kind} {r.mode} | {r.ours_ms:.1f} ms | {r.theirs_ms:.1f} ms "
        f"| **{r.ratio:.1f}×** ({r.ratio_low:.1f}–{r.ratio_high:.1f}) | {r.bare_ms:.1f} ms "
        f"| {r.over_bare:.2f} | {r.ours_mib:.0f} / {r.theirs_mib:.0f} MiB "
        f"| {100 * r.agreement:.3f} % | {r.state_gap:.1e} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "KIND", "MODE"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        child(*arguments.child)
        return
    rows = [compare(kind, mode, arguments.pairs) for kind in KINDS for mode in MODES]
    section = table(rows, arguments.pairs)
    print(section)
    if arguments.write:
        write_section("quantizers", section)


if __name__ == "__main__":
    main()
