"""One training step of a recipe, our way against the plain float32 eager loop of the same model.

Ours is what `pellucid train` does: bf16 autocast where the hardware multiplies in it, channels-last
memory, fused AdamW. Plain is float32, contiguous memory, AdamW as `torch.optim` builds it. The two
take turns, step by step, on the same batches, so that whatever else the machine does hits both; the
ratio is the median over pairs. `--train STEPS` also trains both from the same weights on the same
data and compares held-out PSNR, with a bootstrap interval over photographs.

    python benchmarks/train_step.py [--recipe photos-vq] [--pairs 30] [--train 300] [--write]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from pellucid.build.assemble import build_autoencoder, build_data, build_objective, data_facts
from pellucid.data import ImageData
from pellucid.data.order import EpochOrder
from pellucid.functional.bootstrap import paired_difference
from pellucid.functional.psnr import psnr
from pellucid.models import reconstruct, resolve_precision
from pellucid.recipe import Recipe, load_recipe
from pellucid.training.forward import run_forward
from pellucid.training.optimizer import build_optimizer, parameter_groups
from results import write_section

WARM_UP = 3
CLIP_NORM = 1.0


@dataclasses.dataclass(frozen=True)
class Way:
    """How a step is computed.

    Args:
        precision: number format of the forward pass.
        channels_last: memory order of images and convolution weights.
        fused: update all parameters in one kernel.
    """

    precision: Literal["float32", "bf16"]
    channels_last: bool
    fused: bool


WAYS = {
    "ours": Way(resolve_precision("cpu"), channels_last=True, fused=True),
    "float32, channels-last, fused": Way("float32", channels_last=True, fused=True),
    "plain": Way("float32", channels_last=False, fused=False),
}


class Trainer:
    """A model of the recipe and the one step it is trained with.

    Args:
        recipe: says model, objective and learning rate.
        way: how the step is computed.
    """

    def __init__(self, recipe: Recipe, way: Way) -> None:
        self.way = way
        self.autoencoder = build_autoencoder(recipe).train()
        self.objective = build_objective(recipe)
        if way.channels_last:
            self.autoencoder.to(memory_format=torch.channels_last)
        rate, betas, decay = recipe.training["learning_rate"], (0.9, 0.99), 1e-4
        if way.fused:
            self.optimizer = build_optimizer(
                self.autoencoder, learning_rate=rate, betas=betas, weight_decay=decay
            )
        else:
            groups = parameter_groups(self.autoencoder, decay)
            self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas)

    def step(self, x_BCHW: Tensor) -> None:
        """Take one optimiser step on a contiguous float32 batch."""
        if self.way.channels_last:
            x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        batch = {"x": x_BCHW, "target": x_BCHW}
        forward = run_forward(self.autoencoder, self.objective, batch, precision=self.way.precision)
        self.optimizer.zero_grad(set_to_none=True)
        forward.objective.total.backward()
        torch.nn.utils.clip_grad_norm_(self.autoencoder.parameters(), CLIP_NORM)
        self.optimizer.step()


def time_steps(recipe: Recipe, pairs: int) -> dict[str, list[float]]:
    """Return seconds per step of every way; the ways take turns on the same batch."""
    facts = data_facts(recipe)
    shape = (recipe.training["batch_size"], facts.channels, facts.size, facts.size)
    generator = torch.Generator().manual_seed(0)
    trainers = {name: Trainer(recipe, way) for name, way in WAYS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(WARM_UP + pairs):
        x_BCHW = facts.value_range.from_unit(torch.rand(shape, generator=generator))
        for name, trainer in trainers.items():
            start = time.perf_counter()
            trainer.step(x_BCHW)
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def batches(data: ImageData, recipe: Recipe, steps: int) -> Iterator[Tensor]:
    """Yield the training batches of a run, the same for every way."""
    order = EpochOrder(len(data.train), recipe.training["batch_size"], recipe.seed)
    for keys in itertools.islice(iter(order), steps):
        yield torch.stack([item["x"] for item in data.train.__getitems__(keys)])


def compare_quality(recipe: Recipe, steps: int) -> str:
    """Train ours and plain alike; return a sentence on the difference of held-out PSNR."""
    data = build_data(recipe)
    trainers = {name: Trainer(recipe, WAYS[name]) for name in ("ours", "plain")}
    for x_BCHW in batches(data, recipe, steps):
        for trainer in trainers.values():
            trainer.step(x_BCHW)
    items = [data.test[index] for index in range(len(data.test))]
    x_BCHW = torch.stack([item["x"] for item in items])
    pixels = data.value_range.to_uint8(x_BCHW).float()
    scores = {}
    for name, trainer in trainers.items():
        x_hat = reconstruct(trainer.autoencoder.eval(), x_BCHW)
        found = data.value_range.to_uint8(x_hat).float()
        scores[name] = psnr(found, pixels, data_range=255.0).tolist()
    groups = [str(item["group"]) for item in items]
    gap = paired_difference(scores["ours"], scores["plain"], groups)
    means = {name: statistics.mean(values) for name, values in scores.items()}
    interval = "no interval" if gap.low is None else f"{gap.low:+.2f} … {gap.high:+.2f}"
    return (
        f"After {steps} steps from the same weights on the same batches, held-out PSNR is "
        f"{means['ours']:.2f} dB (ours) and {means['plain']:.2f} dB (plain): {gap.value:+.2f} dB "
        f"({interval}, 95 %, {gap.n} photographs, {len(items)} crops)."
    )


def table(recipe: Recipe, seconds: dict[str, list[float]]) -> str:
    """Write medians and paired ratios as Markdown."""
    facts = data_facts(recipe)
    count = build_autoencoder(recipe).parameter_count()
    lines = [
        f"Training step of `{recipe.name}` ({count / 1e6:.2f} M parameters, "
        f"{facts.size}×{facts.size}, batch {recipe.training['batch_size']}), forward, backward, "
        f"clipping and AdamW; {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"ours in {WAYS['ours'].precision}.",
        "",
        "| way | median step | plain ÷ this, median (quartiles) |",
        "|---|---:|---:|",
    ]
    for name, values in seconds.items():
        ratios = [plain / this for plain, this in zip(seconds["plain"], values, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f"| {name} | {1e3 * statistics.median(values):.0f} ms "
            f"| {middle:.2f}× ({low:.2f} … {high:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="photos-vq")
    parser.add_argument("--pairs", type=int, default=30, help="timed steps of each way")
    parser.add_argument("--train", type=int, default=0, metavar="STEPS", help="compare quality too")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    if arguments.pairs < 2:
        parser.error("--pairs must be at least 2: quartiles need them")
    recipe = load_recipe(arguments.recipe)
    text = table(recipe, time_steps(recipe, arguments.pairs))
    if arguments.train:
        text += "\n\n" + compare_quality(recipe, arguments.train)
    print(text)
    if arguments.write:
        write_section("train-step", "## Training step\n\n" + text)


if __name__ == "__main__":
    main()
