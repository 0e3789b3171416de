"""Our default VQ against vector-quantize-pytorch's `VectorQuantize` in its place.

Same encoder, decoder, data, order, steps, optimiser and bits; only the bottleneck differs. Held-out
PSNR on 8-bit pixels, several seeds; the peer runs with its defaults and with each of its documented
settings, and with the two that belong together (k-means init and the dead-code threshold).

    python benchmarks/vq_quality.py --clothing PATH --cifar PATH --log RUNS.jsonl [--write]

Trainings found in the log are not repeated, so an interrupted benchmark goes on where it stopped,
and two processes may share the work (`--clothing` in one, `--cifar` in the other, then both).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.bottlenecks import VQ
from pellucid.data import ImageData
from pellucid.data.order import EpochOrder
from pellucid.functional.psnr import psnr
from pellucid.nn.residual import ResidualDecoder, ResidualEncoder
from results import write_section

CODES, CHANNELS = 512, 64
STEPS, BATCH = 300, 32
SEEDS = (0, 1, 2)

PEER: dict[str, dict[str, Any]] = {
    "peer: defaults": {},
    "peer: k-means init": {"kmeans_init": True},
    "peer: dead-code threshold 2": {"threshold_ema_dead_code": 2},
    "peer: cosine": {"use_cosine_sim": True},
    "peer: rotation trick": {"rotation_trick": True},
    "peer: k-means init + threshold 2": {"kmeans_init": True, "threshold_ema_dead_code": 2},
}
OURS = "ours: defaults"


class Peer(nn.Module):
    """vector-quantize-pytorch with its own loss, channels-first in and out."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.quantizer = VectorQuantize(CHANNELS, CODES, accept_image_fmap=True, **settings)

    def forward(self, h_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z_BCHW, codes_BHW, loss = self.quantizer(h_BCHW)
        return z_BCHW, codes_BHW, loss.sum()


class Ours(nn.Module):
    """Our VQ as recipes build it when they say nothing but the number of codes."""

    def __init__(self) -> None:
        super().__init__()
        self.quantizer = VQ(CHANNELS, codes=CODES)

    def forward(self, h_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.quantizer(h_BCHW)
        assert output.latent.codes is not None
        loss = sum((p.weight * p.value for p in output.penalties.values()), h_BCHW.new_zeros(()))
        return output.z, output.latent.codes, loss


def batches(data: ImageData, seed: int) -> Iterator[Tensor]:
    """Yield the same training batches for every bottleneck."""
    order = EpochOrder(len(data.train), BATCH, seed)
    for keys in itertools.islice(iter(order), STEPS):
        yield torch.stack([item["x"] for item in data.train.__getitems__(keys)])


def train_and_score(name: str, data: ImageData, seed: int) -> dict[str, float]:
    """Train one model; return held-out PSNR (mean of per-image) and code usage."""
    torch.manual_seed(seed)
    stride = 4 if data.size <= 32 else 8
    sizes = {"stride": stride, "width": 32, "multipliers": (1, 2) if stride == 4 else (1, 2, 4)}
    encoder = ResidualEncoder(3, CHANNELS, **sizes)
    decoder = ResidualDecoder(CHANNELS, 3, **sizes)
    torch.manual_seed(seed)
    bottleneck = Ours() if name == OURS else Peer(PEER[name])
    model = nn.ModuleDict({"e": encoder, "q": bottleneck, "d": decoder}).train()
    model.to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, STEPS, pct_start=0.05)
    for x in batches(data, seed):
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            h = encoder(x)
        z, _, loss = bottleneck(h.float())
        with torch.autocast("cpu", torch.bfloat16):
            x_hat = decoder(z)
        loss = loss + (x_hat.float() - x).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return score(model, data)


@torch.no_grad()
def score(model: nn.ModuleDict, data: ImageData) -> dict[str, float]:
    """Return held-out PSNR on rounded 8-bit pixels and the share of codes used."""
    model.eval()
    values, codes = [], []
    items = [data.test[index] for index in range(len(data.test))]
    for start in range(0, len(items), 64):
        x = torch.stack([item["x"] for item in items[start : start + 64]])
        z, used, _ = model["q"](model["e"](x))
        pair = [data.value_range.to_uint8(v).float() for v in (model["d"](z), x)]
        values.append(psnr(*pair, data_range=255.0))
        codes.append(used.flatten())
    return {
        "psnr": float(torch.cat(values).mean()),
        "usage": torch.cat(codes).unique().numel() / CODES,
    }


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Write medians per bottleneck and the paired differences from ours, as Markdown."""
    lines = [
        "## VQ quality against vector-quantize-pytorch",
        "",
        "`python benchmarks/vq_quality.py --write`: same networks, data, order, steps and bits. "
        f"{len(SEEDS)} seeds, {STEPS} steps of {BATCH}, K = {CODES}, AdamW 1e-3, squared error. "
        "PSNR is the mean over held-out images of 8-bit PSNR; differences are paired by seed. "
        "(The peer's default already is its rotation trick, so those two rows are one.)",
        "",
        "| data | bottleneck | PSNR, median (min … max) | codes used | ours − this, paired |",
        "|---|---|---:|---:|---:|",
    ]
    for data, by_name in results.items():
        ours = [entry["psnr"] for entry in by_name[OURS]]
        for name, entries in by_name.items():
            values = [entry["psnr"] for entry in entries]
            gaps = [a - b for a, b in zip(ours, values, strict=True)]
            usage = statistics.median(entry["usage"] for entry in entries)
            gap = "" if name == OURS else f"{spread(gaps, '+.2f')} dB"
            lines.append(f"| {data} | {name} | {spread(values, '.2f')} dB | {usage:.0%} | {gap} |")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """Format median (min … max)."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} … {high:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clothing", type=Path, help="folder of photographs")
    parser.add_argument("--cifar", type=Path, help="npz of 32×32 images")
    parser.add_argument("--log", type=Path, required=True, help="one JSON line per training")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    sources = {"clothing 64×64": (arguments.clothing, 64), "CIFAR-10 32×32": (arguments.cifar, 32)}
    sources = {title: source for title, source in sources.items() if source[0] is not None}
    names = [OURS, *PEER]
    log = arguments.log
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    for title, (path, size) in sources.items():
        data = ImageData(path=str(path), size=size)
        for seed, name in itertools.product(SEEDS, names):
            if any((e["data"], e["name"], e["seed"]) == (title, name, seed) for e in done):
                continue
            entry = {"data": title, "name": name, "seed": seed, **train_and_score(name, data, seed)}
            done.append(entry)
            line = json.dumps(entry, ensure_ascii=False)
            print(line, flush=True)
            with log.open("a") as file:
                file.write(line + "\n")
    results = {
        title: {
            name: sorted(
                (e for e in done if (e["data"], e["name"]) == (title, name)), key=itemgetter("seed")
            )
            for name in names
        }
        for title in sources
    }
    print(table(results))
    if arguments.write:
        write_section("vq-quality", table(results))


if __name__ == "__main__":
    main()
