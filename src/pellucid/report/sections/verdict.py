"""The verdict: in words, then one sentence of numbers, then one picture of where the run stands."""

from __future__ import annotations

import dataclasses
import html
import re

from pellucid.records import MetricValue
from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.page import Html, Section, fill
from pellucid.report.ruler import Mark, ruler
from pellucid.report.standing import Standing, standings
from pellucid.report.wording import (
    capitalised,
    count,
    duration,
    interval,
    is_number,
    listed,
    number,
    percent,
    places_for,
    title,
)

RULER = "PSNR on the same held-out images; bars are 95 % intervals"


def section(contents: RunContents) -> Section:
    """Say how the run stands against its references."""
    own = measured(contents.evaluated("metrics", "psnr"))
    found = standings(contents)
    body = fill(
        "verdict.html.j2",
        headline=headline(contents, own, found),
        sentence=together(sentence(contents, own, found)),
        facts=facts(contents),
        unfinished=unfinished(contents),
        ruler=ruler(marks(own, found), RULER) if own else "",
        evaluated=contents.evaluation is not None,
        run=contents.path,
    )
    return Section("verdict", "Verdict", body)


def headline(contents: RunContents, own: MetricValue | None, found: list[Standing]) -> str:
    """Return the judgement in words, no numbers."""
    if contents.evaluation is None:
        return "Trained, not evaluated yet."
    if own is None:
        return "Evaluated, but without a PSNR to judge by."
    if not found:
        return "Evaluated, without references to stand against."
    names = {
        relation: [
            _short(standing) for standing in reversed(found) if standing.relation == relation
        ]
        for relation in ("ahead", "level", "behind")
    }
    if "the mean image" in names["behind"] + names["level"]:
        return "No better than answering with the mean image."
    clauses = []
    if names["ahead"]:
        clauses.append(f"better than {listed(names['ahead'])}")
    if names["level"]:
        clauses.append(f"level with {listed(names['level'])}")
    if names["behind"]:
        clauses.append(f"not as good as {listed(names['behind'])}")
    return capitalised("; ".join(clauses)) + "."


def sentence(contents: RunContents, own: MetricValue | None, found: list[Standing]) -> str:
    """Return the numbers behind the headline in one sentence."""
    if own is None:
        return training_sentence(contents)
    split = str(contents.evaluated("split") or "")
    held_out = {"test": "held-out", "validation": "validation", "train": "training"}
    noun = f"{held_out.get(split, split)} images".strip()
    images = contents.evaluated("samples", "psnr")
    many = len(images) if isinstance(images, list) else own.n
    noun = f"{count(many)} {noun}" if many else noun
    if 0 < own.n < many:  # intervals are over groups: crops of one photograph are not independent
        noun += f" from {count(own.n)} groups"
    places = places_for(own.value, own.low, own.high, "dB")
    inside = interval(own.low, own.high, places=places)
    text = f"{number(own.value, places=places)} dB on {noun}" + (f" ({inside})" if inside else "")
    clauses = [standing.in_words() for standing in reversed(found)]
    return f"{text}: {', '.join(clauses)}." if clauses else f"{text}."


def unfinished(contents: RunContents) -> str:
    """Say that training did not run to its end, and why; empty for a finished run."""
    run = mapping(contents.run)
    if not run or run.get("state") == "finished":
        return ""
    step = f" at step {count(run['step'])}" if is_number(run.get("step")) else ""
    reason = f": {run['reason']}" if run.get("reason") else ""
    return (
        f"Training is not finished; it is {run.get('state') or 'in an unknown state'}{step}{reason}"
    )


def facts(contents: RunContents) -> list[str]:
    """Return short facts under the sentence: rate, codes, size, time."""
    found = []
    bits = measured(contents.evaluated("metrics", "bits_per_pixel"))
    if bits:
        found.append(f"{number(bits.value)} bits per pixel")
    levels = contents.evaluated("codes", "levels")
    if isinstance(levels, list) and levels:
        used = [part(level, "usage") for level in levels]
        shares = [float(share) for share in used if is_number(share)]
        if shares:
            many = f" on each of {len(levels)} levels (least)" if len(levels) > 1 else ""
            found.append(f"{percent(min(shares))} of the codes used{many}")
    run = mapping(contents.run)
    parameters = run.get("parameters")
    if is_number(parameters):
        found.append(f"{count(parameters)} parameters")
    if is_number(run.get("seconds")):
        found.append(f"trained in {duration(run['seconds'])}")
    return found


def marks(own: MetricValue, found: list[Standing]) -> list[Mark]:
    """Return the run and its references as rows of one ruler."""
    references = [
        Mark(
            capitalised(standing.label),
            dataclasses.replace(standing.psnr, unit="dB"),
            relation=standing.relation,
            difference=_difference(standing),
        )
        for standing in found
    ]
    return [Mark("This run", dataclasses.replace(own, unit="dB"), own=True), *references]


def together(text: str) -> Html:
    """Escape a sentence and keep each bracketed interval on one line."""
    return Html(
        re.sub(r"\([^()]{1,24}\)", r'<span class="together">\g<0></span>', html.escape(text))
    )


def _difference(standing: Standing) -> str:
    inside = standing.spread()
    text = f"run {number(standing.difference, places=standing.places(), signed=True)} dB"
    return f"{text} ({inside})" if inside else text


def _short(standing: Standing) -> str:
    """Return the reference without its terms: the headline names it, the sentence explains."""
    return standing.label.split(" with ")[0].split(" at ")[0]


def training_sentence(contents: RunContents) -> str:
    """Return what training itself measured; empty where it measured nothing."""
    monitor = part(contents.run, "monitor")
    name, value, step = (part(monitor, key) for key in ("name", "best", "best_step"))
    if not is_number(value):
        return ""
    at = f" at step {count(step)}" if is_number(step) else ""
    return f"While training, {title(str(name))} reached {number(value)}{at}."
