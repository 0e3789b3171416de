"""The latent space: lines, walks, neighbours, dead dimensions, samples of a fitted density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.errors import RunError
from pellucid.report import pictures
from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.contents import RunContents, mapping, part
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import count, finite, is_number, number, percent

_WIDEST = 1152


def section(contents: RunContents) -> Section:
    """Show what `latent_space/` holds."""
    node = mapping(contents.latent_space)
    folder = contents.path / "latent_space"

    def strip(file: Any) -> pictures.Picture | None:
        if not isinstance(file, str) or "/" in file or "\\" in file:
            return None
        try:
            return pictures.inline(pictures.read_levels(folder / file), longest=_WIDEST)
        except RunError:
            return None  # a picture that is gone leaves its caption

    html = fill(
        "latent_space.html.j2",
        facts=_facts(node),
        charts=_charts(node),
        groups=_groups(node, strip),
        mixture=_mixture(node),
        drawn=strip(part(node, "mixture", "file")),
        prior=strip(part(node, "mixture", "prior")),
    )
    return Section("latent-space", "Latent space", html)


def _facts(node: Mapping[str, Any]) -> list[tuple[str, str]]:
    dimensions = node.get("dimensions")
    active = node.get("active_by_variance")
    rows = [
        (
            "Dimensions",
            f"{count(dimensions)} ({' × '.join(str(n) for n in node.get('shape') or [])})",
        ),
        (
            "Active",
            f"{count(active)}: variance of the mean above {number(node.get('active_variance'))}",
        ),
    ]
    if is_number(node.get("active_by_rate")):
        nats = number(node.get("active_nats"))
        rows.append(("", f"{count(node['active_by_rate'])}: mean KL above {nats} nats"))
    if is_number(node.get("active_closed_form")):
        rows.append(
            (
                "",
                f"{count(node['active_closed_form'])}: best linear VAE at this weight, closed form",
            )
        )
    if isinstance(dimensions, int) and isinstance(active, int) and dimensions:
        rows.append(("Dead", f"{count(dimensions - active)} ({percent(1 - active / dimensions)})"))
    rows.append(
        (
            "Effective dimensions",
            f"{number(node.get('effective_dimensions'), places=1)}: (Σλ)² / Σλ²",
        )
    )
    rows.append(
        (
            "Discrimination score",
            f"{number(node.get('discrimination'), places=4)}: a reconstruction, encoded again, "
            "lies nearer to its own latent than to another's (½ by chance)",
        )
    )
    rows.append(
        (
            "Retrieval",
            f"{percent(node.get('retrieval'))} nearest to their own "
            f"({percent(node.get('retrieval_chance'))} by chance)",
        )
    )
    labels = mapping(node.get("neighbour_labels"))
    if labels:
        rows.append(
            (
                "Nearest neighbour's label",
                f"the same for {percent(labels.get('latent'))} by latent, "
                f"{percent(labels.get('pixels'))} by pixels; the largest class has "
                f"{percent(labels.get('majority'))}",
            )
        )
    return rows


def _charts(node: Mapping[str, Any]) -> list[Html]:
    charts = []
    variances = finite(node.get("variances") or [])
    if variances:
        charts.append(
            line_chart(
                "Variance of the mean, dimension by dimension",
                [Series("variance", list(range(1, len(variances) + 1)), variances, filled=True)],
                x_label="dimension, most variable first",
                y_label="variance over training samples",
                log=True,
                rules=[Rule(float(node.get("active_variance") or 0.01), "active above")],
            )
        )
    share = finite(node.get("spectrum_share") or [])
    if len(share) > 1:
        charts.append(
            line_chart(
                "Variance along the leading axes",
                [Series("share", list(range(1, len(share) + 1)), [100 * s for s in share])],
                x_label="axes of the aggregate posterior",
                y_label="variance, %",
                zero=True,
            )
        )
    return charts


def _groups(node: Mapping[str, Any], strip: Any) -> list[dict[str, Any]]:
    """Return headed lists of strips."""
    axes, lines, near = (
        [mapping(entry) for entry in node.get(key) or []]
        for key in ("traversals", "interpolations", "neighbours")
    )
    groups = [
        {
            "heading": "Walks along the axes of the aggregate posterior, −3 to +3 deviations",
            "strips": [
                (f"axis {entry.get('axis', 0) + 1}, {percent(entry.get('share'))} of the variance",
                 strip(entry.get("file")))
                for entry in axes
            ],
        },
        {
            "heading": "Lines between held-out samples: through latents, below through pixels",
            "strips": [
                pair
                for entry in lines
                for pair in (
                    (f"{entry.get('from')} → {entry.get('to')}", strip(entry.get("latent"))),
                    ("", strip(entry.get("pixels"))),
                )
            ],
        },
        {
            "heading": "Held-out samples (first) and their nearest training samples",
            "strips": [
                pair
                for entry in near
                for pair in (
                    (f"{entry.get('name')}, by latent", strip(entry.get("latent"))),
                    ("by pixels", strip(entry.get("pixels"))),
                )
            ],
        },
    ]  # fmt: skip
    return [group for group in groups if group["strips"]]


def _mixture(node: Mapping[str, Any]) -> str:
    mixture = mapping(node.get("mixture"))
    if not mixture:
        return ""
    several = "" if mixture.get("components") == 1 else "s"
    return (
        f"Drawn from a Gaussian mixture of {mixture.get('components')} component{several} on "
        f"{mixture.get('axes')} axes ({percent(mixture.get('variance_kept'))} of the variance), "
        "fitted to the training latents; the held-out likelihood chose the number."
    )
