"""Rate against distortion as the KL weight rises, beside the closed form, with both ends diagnosed.

    python benchmarks/rate_distortion.py --data PHOTOS --work DIR --write

`pellucid sweep` trains a small ear-vae at every weight on the same photographs; a sweep that was
stopped goes on where it stood. Asked: the rate falls as its price rises, the knee lies inside, and
the diagnosis names what is wrong at the expensive end and nothing of the kind at the cheap one.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from pellucid.workflows.sweep import Swept, sweep
from results import write_section

SPAN = "bottleneck.weight=1e-6..1e-1"
PRICED = {"rate-starvation", "posterior-collapse"}
"""What a rate that costs too much is called."""


def overrides(arguments: argparse.Namespace) -> list[str]:
    return [
        f"data.path={arguments.data}",
        "data.size=64",
        "encoder.channels=64",
        "bottleneck.dim=64",
        "encoder.width=32",
        "decoder.width=32",
        f"training.steps={arguments.steps}",
        "training.validate_every=500",
        "training.ema_decay=0.98",
        "training.threads=1",
        "evaluation.codecs=[]",
    ]


def table(found: Swept) -> str:
    lines = [
        "| KL weight | PSNR, dB | KL, nats per image | bits per number | active of "
        f"{found.points[0]['numbers']} | linear VAE: dB | its KL | |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for number, point in enumerate(found.points):
        psnr, linear = point["psnr"], point["linear"]
        words = ["knee"] if number == found.knee else []
        if point.get("diagnosis"):
            words.append(f"diagnosis: {point['diagnosis']['verdict']}")
        lines.append(
            f"| {point['value']:.2g} | {psnr['value']:.2f} ({psnr['low']:.2f} … {psnr['high']:.2f})"
            f" | {point['kl']['value']:.4g} | {point['bits_per_dim']:.2f} "
            f"| {point['active_units']:.0f} | {linear['psnr']:.2f} | {linear['kl']:.4g} "
            f"| {'; '.join(words)} |"
        )
    return "\n".join(lines)


def verdict(found: Swept) -> str:
    rates = [point["kl"]["value"] for point in found.points]
    falls = all(after < before for before, after in itertools.pairwise(rates))
    cheap, dear = (set(ids(found.points[k])) for k in (0, -1))
    inside = found.knee is not None and 0 < found.knee < len(rates) - 1
    knee = "no knee" if found.knee is None else f"knee at {found.points[found.knee]['value']:.2g}"
    return (
        f"KL {'falls at every step' if falls else '**does not fall at every step**'}; {knee}"
        f"{'' if inside else ' (**not inside**)'}; cheap end "
        f"{'**called too dear**' if cheap & PRICED else 'not called too dear'}; dear end "
        f"{'called ' + ', '.join(sorted(dear & PRICED)) if dear & PRICED else '**not recognised**'}"
        "."
    )


def ids(point: dict[str, Any]) -> list[str]:
    diagnosis = point.get("diagnosis") or {}
    return [str(found) for found in diagnosis.get("findings", [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a folder of photographs")
    parser.add_argument("--work", type=Path, default=Path("runs/rate-distortion"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--points", type=int, default=6)
    parser.add_argument("--title", default="photographs")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = sweep(
        "ear-vae",
        SPAN,
        overrides=overrides(arguments),
        points=arguments.points,
        out=arguments.work,
        say=print,
    )
    text = "\n\n".join(
        [
            "## Rate and distortion",
            f"`python benchmarks/rate_distortion.py --steps {arguments.steps}` on "
            f"{arguments.title} at 64×64: `pellucid sweep ear-vae {SPAN} --points "
            f"{arguments.points}` with 1,024 numbers per image, {arguments.steps} steps a point, "
            f"{found.points[0]['psnr']['n']} held-out photographs. The linear VAE is the closed "
            "form at the same weight. Intervals are 95 % over photographs.",
            verdict(found),
            *found.warnings,
            table(found),
        ]
    )
    print(text)
    if arguments.write:
        write_section("rate-distortion", text)


if __name__ == "__main__":
    main()
