"""What each term buys in sharpness: one model, one start, one budget, only the objective differs.

    python benchmarks/sharpness.py --data PHOTOS --steps 300 --write

Every variant starts at the same linear VAE (recipe ear-vae), takes the same number of steps on the
same crops in the same order, and is measured on the same held-out photographs, in colour and turned
grey. Sharp is not enough: `coherence` and `detail` say whether the power around half Nyquist is the
right detail, and the perceptual distance judges the whole. Some of the trained models are measured
a second time, behind a postfilter fitted on the validation photographs. `--write` puts the table
into RESULTS.md and draws the distortion–perception plane into sharpness.svg.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.build.adversary import build_adversary
from pellucid.build.assemble import build_autoencoder, build_data, build_objective
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.postfilter import fit_postfilter
from pellucid.functional.bootstrap import paired_difference
from pellucid.metrics.paired import PairedImages
from pellucid.nn.postfilter import Postfilter
from pellucid.recipe import Recipe, apply_overrides, load_recipe
from pellucid.run_folder import RunFolder
from pellucid.training.fit import fit
from pellucid.training.linear_start import start_linear
from results import write_section

HERE = Path(__file__).parent
ADVERSARY = [
    "adversary.discriminators.patch.width=32",
    "adversary.discriminators.patch.layers=2",
    "adversary.weight=0.3",
    "adversary.feature_weight=0.05",
    "adversary.adaptive=100.0",
]
VARIANTS: dict[str, list[str]] = {
    "L2": [],
    "L2 + spectrum": ["objective.spectrum.weight=0.005"],
    "L2 + SSIM + perceptual + spectrum": [
        "objective.ssim.weight=0.05",
        "objective.perceptual.weight=0.2",
        "objective.spectrum.weight=0.005",
    ],
    "L2 + SSIM + perceptual": ["objective.ssim.weight=0.02", "objective.perceptual.weight=0.2"],
    "L2 + perceptual": ["objective.perceptual.weight=0.2"],
    "L2 + adversary": ADVERSARY,
    "L2 + SSIM": ["objective.ssim.weight=0.05"],
    "L1": ["objective.l2.weight=0", "objective.l1.weight=0.3"],
    "Charbonnier": ["objective.l2.weight=0", "objective.charbonnier.weight=0.3"],
    "L2 + edge": ["objective.edge.weight=0.3"],
}
FILTERED = ("L2", "L2 + perceptual", "L2 + SSIM + perceptual")
STRENGTH = 0.75
RESAMPLES = 500
CHOSEN = "L2 + perceptual, postfilter"
START = "linear VAE (start)"
METRICS = ("psnr", "ssim", "perceptual", "sharpness", "coherence", "detail")


def recipe_of(variant: str, arguments: argparse.Namespace) -> Recipe:
    base = load_recipe("ear-vae")
    plain = [f"objective.{name}.weight=0" for name in ("ssim", "perceptual", "edge", "spectrum")]
    training = [
        f"training.steps={arguments.steps}",
        f"training.batch_size={arguments.batch}",
        f"training.learning_rate={arguments.rate}",
        f"training.warmup_steps={max(1, arguments.steps // 10)}",
        "training.ema_decay=0.98",
        "training.monitor=null",
        "training.patience=null",
        "training.validate_every=1000000",
        "training.checkpoint_every=1000000",
        "training.threads=1",
    ]
    start = [f"adversary.start_step={arguments.steps // 4}"] if "adversary" in variant else []
    changed = apply_overrides(
        base,
        [f"data.path={arguments.data}", f"data.size={arguments.size}", *plain, *training]
        + [f"bottleneck.dim={arguments.dim}", f"encoder.channels={arguments.dim}"]
        + VARIANTS[variant]
        + start,
    )
    node = changed.to_node()  # a term of weight 0 costs as much as one of weight 1: leave it out
    node["objective"] = {k: v for k, v in node["objective"].items() if v["weight"] > 0}
    return Recipe.from_node(node)


def train(recipe: Recipe, data: Any, start: dict[str, torch.Tensor]) -> Any:
    autoencoder = build_autoencoder(recipe)
    autoencoder.load_state_dict(start)
    keywords = dict(recipe.training)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            autoencoder,
            build_objective(recipe),
            data.train,
            None,
            RunFolder(Path(folder) / "run"),
            value_range=data.value_range,
            adversary=build_adversary(recipe),
            seed=recipe.seed,
            progress=False,
            **keywords,
        )
    return autoencoder


def measure(autoencoder: Any, data: Any) -> dict[str, PairedImages]:
    """Reconstruct the held-out photographs in colour and turned grey."""
    found = {}
    reconstruct = Reconstructor(autoencoder, "float32")
    for name in ("colour", "grayscale"):
        paired = PairedImages(data.value_range)
        for first in range(0, len(data.test), 32):
            batch = data.test.batch(range(first, min(first + 32, len(data.test))))
            x = batch["target"]
            if name == "grayscale":
                luma = torch.einsum("c,bchw->bhw", torch.tensor([0.299, 0.587, 0.114]), x)
                x = luma[:, None].expand_as(x)
            paired.update(reconstruct(x)[0], x, batch["group"])
        found[name] = paired
    return found


def filtered(autoencoder: Any, data: Any) -> Any:
    """Put a postfilter behind a trained model, fitted on the validation photographs."""
    autoencoder.postfilter = Postfilter(autoencoder.out_channels, strength=STRENGTH)
    fit_postfilter(autoencoder, data.validation, data.value_range)
    return autoencoder


def gap(sharpness: float) -> float:
    """Return |ln ratio| around half Nyquist: 0 faithful."""
    return abs(math.log(sharpness))


def table(found: dict[str, dict[str, PairedImages]], kind: str) -> str:
    lines = [
        "| objective | PSNR, dB | paired, L2 | SSIM | perceptual ↓ | sharpness | gap to 1 ↓ "
        "| coherence | detail |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = found["L2"][kind]
    for name, parts in found.items():
        m = parts[kind].compute(resamples=1000)
        difference = paired_difference(
            parts[kind].per_image["psnr"], base.per_image["psnr"], base.groups
        )
        low, high = (
            f"{v:+.2f}" if v is not None else "–" for v in (difference.low, difference.high)
        )
        lines.append(
            f"| {name}{' (chosen)' if name == CHOSEN else ''} "
            f"| {m['psnr'].value:.2f} ({m['psnr'].low:.2f} … {m['psnr'].high:.2f}) "
            f"| {difference.value:+.2f} ({low} … {high}) | {m['ssim'].value:.3f} "
            f"| {m['perceptual'].value:.4f} ({m['perceptual'].low:.4f} … "
            f"{m['perceptual'].high:.4f}) | {m['sharpness'].value:.3f} "
            f"| {gap(m['sharpness'].value):.2f} | {m['coherence'].value:.3f} "
            f"| {m['detail'].value:.3f} |"
        )
    return "\n".join(lines)


def verdict(found: dict[str, dict[str, PairedImages]], kind: str) -> str:
    pair = [found[name][kind] for name in ("L2", CHOSEN)]
    base, chosen = ({k: m.value for k, m in p.compute(resamples=2).items()} for p in pair)
    # both are measured on the same resampled photographs: paired intervals
    rng, n = np.random.default_rng(0), len(pair[0].groups)
    shares, changes = [], {name: [] for name in ("coherence", "perceptual", "psnr")}
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        m, c = (p.compute(resamples=2, rows=rows) for p in pair)
        shares.append(gap(c["sharpness"].value) / gap(m["sharpness"].value))
        for name, listed in changes.items():
            listed.append(c[name].value - m[name].value)
    low, high = np.quantile(shares, (0.025, 0.975))
    gaps = [gap(m["sharpness"]) for m in (base, chosen)]
    parts = [
        f"gap {gaps[0]:.2f} → {gaps[1]:.2f}, {gaps[1] / gaps[0]:.0%} ({low:.0%} … {high:.0%}) of "
        "L2's (goal: 50 %)"
    ]
    for name, places, goal in (
        ("coherence", 3, "not below"),
        ("perceptual", 4, "not above"),
        ("psnr", 2, "−1 dB at most"),
    ):
        low, high = np.quantile(changes[name], (0.025, 0.975))
        parts.append(
            f"{name} {base[name]:.{places}f} → {chosen[name]:.{places}f}, "
            f"{chosen[name] - base[name]:+.{places}f} ({low:+.{places}f} … {high:+.{places}f}) "
            f"(goal: {goal})"
        )
    return f"Chosen, {CHOSEN}, against L2 in {kind}: " + "; ".join(parts) + "."


def maturity(found: dict[str, dict[str, PairedImages]]) -> list[str]:
    """Say where training was too short to compare what the terms reach."""
    start = found[START]["colour"].per_image["psnr"].mean()
    means = [found[name]["colour"].per_image["psnr"].mean() for name in VARIANTS]
    if max(means) >= start:
        return []
    return [
        "Every variant is still below its linear start: so short a training shows which way each "
        "term pulls, not what it reaches."
    ]


Plane = dict[str, tuple[float, float, float]]
"""Objective → PSNR in dB, perceptual distance, detail."""


def plane(found: dict[str, dict[str, PairedImages]], kind: str) -> Plane:
    measured = {name: parts[kind].compute(resamples=2) for name, parts in found.items()}
    return {
        name: (m["psnr"].value, m["perceptual"].value, m["detail"].value)
        for name, m in measured.items()
    }


def draw(planes: dict[str, Plane], path: Path) -> None:
    """Draw the distortion–perception planes: right is nearer, down is better looking."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(planes), figsize=(13, 4.8))
    for axis, (kind, points) in zip(axes, planes.items(), strict=True):
        for number, (name, (psnr, perceptual, detail)) in enumerate(points.items(), 1):
            # bold: behind a filter, joined to the same weights without
            filtered = name.endswith(", postfilter")
            base = points.get(name.removesuffix(", postfilter"))
            if filtered and base is not None:
                axis.plot([base[0], psnr], [base[1], perceptual], color="0.6", lw=1, zorder=1)
            axis.scatter(psnr, perceptual, s=60 + 300 * detail, alpha=0.5, label=f"{number} {name}")
            axis.annotate(
                str(number), (psnr, perceptual), fontsize=8, ha="center", va="center",
                weight="bold" if filtered else "normal",
            )  # fmt: skip
        axis.set_xlabel("PSNR, dB (distortion: right is nearer)")
        axis.set_ylabel("steerable distance (perception: down is better)")
        axis.set_title(f"{kind}; area: detail kept around half Nyquist", fontsize=10)
        axis.margins(0.1)
    handles, labels = axes[-1].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="center right", fontsize=8, frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    figure.tight_layout(rect=(0, 0, 0.8, 1))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a folder of photographs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--dim", type=int, default=64, help="numbers per 16×16 patch")
    parser.add_argument("--title", default="photographs")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    base = recipe_of("L2", arguments)
    data = build_data(base)
    linear = build_autoencoder(base)
    start_linear(linear, data.train, seed=base.seed)
    start = {name: value.clone() for name, value in linear.state_dict().items()}
    found = {START: measure(linear.eval(), data)}
    for name in VARIANTS:
        trained = train(recipe_of(name, arguments), data, start)
        found[name] = measure(trained, data)
        if name in FILTERED:
            found[f"{name}, postfilter"] = measure(filtered(trained, data), data)
    for name, parts in found.items():
        m = parts["colour"].compute(resamples=50)
        print(name, json.dumps({k: round(m[k].value, 4) for k in METRICS}), flush=True)
    found = {"L2": found["L2"], **found}
    text = "\n\n".join(
        [
            "## Sharpness: one start, one budget, only the objective differs",
            f"`python benchmarks/sharpness.py --steps {arguments.steps} --batch {arguments.batch} "
            f"--rate {arguments.rate} --size {arguments.size} --dim {arguments.dim}` "
            f"on {arguments.title}: "
            f"{len(data.train)} training and {len(data.test)} held-out photographs at "
            f"{arguments.size}×{arguments.size}, {base.seed=}, one seed, "
            f"{time.process_time() - began:.0f} s of processor time. Every variant starts at the "
            "linear VAE and takes the same steps; bars are 95 % over photographs. Sharpness is the "
            "power of x̂ over x around half Nyquist, detail the part of x's that is there in place "
            "(noise raises the first and not the second). Rows with a postfilter are the trained "
            f"model of the row without, behind a linear filter of strength {STRENGTH} that was "
            f"fitted on {len(data.validation)} validation photographs. The picture is "
            "`sharpness.svg`.",
            verdict(found, "colour"),
            verdict(found, "grayscale"),
            *maturity(found),
            "Colour:",
            table(found, "colour"),
            "The same photographs in grey:",
            table(found, "grayscale"),
        ]
    ).replace("base.seed=", "seed ")
    print(text)
    if arguments.write:
        draw({k: plane(found, k) for k in ("colour", "grayscale")}, HERE / "sharpness.svg")
        write_section("sharpness", text)


if __name__ == "__main__":
    main()
