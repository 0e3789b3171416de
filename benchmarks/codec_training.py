"""Training steps of our waveform autoencoder against DAC's generator at matched size and batch.

DAC's generator comes from its own package, narrowed until it has about as many parameters as ours,
with as many codebooks and the same samples per frame. Both see the same batches and the same
metric losses (L1 and log-mel, ours), their own quantiser penalties, and AdamW; nobody is judged.
They take turns step by step in one process and thread; processor seconds are counted. Peak memory
is the rise of a child process's peak.

    python benchmarks/codec_training.py [RECIPE-OR-RUN] [--batch 4] [--rounds 5] [--write]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codec_speed import FOREIGN, STAND_IN, build_ours, environment, processor_seconds, sections_of

ASKED_FASTER = 1.5
SECONDS, SAMPLE_RATE = 1.0, 16_000
SIDES = ("ours", "ours in bf16", "DAC")
_WIDTHS = [(encoder, decoder) for encoder in range(4, 49, 2) for decoder in range(48, 769, 16)]
Step = Callable[[Tensor], None]


# ---- the two generators


def build_dac(levels: int, strides: list[int], encoder_dim: int, decoder_dim: int) -> nn.Module:
    """DAC's generator at some width."""
    from dac import DAC

    return DAC(
        encoder_dim=encoder_dim, encoder_rates=strides, decoder_dim=decoder_dim,
        decoder_rates=strides[::-1], n_codebooks=levels, codebook_size=1024, codebook_dim=8,
        sample_rate=SAMPLE_RATE,
    )  # fmt: skip


def dac_parameters(levels: int, strides: list[int], encoder_dim: int, decoder_dim: int) -> int:
    """Count its parameters without making them."""
    with torch.device("meta"):
        return parameters(build_dac(levels, strides, encoder_dim, decoder_dim))


def matched(wanted: int, count: Callable[[int, int], int]) -> tuple[int, int]:
    """Return the widths whose size comes nearest, among those shaped as DAC's own 64 to 1536."""
    shaped = [(e, d) for e, d in _WIDTHS if abs(math.log(d / e / 24)) < 0.1]
    return min(shaped, key=lambda pair: abs(math.log(count(*pair) / wanted)))


def parameters(module: nn.Module) -> int:
    """Return how many numbers training moves."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def strides_of(stride: int) -> list[int]:
    """Return four strides of a product, for DAC: 320 is its own 2·4·5·8."""
    known = {320: [2, 4, 5, 8], 640: [4, 4, 5, 8], 256: [2, 4, 4, 8], 160: [2, 2, 5, 8]}
    if stride not in known:
        raise SystemExit(f"no strides of DAC are known for {stride} samples per frame")
    return known[stride]


def steps(side: str, nodes: dict[str, dict[str, Any]]) -> tuple[Step, int]:
    """Return one training step of a side, and its size."""
    from pellucid.objectives import L1, LogMel

    torch.manual_seed(0)
    ours = build_ours(nodes).train()
    log_mel = LogMel(
        sample_rate=SAMPLE_RATE, windows=(64, 256, 1024, 2048), bands=(10, 40, 80, 128)
    )
    terms = [(L1(), 5.0), (log_mel, 1.0)]
    model: Any = ours
    if side == "DAC":
        levels, strides = nodes["bottleneck"].get("levels", 8), strides_of(ours.stride)
        widths = matched(parameters(ours), lambda e, d: dac_parameters(levels, strides, e, d))
        model = build_dac(levels, strides, *widths).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.8, 0.99))

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        if side == "DAC":
            out = model(x, SAMPLE_RATE)
            x_hat = out["audio"]
            penalty = 0.25 * out["vq/commitment_loss"] + out["vq/codebook_loss"]
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=side.endswith("bf16")):
                out = model(x)
            x_hat = out.x_hat.float()
            penalty = sum(p.weight * p.value for p in out.penalties.values())
        target = x[..., : x_hat.shape[-1]]  # DAC's stride of 5 loses samples at the end
        loss = penalty + sum(weight * term(x_hat, target) for term, weight in terms)
        loss.backward()
        optimizer.step()

    return step, parameters(model)


def batch(size: int, step: int) -> Tensor:
    """Return (B, 1, T) of coloured noise in bursts: what is learned does not change the work."""
    generator = torch.Generator().manual_seed(step)
    noise = torch.randn(size, 1, int(SECONDS * SAMPLE_RATE), generator=generator)
    return 0.05 * noise.cumsum(-1).diff(prepend=noise[..., :1]).clamp(-3, 3)


# ---- measurements, in the package's environment


def measure(nodes: dict[str, dict[str, Any]], size: int, rounds: int) -> dict[str, Any]:
    """Return processor seconds per step of every side."""
    torch.set_num_threads(1)
    sides = {side: steps(side, nodes) for side in SIDES}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for round_ in range(rounds + 1):
        x = batch(size, round_)
        for side, (step, _) in sides.items():
            seconds = processor_seconds(lambda s=step, x=x: s(x))
            if round_:  # the first warms up and starts the codebooks
                times[side].append(seconds)
    return {
        "times": times,
        "parameters": {side: count for side, (_, count) in sides.items()},
        "torch": torch.__version__,
    }


def memory(side: str, nodes: dict[str, dict[str, Any]], size: int) -> float:
    """Return by how many MiB two steps raise this process's peak."""
    torch.set_num_threads(1)
    step, _ = steps(side, nodes)
    step(batch(1, 0)[..., : SAMPLE_RATE // 5])  # imports, thread pools, moments: not counted
    before = peak_resident_kib()
    for number in range(2):
        step(batch(size, number))
    return (peak_resident_kib() - before) / 1024


def peak_resident_kib() -> int:
    """This process's peak resident memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


# ---- output


def table(found: dict[str, Any], name: str, size: int) -> str:
    """The Markdown section."""
    theirs = found["times"]["DAC"]
    lines = [
        "## Training a codec's generator",
        "",
        f"`python benchmarks/codec_training.py {name} --batch {size} --write`: batches of {size} × "
        f"{SECONDS:g} s at 16 kHz, L1 and log-mel, one thread, torch {found['torch']}; "
        f"{len(theirs)} alternating rounds, processor seconds, medians; ratios of the same round "
        f"(lowest … highest). DAC's package, narrowed. Asked: ≥ {ASKED_FASTER}× as fast, memory "
        "not higher.",
        "",
        "| generator | parameters | per step | steps per second | faster than DAC | peak memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for side, own in found["times"].items():
        ratios = sorted(b / a for a, b in zip(own, theirs, strict=True))
        faster = f"**{statistics.median(ratios):.2f}×** ({ratios[0]:.2f} … {ratios[-1]:.2f})"
        median = statistics.median(own)
        lines.append(
            f"| {side} | {found['parameters'][side] / 1e6:.2f} M | {median:.2f} s "
            f"| {1 / median:.2f} | {'' if side == 'DAC' else faster} "
            f"| {found['memory'][side]:.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure in the package's environment and print the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a recipe's name or a run folder")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, nodes = arguments.child[0], json.loads(arguments.child[1])
        if what == "time":
            print(json.dumps(measure(nodes, arguments.batch, arguments.rounds)))
        else:
            print(json.dumps(memory(what, nodes, arguments.batch)))
        return
    if not FOREIGN.exists():
        sys.exit("the package is not here: python tests/foreign/make_environment.py")
    nodes = sections_of(arguments.model) if arguments.model else STAND_IN

    def child(what: str) -> Any:
        command = [str(FOREIGN), __file__, "--child", what, json.dumps(nodes)]
        command += ["--batch", str(arguments.batch), "--rounds", str(arguments.rounds)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment()
        )
        return json.loads(done.stdout.splitlines()[-1])

    found = {**child("time"), "memory": {side: child(side) for side in SIDES}}
    section = table(found, Path(arguments.model).name if arguments.model else "", arguments.batch)
    print(section)
    if arguments.write:
        from results import write_section

        write_section("codec-training", section)


if __name__ == "__main__":
    main()
