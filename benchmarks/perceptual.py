"""Is the weight-free perceptual distance monotone, and does it rank as deep features do?

    python benchmarks/perceptual.py --data PHOTOS --resnet resnet20.npz --write

Every photograph (a 128×128 crop of its middle) is spoiled by rising noise, blur and JPEG, by a
shift and by a loss of contrast. Reported are the share of photographs on which a measure rises
with every level, and Spearman's rank correlation with the distance of unit-length features (LPIPS's
unlearned form) of a classifier that was trained on other images: a ResNet of CIFAR-10.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor

from pellucid.functional.ssim import ms_ssim, ssim
from pellucid.functional.steerable import steerable_distance
from results import write_section

SIDE = 128
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
LEVELS = {
    "noise": (0.01, 0.02, 0.05, 0.1, 0.2),
    "blur": (0.5, 1.0, 1.5, 2.5, 4.0),
    "jpeg": (90, 70, 40, 20, 8),
    "shift": (1, 2, 3),
    "contrast": (0.9, 0.75, 0.5),
}


def photographs(folder: Path) -> Tensor:
    """Return (N, 3, 128, 128) crops of the middle, in [0, 1]."""
    crops = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg")):
        image = Image.open(path).convert("RGB")
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        crop = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))
        crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(crops)


def spoil(x: Tensor, kind: str, level: float) -> Tensor:
    if kind == "noise":
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return (x + level * noise).clamp(0, 1)
    if kind == "blur":
        return torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, level, level)))
    if kind == "shift":
        return x.roll(int(level), -1)
    if kind == "contrast":
        return (x - x.mean((-2, -1), keepdim=True)) * level + x.mean((-2, -1), keepdim=True)
    return torch.stack([jpeg(image, int(level)) for image in x])


def jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer)).copy()
    return torch.from_numpy(decoded).permute(2, 0, 1).float() / 255


class DeepDistance:
    """The distance of unit-length features of CIFAR-10's ResNet, summed over three stages."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.w = {key: torch.from_numpy(archive[key]) for key in archive.files}
        self.last: tuple[Tensor, list[Tensor]] | None = None
        self.blocks = max(int(k.split(".")[1]) for k in self.w if k.startswith("layer1.")) + 1

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        if self.last is None or self.last[0] is not x:
            self.last = (x, self.features(x))
        total = torch.zeros(len(x))
        for f, g in zip(self.features(y), self.last[1], strict=True):
            total += (F.normalize(f, dim=1) - F.normalize(g, dim=1)).square().sum(1).mean((1, 2))
        return total

    def features(self, x: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        y = F.relu(self.norm(F.conv2d((x - mean) / std, self.w["conv1.weight"], padding=1), "bn1"))
        found = []
        for stage in (1, 2, 3):
            for block in range(self.blocks):
                y = self.block(y, f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
            found.append(y)
        return found

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        y = F.conv2d(x, self.w[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = F.relu(self.norm(y, f"{name}.bn1"))
        y = self.norm(F.conv2d(y, self.w[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if stride > 1:  # option A of He et al.: subsample and pad channels with zeros
            grown = y.shape[1] - x.shape[1]
            x = F.pad(x[..., ::2, ::2], (0, 0, 0, 0, grown // 2, grown - grown // 2))
        return F.relu(x + y)

    def norm(self, x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.w[f"{name}.{part}"] for part in parts)
        return F.batch_norm(x, mean, var, weight, bias)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--resnet", type=Path, required=True, help="ResNet-20/56 of CIFAR-10, npz")
    parser.add_argument("--title", default="photographs")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, deep = photographs(arguments.data), DeepDistance(arguments.resnet)
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "steerable (ours)": steerable_distance,
        "structure alone": lambda y, x: steerable_distance(y, x, strength=0.0),
        "1 − SSIM": lambda y, x: 1 - ssim(y, x, data_range=1.0),
        "1 − MS-SSIM": lambda y, x: 1 - ms_ssim(y, x, data_range=1.0),
        "MSE": lambda y, x: (y - x).square().flatten(1).mean(1),
        "deep features": deep,
    }
    values: dict[str, dict[tuple[str, float], np.ndarray]] = {name: {} for name in measures}
    for kind, levels in LEVELS.items():
        for level in levels:
            y = spoil(x, kind, level)
            for name, measure in measures.items():
                values[name][kind, level] = measure(y, x).numpy()
    text = report(values, len(x), arguments.title, deep.blocks)
    print(text)
    if arguments.write:
        write_section("perceptual", text)


def report(values: dict, count: int, title: str, deep: int) -> str:
    kinds = ("noise", "blur", "jpeg")
    lines = [
        "## A perceptual distance without weights",
        f"`python benchmarks/perceptual.py` on {count} {title}, {SIDE}×{SIDE} crops. "
        "Monotone: the share of photographs on which every level is judged worse than the one "
        "before. ρ: Spearman's correlation with the distance of CIFAR-10 "
        f"ResNet-{6 * deep + 2} features, over all pairs of photograph and distortion "
        f"({', '.join(LEVELS)}), and within each photograph.",
        "| measure | noise | blur | JPEG | ρ, all | ρ, same photograph |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    truth = values["deep features"]
    keys = list(truth)
    for name, found in values.items():
        monotone = []
        for kind in kinds:
            rows = np.stack([found[kind, level] for level in LEVELS[kind]])
            monotone.append((np.diff(rows, axis=0) > 0).all(0).mean())
        ours = np.stack([found[key] for key in keys])
        theirs = np.stack([truth[key] for key in keys])
        overall = spearmanr(ours.ravel(), theirs.ravel()).statistic
        alone = np.mean([spearmanr(a, b).statistic for a, b in zip(ours.T, theirs.T, strict=True)])
        lines.append(
            f"| {name} | {monotone[0]:.0%} | {monotone[1]:.0%} | {monotone[2]:.0%} "
            f"| {overall:.3f} | {alone:.3f} |"
        )
    return "\n".join([lines[0], "", lines[1], "", *lines[2:]])


if __name__ == "__main__":
    main()
