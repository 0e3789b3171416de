"""Training curves: the objective term by term, who pulls the gradient, and the machinery."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.contents import RunContents
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import finite, is_number, title

Curve = tuple[list[float], list[float | None]]
QUALITY = ("psnr", "snr", "total")
UNITS = {
    "psnr": "dB",
    "snr": "dB",
    "total": "weighted sum of the terms",
    "samples_per_second": "samples per second",
    "learning_rate": "",
    "perplexity": "codes",
    "usage": "share of the codes",
}
MACHINERY = ("learning_rate", "gradient_norm", "samples_per_second")
FROM_ZERO = ("learning_rate", "samples_per_second", "perplexity", "usage")
# A log axis is chosen where values span more than this factor.
LOG_SPAN = 20.0


@dataclasses.dataclass(frozen=True)
class Timeline:
    """What the charts share: the last logged step, and a mark where the kept weights are from."""

    last: float
    kept: tuple[Rule, ...]


def section(contents: RunContents) -> Section:
    """Draw every logged quantity over the optimiser's steps."""
    curves = collect(contents.lines)
    timeline = _timeline(contents)
    quality = [_chart(name, curves, timeline) for name in QUALITY if name in curves]
    quality += _shares(curves, timeline)
    terms = [_chart(n, curves, timeline) for n in curves if _is_term_value(n)]
    bottleneck = [_chart(n, curves, timeline) for n in curves if n.startswith("bottleneck.")]
    machinery = [_chart(n, curves, timeline) for n in MACHINERY if n in curves]
    drawn = {*QUALITY, *MACHINERY}
    others = [
        _chart(n, curves, timeline)
        for n in curves
        if n not in drawn and not n.startswith(("terms.", "bottleneck."))
    ]
    groups = [
        ("Quality and objective", quality, ""),
        ("Terms, before weighting", terms, ""),
        ("Bottleneck", bottleneck, ""),
        ("Machinery", machinery + others, ""),
    ]
    html = fill("curves.html.j2", groups=[g for g in groups if g[1]])
    return Section("curves", "Training curves", html)


def collect(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Sort logged lines into curves: name → split → (steps, values), steps ascending."""
    curves: dict[str, dict[str, Curve]] = {}
    for line in sorted(lines, key=lambda line: line["step"]):
        for name, value in line["values"].items():
            split = str(line.get("split", "train"))
            steps, values = curves.setdefault(str(name), {}).setdefault(split, ([], []))
            steps.append(line["step"])
            values.append(value if is_number(value) else None)
    return curves


def split_series(curves: Mapping[str, Curve]) -> list[Series]:
    """Return training as a light line and every other split as a strong one with dots."""
    order = sorted(curves, key=lambda split: (split != "train", split))
    return [
        Series(
            split,
            *curves[split],
            colour=0 if split == "train" else 1,
            dots=split != "train",
            faint=split == "train" and len(curves) > 1,
        )
        for split in order
    ]


def needs_log(name: str, values: Sequence[float]) -> bool:
    """Say whether a loss or norm is positive and spans enough for a logarithmic axis."""
    falls = name in ("total", "gradient_norm") or name.startswith("terms.")
    return falls and bool(values) and min(values) > 0 and max(values) / min(values) > LOG_SPAN


def _chart(name: str, curves: Mapping[str, Mapping[str, Curve]], timeline: Timeline) -> Html:
    series = split_series(curves[name])
    values = finite(value for one in series for value in one.y)
    short = name.removeprefix("terms.").removeprefix("bottleneck.").removesuffix(".value")
    return line_chart(
        title(short),
        series,
        x_label="optimiser step",
        y_label=UNITS.get(short, "value"),
        log=needs_log(name, values),
        zero=short in FROM_ZERO,
        x_ends=(0, timeline.last),
        rules=timeline.kept,
    )


def _shares(curves: Mapping[str, Mapping[str, Curve]], timeline: Timeline) -> list[Html]:
    """Draw which term pulls: shares of the gradient at the output, and at the latent."""
    charts = []
    for suffix, where in ((".gradient_share", "x̂"), (".latent_gradient_share", "the latent")):
        names = [n for n in curves if n.startswith("terms.") and n.endswith(suffix)]
        names = [n for n in names if finite(_first(curves[n])[1])]
        if not names:
            continue
        series = []
        for k, name in enumerate(names):
            steps, values = _first(curves[name])
            shares = [None if v is None else 100 * v for v in values]
            short = name.removeprefix("terms.").removesuffix(suffix)
            series.append(Series(title(short), steps, shares, colour=k))
        charts.append(
            line_chart(
                f"Who pulls the gradient at {where}",
                series,
                x_label="optimiser step",
                y_label="share of the gradient, %",
                zero=True,
                x_ends=(0, timeline.last),
                rules=timeline.kept,
            )
        )
    return charts


def _first(curves: Mapping[str, Curve]) -> Curve:
    return curves.get("train") or next(iter(curves.values()))


def _is_term_value(name: str) -> bool:
    return name.startswith("terms.") and name.endswith(".value")


def _timeline(contents: RunContents) -> Timeline:
    last = max((float(line["step"]) for line in contents.lines), default=0.0)
    step = contents.kept_step
    if step is None or not 0 < step < last:
        return Timeline(last, ())
    return Timeline(last, (Rule(step, "kept", vertical=True),))
