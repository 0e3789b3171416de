"""Permuters of the graph VAE side by side: what each does to the error, and to invariance.

    python benchmarks/permuters.py --datasets DATASETS --work WORK [--steps 3000] [--write]

The recipe `tissue-graph` on MIBI, one run per permuter, trained into WORK (a finished run there is
not trained again). Over the eight symmetries of a tile the exact choice is `dihedral`; over all
orders of its nodes it is `oracle` (Hungarian); `learned` chooses over either.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pellucid.workflows.run import Run
from pellucid.workflows.train import train
from results import write_section

ARMS = {
    "off": "permuter={kind: off}",
    "dihedral": "permuter={kind: dihedral, side: 6}",
    "learned, eight symmetries": "permuter={kind: learned, side: 6, over: dihedral}",
    "oracle": "permuter={kind: oracle, side: 6}",
    "learned, all orders": "permuter={kind: learned, side: 6, over: nodes}",
}
EXACT = {"learned, eight symmetries": "dihedral", "learned, all orders": "oracle"}


def measure(name: str, data: Path, work: Path, steps: int) -> dict[str, Any]:
    """Train (or open) one arm and return its evaluation."""
    place = work / name.replace(", ", "-").replace(" ", "-")
    if (place / "evaluation.json").is_file():
        run = Run.open(place)
    else:
        given = [f"data.path={data}", f"training.steps={steps}", ARMS[name]]
        run = train("tissue-graph", overrides=given, out=place, progress=False)
    evaluation = run.evaluation()
    assert evaluation is not None
    return evaluation


def table(found: dict[str, dict[str, Any]], steps: int) -> str:
    """Write the arms as Markdown."""
    lines = [
        "## Permuters of the graph VAE",
        "",
        "`python benchmarks/permuters.py … --write`: `tissue-graph` on MIBI (41 channels), "
        f"{steps:,} steps each, one seed. The error is the mean square over the data's variance "
        "on held-out tiles, put back into the input's order.",
        "",
        "| permuter | error | beside the exact one | median R² | invariance error | pose, bits |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, evaluation in found.items():
        symmetry, r2 = evaluation["symmetry"], evaluation["metrics"]["r2"]
        exact = EXACT.get(name)
        beside = "–"
        if exact is not None and exact in found:
            ratio = symmetry["error_after"] / found[exact]["symmetry"]["error_after"] - 1
            beside = f"{ratio:+.1%}"
        promised = symmetry["invariance_error"]
        lines.append(
            f"| {name} | {symmetry['error_after']:.3f} | {beside} | {r2['value']:.3f} | "
            f"{promised:.1e}{'' if symmetry['promised'] else ' (none promised)'} | "
            f"{symmetry['pose_bits']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--only", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    data = arguments.datasets / "mibi"
    found = {name: measure(name, data, arguments.work, arguments.steps) for name in arguments.only}
    text = table(found, arguments.steps)
    print(text)
    if arguments.write:
        write_section("permuters", text)


if __name__ == "__main__":
    main()
