"""A believable run folder: real photographs, JPEG, WebP and PCA; made-up curves."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.run_folder import RunFolder

SIZE = 64
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")

RECIPE = """\
# photos-vq: a small VQ tokenizer on bundled photographs
# command: pellucid train photos-vq
recipe: photos-vq
seed: 0
data: {kind: photographs, crop: 64, augment: [flip]}
encoder: {kind: residual, channels: 64, stride: 8}
bottleneck:
  kind: vq
  codes: 512
  code_channels: 8
  commitment: 0.25
objective:
  l1: {weight: 1.0}
  ssim: {weight: 0.2}
  edge: {weight: 0}   # weight 0 measures
training:
  steps: 1500
  optimizer: {kind: adamw, learning_rate: 3.0e-4}
  precision: bf16
  compile: false
"""


def build_run(path: Path, *, seed: int = 0, quality: float = 1.0, samples: int = 6) -> RunFolder:
    """Write a complete, evaluated run.

    Args:
        path: where.
        seed: of everything random.
        quality: detail kept by the pretended model; 1 is good, 2 is blurred.
        samples: how many reconstructions.
    """
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.recipe.write_text(RECIPE)
    rng = np.random.default_rng(seed)
    folder.write_json(
        folder.run,
        {
            "state": "finished",
            "step": 1500,
            "weights": "ema",
            "selected": "best",
            "selected_step": 1400,
            "monitor": {"name": "psnr", "best": 24.16, "best_step": 1400, "maximised": True},
            "reason": "took all 1500 steps",
            "seconds": 134.2,
            "parameters": 1_214_403,
            "environment": {
                "python": "3.11.9",
                "torch": "2.15.0",
                "device": "cpu",
                "threads": 2,
                "platform": "Linux x86_64",
                "git": "3f2c9ab",
            },
        },
    )
    _write_data(folder)
    _write_metrics(folder, rng)
    images = photograph_crops(samples, np.random.default_rng(7))
    columns = _write_reconstructions(folder, images, quality)
    _write_evaluation(folder, images, columns, rng)
    return folder


def photograph_crops(samples: int, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """Return named crops (SIZE, SIZE, 3) uint8 of the photographs bundled with scikit-image."""
    import skimage.data

    crops = []
    for k in range(samples):
        name = PHOTOGRAPHS[k % len(PHOTOGRAPHS)]
        photograph = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        photograph = photograph.resize((photograph.width // 2, photograph.height // 2))
        x = int(rng.integers(photograph.width - SIZE))
        y = int(rng.integers(photograph.height - SIZE))
        crop = np.asarray(photograph.crop((x, y, x + SIZE, y + SIZE)))
        crops.append((f"{name} at {x},{y}", crop))
    return crops


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(1e-9, float(np.mean((a.astype(float) - b) ** 2))))


def _pretended_model(image: np.ndarray, quality: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(image.astype(float), (0.85 * quality, 0.85 * quality, 0))
    wave = 2.0 * np.sin(np.arange(SIZE)[:, None, None] * 0.8)
    return np.clip(blurred + wave, 0, 255).round().astype(np.uint8)


def _patch_pca(images: list[np.ndarray], keep: int = 8, side: int = 8) -> list[np.ndarray]:
    def patches(image: np.ndarray) -> np.ndarray:
        blocks = image.reshape(SIZE // side, side, SIZE // side, side, 3).swapaxes(1, 2)
        return blocks.reshape(-1, side * side * 3).astype(float)

    every = np.concatenate([patches(image) for image in images])
    mean = every.mean(0)
    basis = np.linalg.svd(every - mean, full_matrices=False)[2][:keep]
    answers = []
    for image in images:
        flat = (patches(image) - mean) @ basis.T @ basis + mean
        blocks = flat.reshape(SIZE // side, SIZE // side, side, side, 3).swapaxes(1, 2)
        answers.append(np.clip(blocks.reshape(SIZE, SIZE, 3), 0, 255).round().astype(np.uint8))
    return answers


def _codec(image: np.ndarray, kind: str, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _write_reconstructions(
    folder: RunFolder, images: list[tuple[str, np.ndarray]], quality: float
) -> dict[str, list[np.ndarray]]:
    originals = [image for _, image in images]
    columns = {
        "original": originals,
        "reconstruction": [_pretended_model(image, quality) for image in originals],
        "pca": _patch_pca(originals),
        "jpeg": [_codec(image, "JPEG", 18) for image in originals],
        "webp": [_codec(image, "WEBP", 55) for image in originals],
    }
    folder.reconstructions.mkdir()
    samples = []
    for k, (name, original) in enumerate(images):
        files = {}
        for column, pictures in columns.items():
            files[column] = f"{k:03d}-{column}.png"
            Image.fromarray(pictures[k]).save(folder.reconstructions / files[column])
        values = {c: psnr(original, p[k]) for c, p in columns.items() if c != "original"}
        similar = {column: 0.61 + value / 100 for column, value in values.items()}
        samples.append({"name": name, "files": files, "psnr": values, "ssim": similar})
    index = {
        "columns": list(columns),
        "selection": "evenly spaced from the best PSNR to the worst",
        "samples": samples,
    }
    folder.write_json(folder.reconstructions / "index.json", index)
    return columns


def _write_evaluation(
    folder: RunFolder,
    images: list[tuple[str, np.ndarray]],
    columns: dict[str, list[np.ndarray]],
    rng: np.random.Generator,
) -> None:
    convention = "mean of per-image PSNR, range 0–1, clamp and round to 8 bits"

    def value(v: float, unit: str, half: float | None, text: str = convention) -> dict:
        low, high = (None, None) if half is None else (v - half, v + half)
        return {"value": v, "unit": unit, "low": low, "high": high, "n": 24, "convention": text}

    def mean_psnr(column: str) -> float:
        pairs = zip(columns["original"], columns[column], strict=True)
        return float(np.mean([psnr(a, b) for a, b in pairs]))

    own, pca, jpeg, webp = (
        mean_psnr(column) for column in ("reconstruction", "pca", "jpeg", "webp")
    )
    counts = np.sort(rng.zipf(1.35, 512))[::-1].clip(1, 900)
    counts[498:] = 0
    rng.shuffle(counts)
    share = counts[counts > 0] / counts.sum()
    entropy = float(-(share * np.log2(share)).sum())
    frequency = np.linspace(0, 0.5, 33)
    ratio = 1 / (1 + (frequency / 0.27) ** 4)
    ssim_text = "Gaussian window 11, σ 1.5, mean over RGB"
    folder.write_json(
        folder.evaluation,
        {
            "split": "test",
            "precision": "float32",
            "samples": {
                "psnr": rng.normal(own, 3, 24).tolist(),
                "ssim": rng.uniform(0.6, 0.95, 24).tolist(),
            },
            "labels": {
                "cat": {"n": 8, "psnr": 30.1, "ssim": 0.8},
                "cup": {"n": 16, "psnr": 32.2, "ssim": 0.81},
            },
            "weights": "ema",
            "metrics": {
                "psnr": value(own, "dB", 0.5),
                "ssim": value(0.801, "1", 0.012, ssim_text),
                "ms_ssim": value(0.934, "1", 0.006, "4 scales, " + ssim_text),
                "sharpness": value(0.62, "1", 0.03, "power above 0.25 cycles/px, x̂ over x"),
                "code_usage": value(498 / 512, "1", None, "codes seen at least once"),
                "code_perplexity": value(2**entropy, "codes", None, "over the whole split"),
                "bits_per_pixel": value(0.1406, "bits per pixel", None, "log₂ 512 per 8×8 patch"),
            },
            "references": {
                "mean": {"psnr": value(13.2, "dB", 0.9), "ssim": value(0.21, "1", 0.03)},
                "pca": {
                    "psnr": value(pca, "dB", 0.6),
                    "ssim": value(0.70, "1", 0.02),
                    "note": "patch-PCA: 8×8 patches, 8 numbers each (too few images for global)",
                },
                "jpeg": {
                    "psnr": value(jpeg, "dB", 0.5),
                    "ssim": value(0.74, "1", 0.02),
                    "bits_per_pixel": value(0.1431, "bits per pixel", None),
                    "note": "headers removed",
                },
                "webp": {
                    "psnr": value(webp, "dB", 0.5),
                    "ssim": value(0.82, "1", 0.02),
                    "bits_per_pixel": value(0.1399, "bits per pixel", None),
                    "note": "method 6",
                },
            },
            "differences": {
                "mean": {"psnr": value(own - 13.2, "dB", 0.6)},
                "pca": {"psnr": value(own - pca, "dB", 0.3)},
                "jpeg": {"psnr": value(own - jpeg, "dB", 0.3)},
                "webp": {"psnr": value(own - webp, "dB", 0.2)},
            },
            "ladder": {
                "R0": {"mse": 0.096, "psnr": 10.2, "fvu": 2.0, "note": ""},
                "R1": {"mse": 0.048, "psnr": 13.2, "fvu": 1.0, "note": ""},
                "R2": {"mse": 0.0078, "psnr": pca, "fvu": 0.16, "note": "patch-PCA"},
                "R3": {
                    "name": "linear VAE at this weight",
                    "mse": 0.0081,
                    "psnr": pca - 0.2,
                    "fvu": 0.17,
                    "note": "fitted on 2048 crops",
                    "kl": 33.2,
                    "kl_predicted": 32.8,
                    "active": 12,
                },
            },
            "codes": {
                "levels": [
                    {
                        "counts": counts.tolist(),
                        "usage": 498 / 512,
                        "perplexity": 2**entropy,
                        "entropy_bits": entropy,
                    }
                ]
            },
            "latent": {"shape": [8, 8, 8], "numbers": 512},
            "spectrum": {
                "frequency": frequency.tolist(),
                "ratio": ratio.tolist(),
                "coherence": (ratio**0.6).tolist(),
                "water_filling": np.clip(1.15 - 2.2 * frequency, 0, 1).tolist(),
            },
        },
    )


def _write_data(folder: RunFolder) -> None:
    folder.write_json(
        folder.data,
        {
            "source": "bundled photographs",
            "found": 15,
            "examined": 15,
            "count": 14,
            "skipped": {"smaller than the crop": {"count": 1, "examples": ["icon.png: 16×16"]}},
            "ignored": {".txt": 1},
            "classes": {},
            "groups": 14,
            "widths": {"min": 451, "median": 512, "max": 1000},
            "heights": {"min": 300, "median": 512, "max": 872},
            "sizes": {"512×512": 9, "451×300": 5},
            "modes": {"RGB": 12, "L": 2},
            "low": 0.0,
            "high": 1.0,
            "channel_mean": [0.471, 0.432, 0.384],
            "channel_std": [0.27, 0.25, 0.26],
            "exact_duplicates": {"sets": 0, "images": 0, "examples": []},
            "splits": {"train": 10, "validation": 2, "test": 2},
            "suggestions": [{"recipe": "photos-vq", "why": "small", "command": "pellucid train"}],
            "remarks": ["crops of one photograph never meet in two splits"],
        },
    )
    folder.write_json(
        folder.splits,
        {
            "items": {
                "train": {f"photograph-{k}": f"{k:032x}" for k in range(10)},
                "validation": {"chelsea": "a" * 32, "coffee": "b" * 32},
                "test": {"astronaut": "c" * 32, "rocket": "d" * 32},
            }
        },
    )


def _write_metrics(folder: RunFolder, rng: np.random.Generator) -> None:
    for step in range(10, 1501, 10):
        falling = 0.25 * math.exp(-step / 260) + 0.045
        noise = float(rng.normal(1, 0.06))
        l1, ssim = falling * noise, (falling * 2.4 + 0.1) * noise
        share = 0.55 + 0.2 * math.exp(-step / 400) + float(rng.normal(0, 0.015))
        values = {
            "total": l1 + 0.2 * ssim,
            "terms.l1.value": l1,
            "terms.l1.weighted": l1,
            "terms.l1.gradient_share": share,
            "terms.ssim.value": ssim,
            "terms.ssim.weighted": 0.2 * ssim,
            "terms.ssim.gradient_share": 1 - share,
            "terms.edge.value": 0.5 * falling * noise,
            "terms.edge.weighted": 0.0,
            "terms.edge.gradient_share": 0.0,
            "terms.commitment.value": 0.02 * noise * (1 + step / 900),
            "terms.commitment.latent_gradient_share": 0.12 + 0.05 * noise,
            "bottleneck.perplexity": 400 * (1 - math.exp(-step / 180)) * noise,
            "bottleneck.usage": min(1.0, 0.3 + step / 700),
            "learning_rate": 3e-4 * min(1, step / 100) * (0.5 + 0.5 * math.cos(step / 1500 * 3.1)),
            "gradient_norm": 3 * falling * abs(float(rng.normal(1, 0.3))),
            "samples_per_second": 610 + float(rng.normal(0, 25)),
        }
        folder.append_metrics(_line(step, "train", values))
        if step % 100 == 0:
            values = {
                "total": (falling + 0.2 * (falling * 2.4 + 0.1)) * 1.06,
                "terms.l1.value": falling * 1.06,
                "terms.ssim.value": (falling * 2.4 + 0.1) * 1.05,
                "psnr": 24.4 - 11 * math.exp(-step / 330),
            }
            folder.append_metrics(_line(step, "validation", values))


def _line(step: int, split: str, values: dict[str, float]) -> dict:
    return {
        "step": step,
        "split": split,
        "epoch": step // 64,
        "seconds": step * 0.09,
        "values": values,
    }
