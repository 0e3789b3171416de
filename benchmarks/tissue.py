"""Tissue: R² per marker against PCA at equal numbers, the un-normalised twin, throughput.

    python benchmarks/tissue.py --datasets DATASETS --work WORK [--only mibi-256] [--write]

Every arm is the recipe `tissue-stack` with the overrides printed beside it, trained into WORK (a
finished run there is not trained again) and evaluated on held-out tiles. The twin sees raw counts,
is diagnosed, and is judged on the same arcsinh values. Throughput: the whole 41 × 1024 × 1024 image
read, normalised, tiled and encoded by the trained model, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pellucid.workflows.diagnose import examine_run
from pellucid.workflows.run import Run
from pellucid.workflows.train import train
from results import write_section

SIXTEEN = ["data.size=16", "data.split=blocks", "data.block=24", "data.margin=4", "data.test=0.3",
           "data.train_crops=8"]  # fmt: skip
STRIDE_4 = ["encoder.stride=4", "decoder.stride=4", "encoder.multipliers=[1,2]",
            "decoder.multipliers=[1,2]"]  # fmt: skip
ARMS: dict[str, tuple[str, list[str]]] = {
    "mibi-256": ("mibi", []),
    "mibi-64": ("mibi", ["encoder.channels=4", "bottleneck.dim=4"]),
    "mibi-raw": ("mibi", ["data.normalise=[]"]),
    "imc-256": ("imc_hyperion", [*SIXTEEN, *STRIDE_4, "training.steps=8000"]),
    "imc-64": ("imc_hyperion", [*SIXTEEN, "training.steps=8000"]),
}


def measure(name: str, datasets: Path, work: Path, steps: int) -> dict[str, Any]:
    """Train (or open) one arm and return what is told of it."""
    folder, overrides = ARMS[name]
    place = work / name
    if (place / "evaluation.json").is_file():
        run = Run.open(place)
    else:
        given = [f"data.path={datasets / folder}", f"training.steps={steps}", *overrides]
        run = train("tissue-stack", overrides=given, out=place)
    evaluation = run.evaluation()
    assert evaluation is not None
    told: dict[str, Any] = {"evaluation": evaluation, "status": run.status()}
    told["overrides"] = " ".join(overrides)
    if name.endswith("raw"):
        found = examine_run(run, budget_seconds=60)
        told["diagnosis"] = [
            {"id": f.id, "confidence": f.confidence, "summary": f.summary, "patch": dict(f.patch)}
            for f in found.findings
        ]
    return told


def throughput(run: Path, threads: int) -> dict[str, float]:
    """Encode the run's own image in a fresh process, or read what that took; seconds and MiB."""
    kept = run / "throughput.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    words = [sys.executable, __file__, "--encode", str(run), "--threads", str(threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    cost = json.loads(done.stdout.strip().splitlines()[-1])
    kept.write_text(json.dumps(cost))
    return cost


def encode(path: str, threads: int) -> None:
    """Read, normalise, tile and encode every region of a run's data; print the cost."""
    import torch

    from pellucid.data.stacks import open_stacks
    from pellucid.data.stacks.store import Store
    from pellucid.workflows.stack_pass import encode_region

    torch.set_num_threads(threads)
    run = Run.open(path)
    model, chain = run.load(), run.normaliser()
    assert chain is not None
    began, spent = time.perf_counter(), time.process_time()
    stacks = open_stacks(run.recipe.data["path"], channels=chain.channels)
    store = Store(stacks.regions, range(len(chain.channels)))
    count = 0
    for number in range(len(stacks.regions)):
        latents = encode_region(model, chain, store, number, size=run.recipe.data["size"])
        count += latents.shape[0] * latents.shape[1]
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "processor_seconds": time.process_time() - spent,
                "mib": _peak_mib(),
                "tiles": count,
            }
        )
    )


def _peak_mib() -> float:
    """Return the peak of this very program; getrusage would count its parent's from before exec."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def markdown(told: dict[str, dict[str, Any]], cost: dict[str, float], threads: int) -> str:
    """Return the section."""
    lines = [
        "## Tissue stacks",
        "",
        "`python benchmarks/tissue.py --datasets DATASETS --work WORK --write`: `tissue-stack` on "
        "held-out tiles, interleaved blocks with a margin. Median R² over live markers (at least "
        "1 % of pixels not zero in train and held-out) on arcsinh(counts), 95 % intervals over "
        "blocks; PCA of whole tiles is fitted on training tiles, augmented as for the model. "
        "One seed; the settings of the imc arms were chosen while looking at these numbers.",
        "",
        "| arm | numbers per tile | R² | worst tenth | Pearson | cosine | PCA, equal numbers | "
        "minus PCA-64 | minus PCA-256 | minus PCA of patches | training |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in told.items():
        evaluation, status = one["evaluation"], one["status"]
        metrics, numbers = evaluation["metrics"], evaluation["latent"]["numbers"]
        cells = [
            f"`{name}`",
            str(numbers),
            _interval(metrics["r2"]),
            _interval(metrics["r2_worst_decile"]),
            _interval(metrics["pearson"]),
            _interval(metrics["cosine"]),
            _interval(evaluation["references"][f"pca-{numbers}"]["r2"]),
            *(
                _interval(evaluation["differences"].get(key, {}).get("r2"), signed=True)
                for key in ("pca-64", "pca-256", f"patch-pca-{numbers}")
            ),
            f"{status['seconds']:.0f} s, {status['step']} steps",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Arms differ from the recipe by: " + "; ".join(
        f"`{name}`: {one['overrides'] or 'nothing'}" for name, one in told.items()
    ) + "."]  # fmt: skip
    for name, one in told.items():
        for finding in one.get("diagnosis", [])[:3]:
            patch = ", ".join(f"`{k}={v}`" for k, v in finding["patch"].items()) or "advice only"
            lines.append(
                f"* `{name}` diagnosed: **{finding['id']}** (confidence "
                f"{finding['confidence']:.2f}): {finding['summary']}. Patch: {patch}."
            )
    if cost:
        lines += [
            "",
            f"Throughput: a 41 × 1024 × 1024 stack read from compressed TIFF, normalised, cut into "
            f"{cost['tiles']} tiles and encoded in {cost['seconds']:.1f} s on a shared machine "
            f"({cost['processor_seconds']:.1f} s of processor time, {threads} thread(s)), peak "
            f"memory {cost['mib']:.0f} MiB.",
        ]
    return "\n".join(lines)


def _interval(node: dict[str, Any] | None, *, signed: bool = False) -> str:
    if not node:
        return "–"
    sign = "+" if signed else ""
    text = f"{node['value']:{sign}.3f}"
    if node.get("low") is None:
        return text
    return f"{text} ({node['low']:{sign}.3f} … {node['high']:{sign}.3f})"


def main() -> None:
    """Measure the arms asked for; `--write` tells of them in RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--work", type=Path, default=Path("runs/tissue-benchmark"))
    parser.add_argument("--only", choices=sorted(ARMS), nargs="*")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--encode")
    arguments = parser.parse_args()
    if arguments.encode:
        encode(arguments.encode, arguments.threads)
        return
    chosen = arguments.only or list(ARMS)
    told = {
        name: measure(name, arguments.datasets, arguments.work, arguments.steps) for name in chosen
    }
    cost = {}
    if "mibi-256" in told:
        cost = throughput(arguments.work / "mibi-256", arguments.threads)
    text = markdown(told, cost, arguments.threads)
    print(text)
    if arguments.write:
        write_section("tissue-stacks", text)


if __name__ == "__main__":
    main()
