"""Treat sick twins of shipped recipes, scaled down, and see whether they recover.

    python benchmarks/treatments.py --datasets DATASETS --write
    python benchmarks/treatments.py --datasets DATASETS --only codebook-collapse learning-rate-low

DATASETS holds mnist/*.npz and cifar10/*.npz. Every mutant is one recipe with the overrides of one
believable mistake. It counts when it is sick: it has lost at least 10 % of its healthy twin's dB.
It is *regained* when the treated run reaches at least 90 % of the healthy twin's dB (held-out).
Only `pellucid.treat`'s own choice is used: first treatable finding, its patch, its way to start.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from pellucid.diagnosis.clock import Clock
from pellucid.errors import PellucidError
from pellucid.recipe import Recipe, apply_overrides, load_recipe
from pellucid.run_folder import RunFolder
from pellucid.workflows.diagnose import examine_run
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.run import Run
from pellucid.workflows.train import fit_into
from pellucid.workflows.treat import train_patched, treat
from results import write_section

SHARE = 0.9
IMAGES = 4000
"""Of a set, the first so many: evaluation would otherwise cost as much as training."""
SMALL = {
    "training": {"batch_size": 32, "threads": 1, "validate_every": 100, "checkpoint_every": 100},
    "evaluation": {"codecs": [], "resamples": 100},
    "encoder": {"width": 16},
    "decoder": {"width": 16},
}
BASES: dict[str, dict] = {
    "mnist-vae": {"training": {"steps": 300, "learning_rate": 2e-3, "ema_decay": 0.98}},
    "cifar-vq": {
        "training": {"steps": 300, "learning_rate": 2e-3, "ema_decay": 0.98},
        "encoder": {"channels": 64},
        "bottleneck": {"codes": 256},
    },
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One believable mistake: the base, what is wrong, and which rows would name it."""

    name: str
    base: str
    overrides: tuple[str, ...]


# fmt: off
MUTANTS = (
    Mutant("kl-weight-1e-3", "mnist-vae", ("bottleneck.weight=1e-3",)),
    Mutant("kl-weight-3e-3", "mnist-vae", ("bottleneck.weight=3e-3",)),
    Mutant("kl-weight-0.1", "mnist-vae", ("bottleneck.weight=0.1",)),
    Mutant("kl-weight-1", "mnist-vae", ("bottleneck.weight=1.0", "bottleneck.anneal_steps=0")),
    Mutant("low-free-bits-heavy-kl", "mnist-vae",
           ("bottleneck.free_nats=0.05", "bottleneck.weight=0.02")),
    Mutant("variance-clamp", "mnist-vae", ("bottleneck.logvar_range=[-0.5,20]",)),
    Mutant("narrow-latent", "mnist-vae", ("bottleneck.dim=1", "encoder.channels=2")),
    Mutant("narrow-decoder", "mnist-vae", ("decoder.width=2", "encoder.width=2")),
    Mutant("learning-rate-low", "mnist-vae", ("training.learning_rate=1e-5",)),
    Mutant("few-steps", "mnist-vae", ("training.steps=20",)),
    Mutant("learning-rate-high", "mnist-vae", ("training.learning_rate=0.3",)),
    Mutant("bytes-range", "mnist-vae", ("data.value_range=[0,255]",)),
    Mutant("codebook-random-start", "cifar-vq",
           ("bottleneck.init=normal", "bottleneck.restart_threshold=0", "bottleneck.decay=0.99")),
    Mutant("codebook-gradient-random", "cifar-vq",
           ("bottleneck.init=normal", "bottleneck.restart_threshold=0",
            "bottleneck.update=gradient")),
    Mutant("codebook-unowned", "cifar-vq",
           ("bottleneck.update=gradient", "bottleneck.codebook_weight=0", "bottleneck.init=normal",
            "bottleneck.restart_threshold=0")),
    Mutant("codebook-tiny", "cifar-vq", ("bottleneck.codes=4",)),
    Mutant("codebook-few-steps", "cifar-vq", ("training.steps=20",)),
    Mutant("codebook-narrow", "cifar-vq", ("decoder.width=2", "encoder.width=2")),
)
# fmt: on


def arrays(base: str, datasets: Path, work: Path) -> Path:
    """Write the first images of a base's data into the working folder, once."""
    path = work / f"{base}-images.npz"
    if not path.is_file():
        folder = datasets / {"mnist-vae": "mnist", "cifar-vq": "cifar10"}[base]
        with np.load(next(folder.glob("*.npz")), allow_pickle=False) as whole:
            np.savez(path, images=whole["images"][:IMAGES], labels=whole["labels"][:IMAGES])
    return path


def recipe_of(base: str, images: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return a shipped recipe, scaled down, on an array of images, with a mistake."""
    source = {"data": {"path": str(images), "name": None}}
    recipe = load_recipe(base)
    for sections in (SMALL, BASES[base], source):
        recipe = apply_overrides(recipe, sections=sections)
    return apply_overrides(recipe, overrides)


def trained(recipe: Recipe, path: Path) -> Run:
    """Train and evaluate a recipe, or open the run where an earlier call left it."""
    folder = RunFolder(path)
    if folder.evaluation.is_file():
        return Run.open(path)
    return fit_into(recipe, folder, progress=False)


def psnr(run: Run) -> float:
    """Return held-out PSNR in dB; a run without a finite one counts as 0."""
    evaluation = run.evaluation()
    assert evaluation is not None
    return float(evaluation["metrics"]["psnr"]["value"] or 0.0)


def measure(mutant: Mutant, healthy_db: float, images: Path, work: Path, seconds: float) -> dict:
    """Train the mutant, diagnose it, treat it."""
    began = time.process_time()
    recipe = recipe_of(mutant.base, images, mutant.overrides)
    row: dict = {"mutant": mutant.name, "base": mutant.base, "healthy": healthy_db}
    try:
        sick = trained(recipe, work / mutant.name)
        diagnosis = examine_run(sick, budget_seconds=seconds)
    except PellucidError as error:
        return row | {"error": str(error).splitlines()[0]}
    row |= {"sick": psnr(sick), "finding": [f.id for f in diagnosis.findings if f.asserted][:3]}
    try:
        plan = treat(sick, diagnosis=diagnosis, dry_run=True)
        out = RunFolder(work / f"{mutant.name}-treated")
        treated = train_patched(plan, out, progress=False)
        evaluate(treated, progress=False)
    except PellucidError as error:
        return row | {"error": str(error).splitlines()[0]}
    return row | {
        "treated": psnr(treated),
        "treats": plan.finding,
        "patch": plan.patch,
        "how": plan.how,
        "seconds": time.process_time() - began,
    }


def verdict(row: dict) -> str:
    """Say whether a mutant was sick, and regained at least 90 % of the healthy twin's dB."""
    if row.get("sick", 0.0) >= SHARE * row["healthy"]:
        return "not sick"
    return "regained" if row.get("treated", 0.0) >= SHARE * row["healthy"] else "lost"


def table(rows: list[dict], bases: dict[str, float]) -> str:
    """Return the section for RESULTS.md."""
    counted = [row for row in rows if verdict(row) != "not sick"]
    regained = sum(verdict(row) == "regained" for row in counted)
    lines = [
        "## Treatments",
        "",
        f"`python benchmarks/treatments.py --datasets DATASETS --write`: **{regained} of "
        f"{len(counted)}** sick mutants regain at least 90 % of the healthy twin's dB (held-out "
        f"PSNR); {len(rows)} of {len(MUTANTS)} mutants were run. A mutant counts when it lost at "
        "least 10 % of them. Diagnosis, patch and way to "
        "start are `pellucid treat`'s own (30 s of one core per diagnosis); one seed; recipes "
        f"scaled down (width 16, 300 steps of 32, {IMAGES:,} images at most, one thread). "
        f"Healthy: {', '.join(f'{k} {v:.2f} dB' for k, v in bases.items())}.",
        "",
        "| mutant | base | sick | treated | of the healthy dB | verdict | finding | patch | how |",
        "|---|---|---:|---:|---:|---|---|---|---|",
    ]
    for row in rows:
        treated = row.get("treated")
        patch = ", ".join(f"`{k}={json.dumps(v)}`" for k, v in row.get("patch", {}).items())
        share = f"{treated / row['healthy']:.0%}" if treated is not None else ""
        lines.append(
            f"| {row['mutant']} | {row['base']} | {row.get('sick', float('nan')):.2f} dB | "
            f"{'' if treated is None else f'{treated:.2f} dB'} | {share} | {verdict(row)} | "
            f"{', '.join(row.get('finding', [])) or 'nothing asserted'} | "
            f"{patch or row.get('error', '')} | {row.get('how', '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every mutant, or those of `--only`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[m.name for m in MUTANTS])
    parser.add_argument("--work", type=Path, help="keeps runs and rows, and reuses them")
    parser.add_argument("--seconds", type=float, default=30, help="of each diagnosis")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Budgets count processor time here, so that a busy machine changes no verdict.
    Clock.__init__.__defaults__ = (time.process_time,)
    chosen = [m for m in MUTANTS if not arguments.only or m.name in arguments.only]
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        bases: dict[str, float] = {}
        rows = []
        for mutant in chosen:
            images = arrays(mutant.base, arguments.datasets, work)
            if mutant.base not in bases:
                base = recipe_of(mutant.base, images)
                bases[mutant.base] = psnr(trained(base, work / mutant.base))
            kept = work / f"{mutant.name}.json"
            row = json.loads(kept.read_text()) if kept.is_file() else None
            if row is None or row["healthy"] != bases[mutant.base]:
                row = measure(mutant, bases[mutant.base], images, work, arguments.seconds)
                kept.write_text(json.dumps(row))
            rows.append(row)
            print(json.dumps(row | {"verdict": verdict(row)}), flush=True)
    text = table(rows, bases)
    print(text)
    if arguments.write:
        write_section("treatments", text)


if __name__ == "__main__":
    main()
