"""How many numbers per image does a linear model need? The floor under every ear-vae.

    python benchmarks/latent_count.py --data PHOTOS --write

For several numbers per 16×16 patch the linear start of the recipe ear-vae is set (principal
components of patches, least squares from 3×3 positions) and measured on held-out photographs beside
patch-PCA with as many numbers. No step of training is taken: a trained model stands above this.
"""

from __future__ import annotations

import argparse
import time

import torch

from pellucid.build.assemble import build_autoencoder, build_data
from pellucid.metrics.paired import PairedImages
from pellucid.recipe import apply_overrides, load_recipe
from pellucid.references.linear import PCAReference
from pellucid.references.samples import collect
from pellucid.training.linear_start import start_linear
from results import write_section

DIMS = (8, 16, 32, 64, 96, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a folder of photographs")
    parser.add_argument("--title", default="photographs")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    small = ["encoder.width=8", "decoder.width=8", "encoder.multipliers=[1]"]
    small += ["decoder.multipliers=[1]"]  # the networks are silent: they only cost time
    base = apply_overrides(load_recipe("ear-vae"), [f"data.path={arguments.data}", *small])
    data = build_data(base)
    batch = data.test.batch(range(len(data.test)))
    x, groups = batch["target"], batch["group"]
    train = collect(data.train, len(data.train))
    lines = [
        "| numbers per image | per patch | patch-PCA, dB | linear start, dB | SSIM | detail "
        "| KL, bits per number |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for dim in DIMS:
        recipe = apply_overrides(base, [f"encoder.channels={dim}", f"bottleneck.dim={dim}"])
        autoencoder = build_autoencoder(recipe)
        start_linear(autoencoder, data.train, seed=recipe.seed)
        pca = PCAReference.fit(train, 64 * dim, stride=16)
        with torch.no_grad():
            out = autoencoder.eval()(x)
        ours, theirs = PairedImages(data.value_range), PairedImages(data.value_range)
        ours.update(out.x_hat, x, groups)
        theirs.update(pca.reconstruct(x), x, groups)
        m, reference = ours.compute(resamples=500), theirs.compute(resamples=100)
        lines.append(
            f"| {64 * dim:,} | {dim} | {reference['psnr'].value:.2f} | {m['psnr'].value:.2f} "
            f"({m['psnr'].low:.2f} … {m['psnr'].high:.2f}) | {m['ssim'].value:.3f} "
            f"| {m['detail'].value:.3f} | {float(out.metrics['kl_bits_per_dim']):.2f} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(
        [
            "## Numbers per image and what a linear model makes of them",
            "",
            f"`python benchmarks/latent_count.py` on {arguments.title}: {len(data.train)} training "
            f"and {len(x)} held-out photographs at 128×128, one centre crop each, no training, "
            f"{time.process_time() - began:.0f} s of processor time. KL at the recipe's weight.",
            "",
            *lines,
        ]
    )
    print(text)
    if arguments.write:
        write_section("latent-count", text)


if __name__ == "__main__":
    main()
