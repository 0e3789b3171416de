"""One page for the codebooks that were fitted on a model: decoded error, geometry, pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.codebooks.files import CodebookFiles, mean_picture, original_picture
from pellucid.records import MetricValue
from pellucid.report.contents import mapping, measured
from pellucid.report.page import Html, Section, assemble, fill
from pellucid.report.pictures import Picture, inline, read_levels
from pellucid.report.ruler import Mark, ruler
from pellucid.report.wording import duration, interval, number, percent, places_for
from pellucid.run_folder import RunFolder

_STRIP = 1200  # pixels; a strip of small images is shown as it is


@dataclasses.dataclass(frozen=True)
class Entry:
    """One codebook on the page.

    Args:
        label: how the page names it.
        folder: its run.
        name: its own name.
        record: its codebook.json.
        tuning: its tuning.json, or None.
    """

    label: str
    folder: RunFolder
    name: str
    record: Mapping[str, Any]
    tuning: Mapping[str, Any] | None

    def score(self, key: str) -> MetricValue | None:
        """Return a held-out score."""
        return measured(mapping(self.record.get("scores")).get(key))

    def tuned(self, key: str) -> MetricValue | None:
        """Return a number of the tuning."""
        return measured(mapping(mapping(self.tuning).get("scores")).get(key))


@dataclasses.dataclass(frozen=True)
class _Strip:
    label: str
    picture: Picture


# heading, score, whether it is a share
_COLUMNS = (
    ("‖μ − q‖", "latent_distance", False),
    ("path", "path_length", False),
    ("‖J(q − μ)‖", "pulled_back_length", False),
    ("codes used", "code_usage", True),
    ("perplexity", "code_perplexity", False),
    ("NMI", "nmi", False),
    ("purity", "purity", True),
)


def render_codebooks(
    entries: Sequence[Entry], differences: Sequence[Mapping[str, Any]], path: Path
) -> Path:
    """Write the page that sets codebooks side by side, and return its path.

    Args:
        entries: the codebooks, in the order of the page.
        differences: paired PSNR differences: codebook, baseline, value, low, high.
        path: where the page goes.

    Raises:
        RunError: when a picture cannot be read or the page cannot be written.
    """
    page = assemble(
        "Codebooks", codebook_sections(entries, differences), subtitle="Comparison of codebooks"
    )
    write_atomically(path, page)
    return path


def codebook_sections(
    entries: Sequence[Entry], differences: Sequence[Mapping[str, Any]] = ()
) -> list[Section]:
    """Return the parts of a page that set codebooks side by side, the verdict first.

    Args:
        entries: the codebooks, in the order of the page.
        differences: paired PSNR differences, as `render_codebooks` takes them.

    Raises:
        RunError: when a picture cannot be read.
    """
    return [
        Section("codebooks", "Codebooks", _verdict(entries, differences)),
        Section("scores", "Scores on held-out samples", _scores(entries)),
        Section("pictures", "The same samples", _pictures(entries)),
        Section("fits", "How they were fitted", _fits(entries)),
    ]


def _verdict(entries: Sequence[Entry], differences: Sequence[Mapping[str, Any]]) -> Html:
    marks, best = [], max(entries, key=_reached)
    means: dict[str, MetricValue] = {}
    for entry in entries:
        plain, tuned = entry.score("psnr"), entry.tuned("psnr_after")
        if plain is not None:
            marks.append(Mark(entry.label, plain, own=entry is best and tuned is None))
        if tuned is not None:
            marks.append(Mark(f"{entry.label}, decoder tuned", tuned, own=entry is best))
        mean = entry.score("psnr_mean")
        if mean is not None:
            means.setdefault(str(entry.folder.path), mean)
    for run, mean in means.items():
        label = "decode(mean), no codes" if len(means) == 1 else f"{Path(run).name}: decode(mean)"
        marks.append(Mark(label, mean))
    return fill(
        "comparison_verdict.html.j2",
        headline=f"{best.label}{_how(best)} reconstructs best from codes.",
        sentence=" ".join([_preflight(best), *(_pair(pair) for pair in differences)]),
        warnings=[],
        ruler=ruler(marks, "PSNR of decoded held-out samples; bars are 95 % intervals"),
    )


def _reached(entry: Entry) -> float:
    known = [metric for metric in (entry.score("psnr"), entry.tuned("psnr_after")) if metric]
    return max((metric.value for metric in known), default=float("-inf"))


def _how(entry: Entry) -> str:
    plain, tuned = entry.score("psnr"), entry.tuned("psnr_after")
    is_tuned = tuned is not None and (plain is None or tuned.value > plain.value)
    return ", its decoder tuned," if is_tuned else ""


def _pair(node: Mapping[str, Any]) -> str:
    """Say one paired difference of the untuned decoder in words."""
    value, spread = number(node["value"], places=2, signed=True), ""
    if node.get("low") is not None:
        spread = f" ({interval(node['low'], node['high'], places=2)})"
    return f"{node['codebook']} − {node['baseline']}, before tuning: {value} dB{spread}."


def _preflight(entry: Entry) -> str:
    known = mapping(entry.record.get("preflight"))
    bits, log2_size = known.get("kl_bits_per_token"), known.get("log2_size")
    if bits is None or log2_size is None:
        return ""
    said = f"A token carries {bits:.1f} bits of KL; a codebook of {entry.record['size']} says "
    return f"{said}{log2_size:.1f}."


def _scores(entries: Sequence[Entry]) -> Html:
    rows = []
    for entry in entries:
        cells = [_cell(entry.score("psnr")), _cell(entry.score("psnr_gap"))]
        cells += [_cell(entry.tuned("psnr_after")), _cell(entry.tuned("closed"), share=True)]
        cells += [_cell(entry.score(key), share=share) for _, key, share in _COLUMNS]
        rows.append((entry.label, cells))
    decoded = ["PSNR", "lost to codes", "PSNR, tuned", "gap closed"]
    headings = [*decoded, *(heading for heading, *_ in _COLUMNS)]
    return fill("codebook_scores.html.j2", headings=headings, rows=rows)


def _cell(metric: MetricValue | None, *, share: bool = False) -> tuple[str, str]:
    if metric is None:
        return "—", ""
    if share:
        ends = (metric.low, metric.high)
        spread = "" if None in ends else f"{percent(metric.low)}–{percent(metric.high)}"
        return percent(metric.value), spread
    places = places_for(metric.value, metric.low, metric.high, metric.unit)
    text = number(metric.value, places=places)
    unit = " dB" if metric.unit == "dB" else ""
    return text + unit, interval(metric.low, metric.high, places=places)


def _pictures(entries: Sequence[Entry]) -> Html:
    strips = []
    for folder in dict.fromkeys(entry.folder.path for entry in entries):
        strips += _strip("original", original_picture(RunFolder(folder)))
        strips += _strip("decode(mean)", mean_picture(RunFolder(folder)))
        for entry in entries:
            if entry.folder.path == folder:
                files = CodebookFiles(entry.folder, entry.name)
                strips += _strip(entry.label, files.picture)
                strips += _strip(f"{entry.label}, tuned", files.tuned_picture)
    return fill("codebook_pictures.html.j2", strips=strips)


def _strip(label: str, path: Path) -> list[_Strip]:
    return [_Strip(label, inline(read_levels(path), longest=_STRIP))] if path.is_file() else []


def _fits(entries: Sequence[Entry]) -> Html:
    rows = []
    for entry in entries:
        settings = mapping(entry.record.get("settings"))
        graph = mapping(settings.get("connectivity"))
        facts = [
            f"{entry.record.get('method')} on {entry.record.get('source')}s",
            f"{settings.get('points', '?')} latents",
            f"seed {settings.get('seed')}",
        ]
        if settings.get("rounds") is not None:
            how = "converged" if settings.get("converged") else "not converged"
            facts.append(f"{how} after {settings['rounds']} rounds")
        if graph:
            facts.append(
                f"{settings.get('neighbours')} neighbours ({settings.get('join')}), "
                f"{graph.get('components')} components, {percent(graph.get('outside'))} outside "
                f"the largest, {percent(settings.get('unreachable'))} reach no medoid"
            )
        seconds = entry.record.get("seconds")
        rows.append((entry.label, duration(seconds), "; ".join(facts)))
    return fill("codebook_fits.html.j2", rows=rows)
