"""Landmarks from few labels on a frozen encoder, beside the same encoder untrained and PCA.

    python benchmarks/landmarks.py --points landmarks.csv [--run RUN] [--work DIR] [--write]

Without `--run` a small VAE is trained on the images of the CSV's folder, without their labels.
Every method gets the same images, labels, head and choice of its ridge; blocks of consecutive
images are held out in turn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pellucid
from results import write_section

STEPS = 1500
SECTIONS: dict[str, dict[str, Any]] = {
    "data": {
        "kind": "images",
        "name": None,
        "size": 64,
        "channels": 1,
        "resize": 3.0,
        "validation": 0.1,
        "test": 0.2,
        "train_crops": 16,
        "crops_per_image": 4,
        "flip": False,
        "noise": 0.1,  # of the input alone: the encoder has to know what belongs to the picture
    },
    "encoder": {"stride": 8, "channels": 64, "width": 16, "multipliers": [1, 2, 4]},
    "bottleneck": {"kind": "gaussian", "dim": 8, "weight": 1e-5},
    "decoder": {"stride": 8, "width": 16, "multipliers": [1, 2, 4]},
    "training": {
        "steps": STEPS,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "warmup_steps": 30,
        "ema_decay": 0.98,
        "validate_every": 500,
        "checkpoint_every": 500,
    },
    "evaluation": {"codecs": []},
}


def train(points: Path, work: Path) -> pellucid.Run:
    """Train the encoder on the images beside the points, or open what was trained there."""
    out = work / "encoder"
    if (out / "model.safetensors").is_file():
        return pellucid.Run.open(out)
    data = {**SECTIONS["data"], "path": str(points.parent)}
    return pellucid.train("photos-vq", out=out, evaluate=False, **{**SECTIONS, "data": data})


def table(found: dict[str, Any], run: pellucid.Run) -> str:
    """Write NME per method and number of labels, and paired differences, as Markdown."""
    points, protocol = found["points"], found["protocol"]
    labels = list(found["methods"]["run"])
    layers = ", ".join(layer["name"] for layer in found["encoder"]["layers"])
    lines = [
        "## Landmarks from few labels",
        "",
        "`python benchmarks/landmarks.py --points landmarks.csv --write`: "
        f"{points['images']} images of one video, {len(points['names'])} landmarks "
        f"({', '.join(points['names'])}); "
        f"{protocol['blocks']} blocks of consecutive images held out in turn, "
        f"{protocol['margin']} image of margin, {protocol['draws']} draws of the labelled images. "
        f"The encoder is that of a VAE trained for {run.status()['step']} steps on the images "
        f"without labels (it saw {points['seen_unlabelled']} of them; PCA saw all); features: "
        f"{layers}, {found['encoder']['features']} numbers per cell of "
        f"{found['encoder']['cell_pixels']:.0f} pixels. NME: error divided by "
        f"{found['normaliser']}, with 95 % intervals over stretches of neighbouring images; below "
        "it the paired difference of the frozen encoder from the row (negative is ahead).",
        "",
        "| features | " + " | ".join(f"{label} labels" for label in labels) + " |",
        "|---|" + "---:|" * len(labels),
    ]
    for name, by_labels in found["methods"].items():
        cells = []
        for label in labels:
            nme = by_labels[label]["nme"]
            cell = f"{nme['value']:.3f} ({nme['low']:.3f} … {nme['high']:.3f})"
            gap = found["differences"].get(name, {}).get(label)
            if gap:
                cell += f"<br>{gap['value']:+.3f} ({gap['low']:+.3f} … {gap['high']:+.3f})"
            cells.append(cell)
        titles = {"run": "frozen encoder", "random": "same encoder, untrained", "pca": "patch PCA"}
        lines.append(f"| {titles.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", conclusion(found)])


def conclusion(found: dict[str, Any]) -> str:
    """Say where the paired intervals leave zero."""
    told = []
    for name, by_labels in found["differences"].items():
        ahead = [label for label, gap in by_labels.items() if gap["high"] < 0]
        behind = [label for label, gap in by_labels.items() if gap["low"] > 0]
        words = [
            f"{word} at {', '.join(labels)} labels"
            for word, labels in (("ahead", ahead), ("behind", behind))
            if labels
        ]
        told.append(f"{name}: {'; '.join(words) or 'no difference that holds up'}")
    return f"The frozen encoder against {'. Against '.join(told)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="a trained run; else one is trained")
    parser.add_argument("--work", type=Path, default=Path("runs/landmarks"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--labels", default="5,10,20,all")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    given = arguments.run is not None
    run = pellucid.Run.open(arguments.run) if given else train(arguments.points, arguments.work)
    labels = [None if word == "all" else int(word) for word in arguments.labels.split(",")]
    found = pellucid.landmarks(
        run, arguments.points, labels=labels, draws=arguments.draws, progress=True
    )
    pellucid.report(run)
    print(table(found, run))
    if arguments.write:
        write_section("landmarks", table(found, run))


if __name__ == "__main__":
    main()
