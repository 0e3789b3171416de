"""Landmarks: how well a frozen encoder finds points from few labels, beside other features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.report import pictures
from pellucid.report.charts import Series, line_chart
from pellucid.report.contents import RunContents, mapping, part
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import finite, interval, is_number, number, percent

_TITLES = {
    "run": "this run, frozen",
    "random": "same encoder, untrained",
    "pca": "PCA of patches",
    "dinov2": "DINOv2",
}


def section(contents: RunContents) -> Section:
    """Show errors per number of labels, the cumulative curves, and pictures."""
    node = mapping(contents.landmarks)
    methods = {
        str(name): mapping(by_labels) for name, by_labels in mapping(node.get("methods")).items()
    }
    labels = list(dict.fromkeys(label for by in methods.values() for label in by))
    html = fill(
        "landmarks.html.j2",
        rows=[_row(node, name, by, labels) for name, by in methods.items()],
        labels=labels,
        charts=_charts(node, methods, labels),
        words=_words(node),
        samples=_samples(contents.path / "landmarks", node, methods),
        shown=node.get("shown_labels"),
        colours=mapping(node.get("colours")),
        run=contents.path,
    )
    return Section("landmarks", "Landmarks", html)


def title_of(method: str) -> str:
    """Return what a method is called on the page."""
    return _TITLES.get(method, method)


def _row(
    node: Mapping[str, Any], name: str, by: Mapping[str, Any], labels: list[str]
) -> dict[str, Any]:
    cells = []
    for label in labels:
        nme = mapping(part(by, label, "nme"))
        gap = mapping(part(node, "differences", name, label))
        relation = ""
        if is_number(gap.get("low")) and is_number(gap.get("high")):
            relation = "ahead" if gap["high"] < 0 else "behind" if gap["low"] > 0 else "level"
        cells.append(
            {
                "nme": number(nme.get("value"), places=3),
                "interval": interval(nme.get("low"), nme.get("high"), places=3),
                "pck": percent(part(by, label, "pck_length")),
                "pck_diagonal": percent(part(by, label, "pck_diagonal")),
                "pixels": number(part(by, label, "median_pixels"), places=1),
                "relation": relation,
            }
        )
    return {"title": title_of(name), "own": name == "run", "cells": cells}


def _charts(
    node: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]], labels: list[str]
) -> list[Html]:
    """Draw the error over the number of labels, and the cumulative errors at one of them."""
    charts = []
    counts = [float(label) for label in labels if label.isdigit()]
    if len(counts) > 1:
        series = [
            Series(
                title_of(name),
                counts,
                [part(by, str(int(n)), "nme", "value") for n in counts],
                colour=k,
                dots=True,
            )
            for k, (name, by) in enumerate(methods.items())
        ]
        charts.append(
            line_chart(
                "Error by number of labelled images",
                series,
                x_label="labelled images",
                y_label="NME",
                zero=True,
            )
        )
    thresholds = node.get("thresholds")
    shown = str(node.get("shown_labels"))
    if isinstance(thresholds, list) and len(finite(thresholds)) == len(thresholds):
        curves = [
            (name, k, part(by, shown, "curve")) for k, (name, by) in enumerate(methods.items())
        ]
        charts.append(
            line_chart(
                f"Points found within an error, {shown} labels",
                [
                    Series(title_of(name), thresholds, [100 * value for value in curve], colour=k)
                    for name, k, curve in curves
                    if isinstance(curve, list) and len(finite(curve)) == len(thresholds)
                ],
                x_label="error / length",
                y_label="points, %",
                zero=True,
            )
        )
    return charts


def _words(node: Mapping[str, Any]) -> list[str]:
    points, protocol = mapping(node.get("points")), mapping(node.get("protocol"))
    encoder = mapping(node.get("encoder"))
    layers = encoder.get("layers")
    if not points:
        return []
    names = ", ".join(str(part(layer, "name")) for layer in layers or [])
    return [
        f"A heat-map head (one linear map per cell, soft-argmax) learns from few labelled images "
        f"on frozen features ({names}: {encoder.get('features')} numbers per cell of "
        f"{number(encoder.get('cell_pixels'), places=1)} pixels) and is tested on "
        f"{protocol.get('blocks')} blocks of consecutive images it learned nothing from, "
        f"{protocol.get('margin')} beside them left out. NME: error divided by "
        f"{node.get('normaliser')}; means over {protocol.get('draws')} draws of labelled images.",
        f"{points.get('images')} images, {points.get('missing')} points missing, "
        f"{points.get('outside')} outside their image, {points.get('left_out')} images not found. "
        f"The encoder saw {points.get('seen_unlabelled')} of these images in training, "
        "without labels.",
    ]


def _samples(
    folder: Path, node: Mapping[str, Any], methods: Mapping[str, Any]
) -> list[dict[str, Any]]:
    rows = []
    samples = node.get("samples")
    for sample in samples if isinstance(samples, list) else []:
        cells = []
        for name in methods:
            file = part(sample, "files", name)
            picture = None
            if isinstance(file, str) and "/" not in file and "\\" not in file:
                try:
                    picture = pictures.inline(pictures.read_levels(folder / file), longest=320)
                except RunError:
                    picture = None  # its cell says that the picture is missing
            error = number(part(sample, "pixels", name), places=1)
            cells.append(
                {"heading": title_of(name), "picture": picture, "caption": f"mean error {error} px"}
            )
        rows.append({"name": str(part(sample, "name") or ""), "cells": cells})
    return rows
