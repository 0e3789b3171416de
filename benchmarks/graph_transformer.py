"""One training step of the graph VAE of `tissue-graph`, ours against plain masked attention.

Both are the same model with the same weights: 41-channel tiles of 24×24 pixels as 6×6 nodes, 8
global tokens, 4 + 4 layers of width 128, 4 heads. Ours is what `pellucid train` does: scaled-dot-
product attention without a mask where every node exists, bf16 where the hardware multiplies in it,
fused AdamW. Plain is float32 with attention written out: logits, mask, softmax, weighted sum, and
AdamW as `torch.optim` builds it. The two take turns on the same batches; the ratio is the median
over pairs. Their float32 outputs are compared first.

    python benchmarks/graph_transformer.py [--pairs 30] [--batch 64] [--write]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.bottlenecks import Gaussian
from pellucid.models import Autoencoder, resolve_precision
from pellucid.nn.graph import GraphDecoder, GraphEncoder, GraphTransformer
from pellucid.objectives import L2, Objective, Weighted
from pellucid.training.forward import run_forward
from pellucid.training.optimizer import build_optimizer, parameter_groups
from results import write_section

CHANNELS, SIZE, WARM_UP = 41, 24, 3
RATE, BETAS = 1e-3, (0.9, 0.99)
SHARED = {"channels": 128, "patch": 4, "depth": 4, "heads": 4, "tokens": 8}


class PlainTransformer(nn.Module):
    """The same layers with attention written out under an explicit mask.

    Args:
        fast: whose layers these are.
    """

    def __init__(self, fast: GraphTransformer) -> None:
        super().__init__()
        self.layers, self.norm = fast.layers, fast.norm

    def forward(self, x_BNW: Tensor, bias_BHNN: Tensor | None = None) -> Tensor:
        """Return (B, N, W)."""
        mask_BN = torch.ones(x_BNW.shape[:2], dtype=torch.bool)
        for layer in self.layers:
            x_BNW = x_BNW + self._attend(layer, layer.norm_1(x_BNW), mask_BN)
            x_BNW = x_BNW + layer.narrow(F.gelu(layer.widen(layer.norm_2(x_BNW))))
        return self.norm(x_BNW)

    @staticmethod
    def _attend(layer, x_BNW: Tensor, mask_BN: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for part in layer.to_qkv(x_BNW).chunk(3, -1)
        )
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        logits = logits.masked_fill(~mask_BN[:, None, None], float("-inf"))
        mixed = logits.softmax(-1) @ v
        return layer.out(mixed.transpose(1, 2).flatten(2)) * mask_BN[..., None]


def build() -> Autoencoder:
    """Return the model of the recipe, permuter aside."""
    torch.manual_seed(0)
    return Autoencoder(
        GraphEncoder(CHANNELS, **SHARED),
        Gaussian(128, 32),
        GraphDecoder(32, CHANNELS, side=SIZE // 4, **SHARED),
    )


def plain_twin(model: Autoencoder) -> Autoencoder:
    """Return the same weights behind written-out attention."""
    twin = copy.deepcopy(model)
    for part in (twin.encoder.graph, twin.decoder.graph):
        part.transformer = PlainTransformer(part.transformer)
    return twin


class Trainer:
    """A model and the one step it is trained with."""

    def __init__(self, model: Autoencoder, *, ours: bool) -> None:
        self.model = model.train()
        self.precision = resolve_precision("cpu") if ours else "float32"
        self.objective = Objective({"l2": Weighted(L2(), 1.0)})
        if ours:
            self.optimizer = build_optimizer(
                model, learning_rate=RATE, betas=BETAS, weight_decay=1e-4
            )
        else:
            self.optimizer = torch.optim.AdamW(parameter_groups(model, 1e-4), lr=RATE, betas=BETAS)

    def step(self, x: Tensor) -> None:
        """Take one optimiser step."""
        batch = {"x": x, "target": x}
        forward = run_forward(self.model, self.objective, batch, precision=self.precision)
        self.optimizer.zero_grad(set_to_none=True)
        forward.objective.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def measure(pairs: int, batch: int) -> tuple[dict[str, list[float]], float]:
    """Return seconds per step of both, in turns, and their largest float32 difference."""
    model = build()
    twin = plain_twin(model)
    x = torch.randn(batch, CHANNELS, SIZE, SIZE)
    with torch.no_grad():
        apart = float((model.eval()(x).x_hat - twin.eval()(x).x_hat).abs().max())
    trainers = {"ours": Trainer(model, ours=True), "plain": Trainer(twin, ours=False)}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(WARM_UP + pairs):
        x = torch.randn(batch, CHANNELS, SIZE, SIZE)
        for name, trainer in trainers.items():
            start = time.perf_counter()
            trainer.step(x)
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return seconds, apart


def table(seconds: dict[str, list[float]], apart: float, batch: int) -> str:
    """Write medians and the paired ratio as Markdown."""
    count = sum(p.numel() for p in build().parameters())
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours, plain = (1e3 * statistics.median(seconds[name]) for name in ("ours", "plain"))
    return "\n".join(
        [
            f"Training step of the graph VAE ({count / 1e6:.2f} M parameters, {CHANNELS} channels, "
            f"6×6 nodes of 4×4 pixels, batch {batch}); {torch.get_num_threads()} threads, torch "
            f"{torch.__version__}, ours in {resolve_precision('cpu')}; float32 outputs differ by "
            f"{apart:.1e} at most.",
            "",
            "| way | median step |",
            "|---|---:|",
            f"| ours | {ours:.0f} ms |",
            f"| plain masked attention, float32 | {plain:.0f} ms |",
            "",
            f"Plain over ours, pair by pair: median {middle:.2f}× (quartiles {low:.2f} … "
            f"{high:.2f}, {len(ratios)} pairs).",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=30, help="timed steps of each way")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    if arguments.pairs < 2:
        parser.error("--pairs must be at least 2: quartiles need them")
    text = table(*measure(arguments.pairs, arguments.batch), arguments.batch)
    print(text)
    if arguments.write:
        write_section("graph-transformer", "## Graph transformer step\n\n" + text)


if __name__ == "__main__":
    main()
