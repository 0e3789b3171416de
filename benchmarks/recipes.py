"""Train shipped recipes to the end; write what they cost and reached into their headers.

    python benchmarks/recipes.py photos-vq
    python benchmarks/recipes.py patch-vq data.path=PHOTOS --title "clothing photographs" --write

`--write` replaces the `cost:` and `score:` lines of the recipe's header and its row of the README.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

from pellucid.recipe import recipe_names, shipped_recipe
from pellucid.workflows.run import Run
from pellucid.workflows.train import train

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "recipes.json"


def measure(run: Run, title: str) -> dict[str, str]:
    """Say in words what a finished run cost and reached."""
    status, evaluation = run.status(), run.evaluation()
    assert evaluation is not None
    metrics, environment = evaluation["metrics"], status["environment"]
    psnr, ssim = metrics["psnr"], metrics["ssim"]
    others = [
        f"{name} {node['psnr']['value']:.1f} dB"
        for name, node in evaluation["references"].items()
        if name != "mean"
    ]
    return {
        "data": title,
        "cost": f"{status['seconds'] / 60:.1f} minutes of training on {environment['threads']} CPU "
        f"threads ({environment['precision']}), {status['parameters']:,} parameters, "
        f"{status['step']} steps",
        "psnr": f"{psnr['value']:.2f} dB ({psnr['low']:.2f} … {psnr['high']:.2f})",
        "ssim": f"{ssim['value']:.3f}",
        "bits": f"{metrics['bits_per_pixel']['value']:.3f}",
        "references": ", ".join(others),
        "held_out": f"{psnr['n']}",
    }


def header_lines(row: dict[str, str]) -> tuple[str, str]:
    """Return the header's cost and score lines."""
    score = (
        f"{row['psnr']} PSNR, SSIM {row['ssim']} at {row['bits']} bits per pixel on held-out "
        f"{row['data']} (references: {row['references']})"
    )
    return f"# cost: {row['cost']}", f"# score: {score}"


def write(name: str, row: dict[str, str]) -> None:
    """Write one recipe's header, the results file and the README's table."""
    path = ROOT / "src" / "pellucid" / "recipes" / f"{name}.yaml"
    cost, score = header_lines(row)
    text = re.sub(r"^# cost:.*$", cost, path.read_text(), count=1, flags=re.MULTILINE)
    path.write_text(re.sub(r"^# score:.*$", score, text, count=1, flags=re.MULTILINE))
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows[name] = row
    RESULTS.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    lines = [
        "| recipe | what | data | held-out PSNR | SSIM | bits per pixel | references | cost |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    for known in recipe_names():
        if known in rows:
            r = rows[known]
            what = shipped_recipe(known).summary.split(": ", 1)[-1].split(". ")[0]
            lines.append(
                f"| `{known}` | {what} | {r['data']} | {r['psnr']} | {r['ssim']} | {r['bits']} "
                f"| {r['references']} | {r['cost']} |"
            )
    readme = ROOT / "README.md"
    begin, end = "<!-- recipes:begin -->", "<!-- recipes:end -->"
    before, rest = readme.read_text().split(begin)
    readme.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=recipe_names())
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--title", default="data", help="what the data is, for the table")
    parser.add_argument("--out", type=Path, help="run folder; a temporary one by default")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp()) / arguments.recipe
    run = train(arguments.recipe, overrides=arguments.overrides, out=out)
    row = measure(run, arguments.title)
    print("\n".join(header_lines(row)))
    if arguments.write:
        write(arguments.recipe, row)


if __name__ == "__main__":
    main()
