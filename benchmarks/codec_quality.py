"""A speech codec's run on held-out speakers beside Opus, Codec2 and Lyra v2; its learning curve.

Every clip is coded by all, at the bits of real files, and heard as 16-bit samples; intervals are
bootstraps over speakers, of the paired differences too. A run that is still training is measured
through a copy of one of its checkpoints.

    python benchmarks/codec_quality.py RUN [--checkpoint best] [--clips 20] [--lyra FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from results import write_section

LABELS = {
    "pesq": "PESQ-WB",
    "stoi": "STOI",
    "visqol": "ViSQOL",
    "dnsmos": "DNSMOS",
    "si_sdr": "SI-SDR, dB",
}
POINTS = 10
CURVE = (
    ("snr", "SNR, dB", ".2f"),
    ("terms.log-mel.value", "log-mel distance", ".4f"),
    ("terms.loudness.value", "loudness disturbance", ".3f"),
    ("terms.intelligibility.value", "1 − envelope correlation", ".4f"),
)
_FILES = ("recipe.yaml", "run.json", "data.json", "splits.json", "metrics.jsonl")


def evaluable(run: Path, checkpoint: str, into: Path, minutes: float = 30.0) -> Path:
    """Copy a run with the weights of one of its checkpoints; the run may go on meanwhile.

    Args:
        run: its folder.
        checkpoint: "best" or "last".
        into: where the copy is made.
        minutes: most audio of the training split that its code tables are fitted on.
    """
    from pellucid.build.assemble import build_autoencoder
    from pellucid.training.deploy import deploy
    from pellucid.training.selection import Selection
    from pellucid.workflows.code_tables import fit_code_tables
    from pellucid.workflows.run import Run

    copy = into / run.name
    (copy / "checkpoints").mkdir(parents=True)
    for name in _FILES:
        shutil.copy(run / name, copy / name)
    shutil.copytree(run / "checkpoints" / checkpoint, copy / "checkpoints" / checkpoint)
    opened = Run.open(copy)
    selection = Selection("total", "min")
    if checkpoint == "best":
        selection.best_step = 0
    averaged = bool(opened.recipe.training.get("ema_decay"))
    autoencoder = build_autoencoder(opened.recipe)
    deploy(autoencoder, opened.folder, selection, averaged=averaged, writes=True)
    fit_code_tables(opened, minutes=minutes, progress=False)
    return copy


def measure(
    run: Path,
    *,
    clips: int,
    visqol: bool,
    lyra: str | None,
    dnsmos: str | None = None,
    recordings: str | None = None,
) -> dict[str, Any]:
    """Return the evaluation of a run's test split beside the codecs, as plain data.

    Args:
        run: a run, or a released model.
        clips: at most so many.
        visqol: measure ViSQOL too.
        lyra: folder of Lyra v2's networks, or None to leave it out.
        dnsmos: path of DNSMOS's network, to measure it too.
        recordings: what a released model was trained on; its recipe divides them as it did then.
    """
    from pellucid.build.assemble import build_data
    from pellucid.evaluation.evaluate_audio import evaluate_audio
    from pellucid.recipe import apply_overrides
    from pellucid.workflows.coder import read_tables
    from pellucid.workflows.progress import progress_bar
    from pellucid.workflows.run import Run

    opened = Run.open(run)
    data: Any
    if recordings is None:
        data = opened.data()
    else:
        data = build_data(apply_overrides(opened.recipe, sections={"data": {"path": recordings}}))
    with progress_bar("measuring", shown=True) as report:
        result = evaluate_audio(
            opened.load(),
            data.test,
            sample_rate=data.sample_rate,
            tables=read_tables(opened),
            max_clips=clips,
            codecs=("opus", "codec2", "lyra") if lyra else ("opus", "codec2"),
            opus_kbps=(6.0,),
            lyra=lyra,
            levels=(),
            visqol=visqol,
            dnsmos=dnsmos,
            progress=report,
        )
    return {**result.to_json(), "step": opened.status().get("step"), "clips": clips}


def quality_table(found: dict[str, Any]) -> list[str]:
    """Return the table of methods, the model first, and that of the paired differences."""
    present = [name for name in LABELS if name in found["metrics"]]
    header = " | ".join(LABELS[name] for name in present)
    lines = [f"| | file kb/s | {header} |", "|---|---:" + "|---:" * len(present) + "|"]
    rows = {"**this run**": found["metrics"], **found["references"]}
    for name, metrics in rows.items():
        cells = " | ".join(_cell(metrics.get(metric)) for metric in ("file_kbps", *present))
        lines.append(f"| {name} | {cells} |")
    lines += [
        "",
        "Paired differences, this run minus the codec (95 % intervals over speakers):",
        "",
    ]
    lines += [f"| | {header} |", "|---" + "|---:" * len(present) + "|"]
    for name, gaps in found["differences"].items():
        cells = " | ".join(_cell(gaps.get(metric), signed=True) for metric in present)
        lines.append(f"| {name} | {cells} |")
    return lines


def _cell(value: dict[str, Any] | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    sign = "+" if signed else ""
    digits = 3 if abs(value["value"]) < 1 else 2
    text = f"{value['value']:{sign}.{digits}f}"
    if value.get("low") is None:
        return text
    return f"{text} ({value['low']:{sign}.{digits}f} … {value['high']:{sign}.{digits}f})"


def history(runs: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the lines of runs that went on from each other's weights, counted from the first step.

    Steps that came before the first of them are counted, and have no lines.
    """
    for run in runs:
        step, seconds = before(run)
        for text in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            yield {**line, "step": line["step"] + step, "seconds": line["seconds"] + seconds}


def before(run: Path) -> tuple[int, float]:
    """Return steps and seconds of training that a run's weights had before its first step."""
    file = run / "start.json"
    start = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    step, seconds = 0, 0.0
    while start:
        step += start.get("step", 0)
        seconds += start.get("seconds", 0.0)
        start = start["start"]
    return step, seconds


def learning_curve(lines: Iterable[dict[str, Any]], points: int = POINTS) -> list[tuple]:
    """Return a few validations as numbers in the order of `CURVE`, spread evenly, ends kept."""
    validations = [
        (
            line["step"],
            line["seconds"] / 3600,
            *(line["values"].get(key) for key, _, _ in CURVE),
        )
        for line in lines
        if line["split"] == "validation"
    ]
    if len(validations) <= points:
        return validations
    chosen = sorted({round(i * (len(validations) - 1) / (points - 1)) for i in range(points)})
    return [validations[i] for i in chosen]


def curve_table(curve: list[tuple]) -> list[str]:
    """Return the learning curve as a table, one column per validation."""
    shown = (("steps", "d"), ("hours", ".2f"), *((name, style) for _, name, style in CURVE))
    rows = []
    for (name, style), column in zip(shown, zip(*curve, strict=True), strict=True):
        if all(value is None for value in column):
            continue
        cells = " | ".join("" if value is None else f"{value:{style}}" for value in column)
        rows.append(f"| {name} | {cells} |")
    return [rows[0], "|---" + "|---:" * len(curve) + "|", *rows[1:]]


def section(found: dict[str, Any], curve: list[tuple], command: str, earlier: int = 0) -> str:
    """Return the Markdown section; `earlier` steps came before the run's own."""
    steps = found["step"] + earlier
    failed = sum(len(clips) for clips in found["failures"].values())
    lines = [
        "## A speech codec against Opus, Codec2 and Lyra",
        "",
        f"`{command} --write`: {len(found['samples']['index'])} whole clips of held-out speakers, "
        f"{found['seconds']:.0f} s, weights after {steps:,} steps, {failed} measurements "
        "failed; Codec2 is narrowband. Bits are those of the files.",
        "",
        *quality_table(found),
    ]
    if curve:
        lines += ["", "Learning curve, on the validation split:", "", *curve_table(curve)]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", choices=["best", "last"], help="of an unfinished run")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument(
        "--earlier",
        type=Path,
        nargs="*",
        default=[],
        metavar="RUN",
        help="runs whose weights it went on from, for the learning curve",
    )
    parser.add_argument("--visqol", action="store_true", help="a second or more per second heard")
    parser.add_argument("--lyra", metavar="FOLDER", help="with Lyra v2's TFLite networks")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
        run = arguments.run
        if arguments.checkpoint:
            run = evaluable(run, arguments.checkpoint, Path(folder))
        found = measure(run, clips=arguments.clips, visqol=arguments.visqol, lyra=arguments.lyra)
        curve = learning_curve(history([*arguments.earlier, run]))
    command = f"python benchmarks/codec_quality.py RUN --clips {arguments.clips}"
    command += " --lyra FOLDER" if arguments.lyra else ""
    text = section(found, curve, command, before(arguments.run)[0])
    print(text)
    if arguments.write:
        write_section("codec-quality", text)


if __name__ == "__main__":
    main()
