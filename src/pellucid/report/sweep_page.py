"""The page of a sweep: rate against distortion, the linear prediction beside it, the knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.page import Html, Section, assemble, fill
from pellucid.report.wording import interval, number


def render_sweep(
    path: Path,
    name: str,
    key: str,
    points: Sequence[Mapping[str, Any]],
    knee: int | None,
    warnings: Sequence[str],
    *,
    log: bool,
) -> Path:
    """Write the page of a sweep and return its path.

    Args:
        path: where it goes.
        name: of the recipe.
        key: that was swept.
        points: as `workflows.sweep.point_of` returns them, in rising order of the value.
        knee: index of the chosen point, or None.
        warnings: one sentence each.
        log: whether the values are spaced in the logarithm.

    Raises:
        RunError: when it cannot be written.
    """
    body = fill(
        "sweep.html.j2",
        headline=_headline(points, knee),
        lead=_lead(key, points, knee),
        warnings=list(warnings),
        charts=[_curve(points, knee), *_rates(key, points, log=log)],
        key=key,
        rows=[_row(point, k == knee) for k, point in enumerate(points)],
        ends=[
            (f"{point['value']:.3g}", point["diagnosis"])
            for point in points
            if point.get("diagnosis")
        ],
    )
    page = assemble(f"{name}: {key}", [Section("sweep", "", body)], subtitle="Sweep")
    write_atomically(path, page)
    return path


def _headline(points: Sequence[Mapping[str, Any]], knee: int | None) -> str:
    if knee is None:
        return "No knee: the curve is straight, falls, or has too few points."
    return f"The knee: {points[knee]['psnr']['value']:.2f} dB at {points[knee]['value']:.3g}"


def _lead(key: str, points: Sequence[Mapping[str, Any]], knee: int | None) -> str:
    if knee is None:
        return ""
    rate, unit = _rate(points[knee])
    unit = unit.removeprefix("KL, ")
    return f"{key} = {points[knee]['value']:.3g} spends {rate:.3g} {unit}; beyond, rate buys less."


def _curve(points: Sequence[Mapping[str, Any]], knee: int | None) -> Html:
    ordered = sorted(points, key=lambda point: _rate(point)[0])
    x = [_rate(point)[0] for point in ordered]
    unit = _rate(ordered[0])[1]
    series = [Series("this recipe", x, [p["psnr"]["value"] for p in ordered], 0, dots=True)]
    for end, text in (("low", "95 % interval, lower"), ("high", "95 % interval, upper")):
        bound = [point["psnr"][end] for point in ordered]
        if all(value is not None for value in bound):
            series.append(Series(text, x, bound, 0, faint=True))
    predicted = sorted(
        (p["linear"]["bits_per_dim"], p["linear"]["psnr"]) for p in points if p["linear"]
    )
    if predicted:
        rates, values = zip(*predicted, strict=True)
        series.append(Series("linear VAE, closed form, same weights", rates, values, 1, dots=True))
    rules = [] if knee is None else [Rule(_rate(points[knee])[0], "knee", vertical=True)]
    return line_chart(
        "Rate and distortion on held-out samples",
        series,
        x_label=unit,
        y_label="PSNR, dB",
        x_ends=(0,),
        rules=rules,
    )


def _rates(key: str, points: Sequence[Mapping[str, Any]], *, log: bool) -> list[Html]:
    if any(point["kl"] is None for point in points):
        return []
    x = [math.log10(point["value"]) if log else point["value"] for point in points]
    series = [Series("this recipe", x, [point["kl"]["value"] for point in points], 0, dots=True)]
    if all(point["linear"] for point in points):
        predicted = [point["linear"]["kl"] for point in points]
        series.append(Series("linear VAE, closed form", x, predicted, 1, dots=True))
    label = f"log₁₀ {key}" if log else key
    return [line_chart("Rate", series, x_label=label, y_label="KL, nats per sample", zero=True)]


def _row(point: Mapping[str, Any], chosen: bool) -> dict[str, Any]:
    rate, unit = _rate(point)
    linear = point["linear"] or {}
    psnr = point["psnr"]
    return {
        "value": f"{point['value']:.3g}",
        "run": point["run"],
        "psnr": f"{psnr['value']:.2f}",
        "spread": interval(psnr["low"], psnr["high"], places=2),
        "rate": number(rate, places=3),
        "unit": unit,
        "kl": "—" if point["kl"] is None else f"{point['kl']['value']:.4g}",
        "active": "—" if point["active_units"] is None else f"{point['active_units']:.0f}",
        "numbers": point["numbers"],
        "linear_psnr": f"{linear['psnr']:.2f}" if linear.get("psnr") is not None else "—",
        "linear_kl": f"{linear['kl']:.4g}" if linear else "—",
        "chosen": chosen,
    }


def _rate(point: Mapping[str, Any]) -> tuple[float, str]:
    if point["bits_per_dim"] is not None:
        return float(point["bits_per_dim"]), "KL, bits per latent dimension"
    return float(point["bits_per_pixel"]["value"]), "bits per pixel"
