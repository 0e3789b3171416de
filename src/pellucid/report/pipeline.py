"""The page of a pipeline: samples first, then what they rest on: prior, codebooks, budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import RunError
from pellucid.records import MetricValue
from pellucid.report.codebooks import Entry, codebook_sections
from pellucid.report.contents import mapping, measured
from pellucid.report.page import Html, Section, assemble, fill
from pellucid.report.pictures import inline, read_levels
from pellucid.report.ruler import Mark, ruler
from pellucid.report.wording import interval, number, percent, places_for
from pellucid.run_folder import RunFolder

_LONGEST = 1400  # pixels
_WORDS = {
    "frechet": "Fréchet distance to real training images",
    "kernel": "kernel distance (KID) to real training images",
    "samples": "samples",
    "reconstructions": "reconstructions of held-out images",
    "real": "held-out images themselves",
}
_SAID = {
    "precision": "samples on the real manifold (precision)",
    "recall": "real images on the samples' manifold (recall)",
    "conditional_accuracy": "samples of the class asked for",
    "accuracy_reconstructions": "… reconstructions named rightly by the same classifier",
    "accuracy_real": "… held-out real images named rightly by it",
    "nearest_training_distance": "distance of samples to the nearest training image",
    "nearest_training_distance_reconstructions": "… of reconstructions of held-out images",
    "copies": "samples as near to a training image as 1 % of those reconstructions",
}


def render_pipeline(folder: RunFolder, entries: Sequence[Entry], *, prior: Path) -> Path:
    """Write the page from what the stages left, and return its path.

    Args:
        folder: the run.
        entries: its codebooks; empty for a model with codes of its own.
        prior: the prior's record.

    Raises:
        RunError: when a file it shows cannot be read, or the page cannot be written.
    """
    record = folder.read_json(prior)
    judged = folder.generated / "judgement.json"
    judgement = folder.read_json(judged) if judged.is_file() else {}
    samples = folder.read_json(folder.generated / "samples.json")
    sections = [Section("samples", "Samples", _samples(folder, samples, judgement))]
    if judgement:
        sections.append(Section("judgement", "How good they are", _judgement(judgement)))
    sections.append(Section("prior", "The model over codes", _prior(record)))
    if entries:
        sections.append(
            Section("budget", "What codes cost, before and after tuning", _budget(entries))
        )
        sections += codebook_sections(entries)
    page = assemble(folder.path.resolve().name, sections, subtitle="From images to samples")
    write_atomically(folder.pipeline_page, page)
    return folder.pipeline_page


def _samples(folder: RunFolder, index: Mapping[str, Any], judgement: Mapping[str, Any]) -> Html:
    pictures = []
    for label, file in (
        ("drawn from the model over codes", "grid.png"),
        ("samples above, the training image nearest to each below", "neighbours.png"),
    ):
        path = folder.generated / file
        if path.is_file():
            pictures.append((label, inline(read_levels(path), longest=_LONGEST)))
    if not pictures:
        raise RunError("there are no pictures of samples", where=folder.generated)
    drawing = mapping(index.get("drawing"))
    accuracy = measured(mapping(judgement.get("metrics")).get("conditional_accuracy"))
    lead = f"{len(index['samples']):,} samples, decoded by {index['decoded_by']}"
    if accuracy is not None:
        lead += f"; {percent(accuracy.value)} are of the class that was asked for"
    facts = [
        f"{key.replace('_', '-')} {value}" for key, value in drawing.items() if value is not None
    ]
    return fill("generation_samples.html.j2", lead=lead, facts=facts, pictures=pictures)


def _judgement(judgement: Mapping[str, Any]) -> Html:
    metrics = mapping(judgement.get("metrics"))
    rulers = []
    for kind in ("frechet", "kernel"):
        marks = []
        for subject in ("samples", "reconstructions", "real"):
            metric = measured(metrics.get(f"{kind}_{subject}"))
            if metric is not None:
                marks.append(Mark(_WORDS[subject], metric, own=subject == "samples"))
        if marks:
            rulers.append(ruler(marks, f"{_WORDS[kind]}: less is nearer"))
    rows = []
    for key, words in _SAID.items():
        metric = measured(metrics.get(key))
        if metric is not None:
            rows.append((words, *_cell(metric, share=metric.unit == "1"), metric.convention))
    return fill(
        "generation_judgement.html.j2",
        rulers=rulers,
        rows=rows,
        network=judgement.get("network"),
        refused=mapping(judgement.get("refused")),
    )


def _prior(record: Mapping[str, Any]) -> Html:
    held_out = mapping(mapping(record.get("results")).get("held_out"))
    rows = [
        ("told class or prompt", held_out.get("conditional")),
        ("told nothing", held_out.get("unconditional")),
        ("counts of pairs of codes (bigram)", held_out.get("bigram")),
        ("counts of codes (unigram)", held_out.get("unigram")),
        ("all codes alike (log₂K)", held_out.get("uniform")),
    ]
    marks = [
        Mark(words, MetricValue(bits, "bits", None, None, 1, ""), own=words.startswith("told"))
        for words, bits in rows
        if isinstance(bits, float | int)
    ]
    caption = (
        f"bits per code on {held_out.get('codes'):,} held-out codes: fewer are better predicted"
    )
    return ruler(marks, caption)


def _budget(entries: Sequence[Entry]) -> Html:
    rows = []
    for entry in entries:
        cells = []
        for metric, share in (
            (entry.score("psnr_mean"), False),
            (entry.score("psnr"), False),
            (entry.tuned("psnr_after"), False),
            (entry.tuned("closed"), True),
        ):
            cells.append(("—", "") if metric is None else _cell(metric, share=share))
        rows.append((entry.label, cells))
    headings = ("decode(μ)", "decode(q(μ))", "after tuning", "gap closed")
    return fill("codebook_scores.html.j2", headings=headings, rows=rows)


def _cell(metric: MetricValue, *, share: bool) -> tuple[str, str]:
    if share:
        known = metric.low is not None and metric.high is not None
        spread = f"{percent(metric.low)}–{percent(metric.high)}" if known else ""
        return percent(metric.value), spread
    places = places_for(metric.value, metric.low, metric.high, metric.unit)
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    return number(metric.value, places=places) + unit, interval(
        metric.low, metric.high, places=places
    )
