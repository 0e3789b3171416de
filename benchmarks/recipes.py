"""Train shipped recipes to the end; write what they cost and reached into their headers.

    python benchmarks/recipes.py photos-vq
    python benchmarks/recipes.py patch-vq data.path=PHOTOS --title "clothing photographs" --write
    python benchmarks/recipes.py speech-codec-tiny --run RUN --title "LibriSpeech" --write

`--write` replaces the `cost:` and `score:` lines of the recipe's header and its row of the README.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from pellucid.recipe import recipe_names, shipped_recipe
from pellucid.workflows.ancestry import told
from pellucid.workflows.run import Run
from pellucid.workflows.train import train

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "recipes.json"


def measure(run: Run, title: str) -> dict[str, str]:
    """Say in words what a finished run cost and reached."""
    status, evaluation = run.status(), run.evaluation()
    assert evaluation is not None
    environment = status["environment"]
    cost = (
        f"{status['seconds'] / 60:.1f} minutes of training on {environment['threads']} CPU "
        f"threads ({environment['precision']}), {status['parameters']:,} parameters, "
        f"{status['step']} steps"
    )
    cost = "; before that ".join([cost, *told(run.started_from())])
    kinds = {"audio": _of_audio, "stacks": _of_stacks, "cells": _of_stacks}
    words = kinds.get(str(evaluation.get("kind")), _of_images)
    return {"data": title, "cost": cost, **words(evaluation)}


def _of_images(evaluation: dict[str, Any]) -> dict[str, str]:
    metrics = evaluation["metrics"]
    others = [
        f"{name} {node['psnr']['value']:.1f} dB"
        for name, node in evaluation["references"].items()
        if name != "mean"
    ]
    return {
        "psnr": f"{metrics['psnr']['value']:.2f} dB {_interval(metrics['psnr'], 2)}",
        "ssim": f"{metrics['ssim']['value']:.3f}",
        "bits": f"{metrics['bits_per_pixel']['value']:.3f}",
        "references": ", ".join(others),
        "held_out": f"{metrics['psnr']['n']}",
    }


def _of_audio(evaluation: dict[str, Any]) -> dict[str, str]:
    metrics = evaluation["metrics"]
    others = [
        f"{name} PESQ-WB {node['pesq']['value']:.2f}, STOI {node['stoi']['value']:.3f} at "
        f"{node['file_kbps']['value']:.2f} kb/s"
        for name, node in evaluation["references"].items()
    ]
    return {
        "pesq": f"{metrics['pesq']['value']:.2f} {_interval(metrics['pesq'], 2)}",
        "stoi": f"{metrics['stoi']['value']:.3f} {_interval(metrics['stoi'], 3)}",
        "kbps": f"{metrics['file_kbps']['value']:.2f}",
        "references": "; ".join(others),
        "held_out": f"{metrics['pesq']['n']}",
    }


def _of_stacks(evaluation: dict[str, Any]) -> dict[str, str]:
    metrics = evaluation["metrics"]
    others = [
        f"{name} R² {node['r2']['value']:.3f}"
        for name, node in evaluation["references"].items()
        if name != "mean"
    ]
    live = sum(bool(marker["live"]) for marker in evaluation["markers"])
    return {
        "r2": f"{metrics['r2']['value']:.3f} {_interval(metrics['r2'], 3)}",
        "pearson": f"{metrics['pearson']['value']:.3f}",
        "numbers": _numbers(evaluation),
        "references": ", ".join(others),
        "held_out": f"{live}",
    }


def _numbers(evaluation: dict[str, Any]) -> str:
    """Return the numbers per tile, or those per window and how many cells one holds."""
    latent = evaluation["latent"]
    if evaluation["kind"] == "stacks":
        return f"{latent['numbers']}"
    return f"{latent['numbers']} (of {latent['cells']:.0f} cells)"


def _interval(metric: dict[str, Any], digits: int) -> str:
    return f"({metric['low']:.{digits}f} … {metric['high']:.{digits}f})"


def header_lines(row: dict[str, str]) -> tuple[str, str]:
    """Return the header's cost and score lines."""
    if "pesq" in row:
        score = (
            f"PESQ-WB {row['pesq']}, STOI {row['stoi']} at {row['kbps']} kb/s of files on "
            f"{row['held_out']} held-out speakers of {row['data']} (beside: {row['references']})"
        )
    elif "r2" in row:
        score = (
            f"R² {row['r2']}, Pearson {row['pearson']} (medians over {row['held_out']} live "
            f"markers) from {_told(row['numbers'])} on held-out {row['data']} "
            f"(references: {row['references']})"
        )
    else:
        score = (
            f"{row['psnr']} PSNR, SSIM {row['ssim']} at {row['bits']} bits per pixel on held-out "
            f"{row['data']} (references: {row['references']})"
        )
    return f"# cost: {row['cost']}", f"# score: {score}"


def _told(numbers: str) -> str:
    count, _, windows = numbers.partition(" ")
    return f"{count} numbers per {'window ' + windows if windows else 'tile'}"


def write(name: str, row: dict[str, str]) -> None:
    """Write one recipe's header, the results file and the README's tables."""
    path = ROOT / "src" / "pellucid" / "recipes" / f"{name}.yaml"
    cost, score = header_lines(row)
    text = re.sub(r"^# cost:.*$", cost, path.read_text(), count=1, flags=re.MULTILINE)
    path.write_text(re.sub(r"^# score:.*$", score, text, count=1, flags=re.MULTILINE))
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows[name] = row
    RESULTS.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    readme = ROOT / "README.md"
    begin, end = "<!-- recipes:begin -->", "<!-- recipes:end -->"
    before, rest = readme.read_text().split(begin)
    readme.write_text(f"{before}{begin}\n{tables(rows)}\n{end}{rest.split(end)[1]}")


def tables(rows: dict[str, dict[str, str]]) -> str:
    """Return the README's tables: recipes for pictures, codecs for speech, tissue."""
    pictures = [
        "| recipe | what | data | held-out PSNR | SSIM | bits per pixel | references | cost |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    codecs = [
        "| recipe | what | data | held-out PESQ-WB | STOI | kb/s | on the same clips | cost |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    tissue = [
        "| recipe | what | data | held-out R², median of live markers | Pearson | numbers per tile "
        "| references | cost |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    for name in recipe_names():
        if name not in rows:
            continue
        row = rows[name]
        what = shipped_recipe(name).summary.split(": ", 1)[-1].split(". ")[0]
        keys, lines = ("psnr", "ssim", "bits"), pictures
        if "pesq" in row:
            keys, lines = ("pesq", "stoi", "kbps"), codecs
        if "r2" in row:
            keys, lines = ("r2", "pearson", "numbers"), tissue
        cells = [f"`{name}`", what, row["data"], *(row[key] for key in keys)]
        lines.append(f"| {' | '.join([*cells, row['references'], row['cost']])} |")
    filled = [table for table in (pictures, codecs, tissue) if len(table) > 2]
    return "\n\n".join("\n".join(table) for table in filled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=recipe_names())
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--title", default="data", help="what the data is, for the table")
    parser.add_argument("--out", type=Path, help="run folder; a temporary one by default")
    parser.add_argument("--run", type=Path, help="read this finished run instead of training")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp()) / arguments.recipe
    if arguments.run:
        run = Run.open(arguments.run)
    else:
        run = train(arguments.recipe, overrides=arguments.overrides, out=out)
    row = measure(run, arguments.title)
    print("\n".join(header_lines(row)))
    if arguments.write:
        write(arguments.recipe, row)


if __name__ == "__main__":
    main()
