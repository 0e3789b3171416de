"""One page for several runs: numbers, paired differences, the same samples, overlaid curves."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.records import MetricValue
from pellucid.report.charts import Series, line_chart
from pellucid.report.codec_standing import headline_metric
from pellucid.report.contents import RunContents, mapping, measured, read
from pellucid.report.page import Html, Section, assemble, fill
from pellucid.report.ruler import Mark, ruler
from pellucid.report.sections.curves import UNITS, collect
from pellucid.report.sections.listening import clips_side_by_side
from pellucid.report.sections.reconstructions import rows_side_by_side
from pellucid.report.wording import interval, number, places_for, short_unit, title
from pellucid.run_folder import RunFolder

CURVES = ("psnr", "snr", "total", "bottleneck.perplexity", "bottleneck.usage", "samples_per_second")


@dataclasses.dataclass(frozen=True)
class Difference:
    """One difference between two runs, as printed."""

    metric: str
    runs: str
    text: str
    spread: str
    relation: str
    paired: bool
    n: str
    convention: str


def render_comparison(
    folders: Sequence[RunFolder],
    comparison: Mapping[str, Any],
    path: Path,
    *,
    subtitle: str = "Comparison",
    inserted: Sequence[Section] = (),
    appended: Sequence[Section] = (),
) -> Path:
    """Write the page that compares runs, and return its path.

    Args:
        folders: the runs, in the order of the page.
        comparison: what `evaluation.compare` found, as JSON: differences and warnings.
        path: where the page goes.
        subtitle: what kind of comparison it is.
        inserted: further sections after the verdict.
        appended: further sections at the end.

    Raises:
        RunError: when the page cannot be written; an earlier page is then untouched.
    """
    names = run_names(folders)
    runs = dict(zip(names, (read(folder) for folder in folders), strict=True))
    sections = [
        _verdict(runs, comparison),
        *inserted,
        _reconstructions(runs),
        _numbers(runs),
        _differences(comparison),
        _curves(runs),
        _recipes(runs),
        *appended,
    ]
    problems = [f"{name}: {text}" for name, run in runs.items() for text in run.problems]
    page = assemble(
        " and ".join(names) if len(names) == 2 else f"{len(names)} runs",
        sections,
        subtitle=subtitle,
        problems=problems,
    )
    write_atomically(path, page)
    return path


def run_names(folders: Sequence[RunFolder]) -> list[str]:
    """Name runs by their folders, or by whole paths where two folders share a name."""
    short = [folder.path.resolve().name for folder in folders]
    return [
        name if short.count(name) == 1 else str(folder.path)
        for name, folder in zip(short, folders, strict=True)
    ]


def differences(comparison: Mapping[str, Any]) -> list[Difference]:
    """Print the differences of a comparison; those without a finite value are left out."""
    nodes = comparison.get("differences")
    found = []
    for node in nodes if isinstance(nodes, list) else []:
        metric = measured(node)
        if metric is None:
            continue
        unit = short_unit(metric.unit)
        relation = ""
        if metric.low is not None and metric.high is not None:
            relation = "ahead" if metric.low > 0 else "behind" if metric.high < 0 else "level"
        found.append(
            Difference(
                metric=title(str(node.get("metric", ""))),
                runs=f"{node.get('run', '')} − {node.get('baseline', '')}",
                text=f"{number(metric.value, places=places(metric), signed=True)} {unit}".strip(),
                spread=interval(metric.low, metric.high, places=places(metric)),
                relation=relation,
                paired=bool(node.get("paired")),
                n=str(metric.n) if metric.n else "",
                convention=metric.convention,
            )
        )
    return found


def places(metric: MetricValue) -> int:
    """Return the decimals that a metric's interval justifies."""
    return places_for(metric.value, metric.low, metric.high, metric.unit)


def _verdict(runs: Mapping[str, RunContents], comparison: Mapping[str, Any]) -> Section:
    judged_by = _judged_by(runs)
    values = {name: measured(run.evaluated("metrics", judged_by)) for name, run in runs.items()}
    known = {name: metric for name, metric in values.items() if metric is not None}
    pairs = [d for d in differences(comparison) if d.metric == title(judged_by)]
    best = max(known, key=lambda name: known[name].value, default="")
    decided = [pair for pair in pairs if pair.relation in ("ahead", "behind")]
    if len(known) < 2:
        headline = "Nothing to compare yet: evaluate the runs first."
    elif pairs and not decided:
        headline = f"No difference in {title(judged_by)} that holds up."
    else:
        headline = f"{best} reconstructs best."
    sentence = "; ".join(
        f"{pair.runs}: {pair.text}{f' ({pair.spread})' if pair.spread else ''}" for pair in pairs
    )
    marks = [
        Mark(
            name,
            dataclasses.replace(metric, unit=short_unit(metric.unit)),
            own=name == best and bool(decided),
        )
        for name, metric in known.items()
    ]
    body = fill(
        "comparison_verdict.html.j2",
        headline=headline,
        sentence=f"Difference in {title(judged_by)}: {sentence}." if sentence else "",
        warnings=[str(text) for text in comparison.get("warnings") or []],
        ruler=ruler(marks, f"{title(judged_by)} of each run; bars are 95 % intervals")
        if marks
        else "",
    )
    return Section("verdict", "Verdict", body)


def _judged_by(runs: Mapping[str, RunContents]) -> str:
    """Return the metric that decides: PSNR, or R² of stacks, or what waveforms are judged by."""
    first = next(iter(runs.values()))
    if first.is_stacks:
        return "r2"
    return (headline_metric(first) or "pesq") if first.is_audio else "psnr"


def _numbers(runs: Mapping[str, RunContents]) -> Section:
    metrics = {name: mapping(run.evaluated("metrics")) for name, run in runs.items()}
    rows = []
    for key in dict.fromkeys(key for node in metrics.values() for key in node):
        values = [measured(metrics[name].get(key)) for name in runs]
        unit = next((short_unit(v.unit) for v in values if v is not None), "")
        cells = [
            (number(v.value, places=places(v)), interval(v.low, v.high, places=places(v)))
            if v
            else ("—", "")
            for v in values
        ]
        rows.append((title(key), unit, cells))
    body = fill("comparison_numbers.html.j2", names=list(runs), rows=rows)
    return Section("numbers", "Numbers", body)


def _differences(comparison: Mapping[str, Any]) -> Section:
    body = fill("comparison_differences.html.j2", differences=differences(comparison))
    return Section("differences", "Differences", body)


def _reconstructions(runs: Mapping[str, RunContents]) -> Section:
    audio = next(iter(runs.values())).is_audio
    side_by_side = clips_side_by_side if audio else rows_side_by_side
    return Section("reconstructions", "The same samples", side_by_side(runs))


def _curves(runs: Mapping[str, RunContents]) -> Section:
    collected = {name: collect(run.lines) for name, run in runs.items()}
    charts: list[Html] = []
    for key in CURVES:
        series = []
        for k, (name, curves) in enumerate(collected.items()):
            by_split = curves.get(key, {})
            split = "validation" if "validation" in by_split else next(iter(by_split), None)
            if split is not None:
                series.append(Series(name, *by_split[split], colour=k, dots=split != "train"))
        if series:
            short = key.removeprefix("bottleneck.")
            chart = line_chart(
                title(short),
                series,
                x_label="optimiser step",
                y_label=UNITS.get(short, "value"),
                x_ends=(0,),
            )
            charts.append(chart)
    groups = [("Validation where there is one, else training", charts, "")] if charts else []
    return Section("curves", "Training curves", fill("curves.html.j2", groups=groups))


def _recipes(runs: Mapping[str, RunContents]) -> Section:
    (first_name, first), *others = runs.items()
    changes = []
    for name, run in others:
        lines = difflib.unified_diff(
            (first.recipe or "").splitlines(), (run.recipe or "").splitlines(), n=1, lineterm=""
        )
        body = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        changes.append((name, body))
    body = fill("comparison_recipes.html.j2", first=first_name, changes=changes)
    return Section("recipes", "Recipes", body)
