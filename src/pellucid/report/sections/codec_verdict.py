"""The verdict on a waveform run: in words, one sentence of numbers, one picture."""

from __future__ import annotations

from pellucid.records import MetricValue
from pellucid.report.codec_standing import CodecStanding, codec_standings, headline_metric
from pellucid.report.contents import RunContents, mapping, measured
from pellucid.report.page import Section, fill
from pellucid.report.ruler import Mark, ruler
from pellucid.report.sections.verdict import facts as general_facts
from pellucid.report.sections.verdict import together, training_sentence, unfinished
from pellucid.report.wording import (
    capitalised,
    count,
    interval,
    listed,
    number,
    places_for,
    short_unit,
    title,
)


def section(contents: RunContents) -> Section:
    """Say how the run stands against the codecs."""
    metric = headline_metric(contents)
    own = measured(contents.evaluated("metrics", metric)) if metric else None
    found = codec_standings(contents, metric) if metric else []
    caption = f"{title(metric or '')} of the same held-out clips; bars are 95 % intervals"
    body = fill(
        "verdict.html.j2",
        headline=headline(contents, found),
        sentence=together(sentence(contents, metric, own, found)),
        facts=facts(contents),
        unfinished=unfinished(contents),
        ruler=ruler(_marks(contents, own, found), caption) if own else "",
        evaluated=contents.evaluation is not None,
        run=contents.path,
    )
    return Section("verdict", "Verdict", body)


def headline(contents: RunContents, found: list[CodecStanding]) -> str:
    """Return the judgement in words: the best that the run beats, the least that beats it."""
    if contents.evaluation is None:
        return "Trained, not evaluated yet."
    judged = telling(found)
    if not judged:
        return "Evaluated, without codecs to stand against."
    clauses = []
    for relation, words in (
        ("ahead", "better than"),
        ("level", "level with"),
        ("behind", "not as good as"),
    ):
        labels = [one.label for one in reversed(judged) if one.relation == relation]
        if labels:
            clauses.append(f"{words} {listed(labels)}")
    return capitalised("; ".join(clauses)) + "."


def telling(found: list[CodecStanding]) -> list[CodecStanding]:
    """Return of each codec the best rate that the run beats, all level ones, the least ahead."""
    kept: dict[tuple[str, str], CodecStanding] = {}
    for one in found:  # worst first
        if one.relation == "ahead":
            kept[one.codec, "ahead"] = one
        elif one.relation == "behind":
            kept.setdefault((one.codec, "behind"), one)
        elif one.relation == "level":
            kept[one.codec, one.name] = one
    return [one for one in found if one in kept.values()]


def sentence(
    contents: RunContents,
    metric: str | None,
    own: MetricValue | None,
    found: list[CodecStanding],
) -> str:
    """Return the numbers behind the headline in one sentence."""
    if own is None or metric is None:
        return training_sentence(contents)
    names = contents.evaluated("samples", "name")
    clips = f"{count(len(names))} clips" if isinstance(names, list) else "held-out clips"
    if 0 < own.n < (len(names) if isinstance(names, list) else 0):
        clips += f" of {count(own.n)} groups"
    places = places_for(own.value, own.low, own.high, own.unit)
    inside = interval(own.low, own.high, places=places)
    text = f"{title(metric)} {number(own.value, places=places)}" + (
        f" ({inside})" if inside else ""
    )
    kbps = measured(contents.evaluated("metrics", "file_kbps"))
    text += f" at {kbps.value:.2f} kb/s of files" if kbps else ""
    unit = " dB" if own.unit == "dB" else ""
    clauses = [one.in_words(unit) for one in reversed(telling(found))]
    return f"{text} on {clips}" + (f": {', '.join(clauses)}." if clauses else ".")


def facts(contents: RunContents) -> list[str]:
    """Return short facts: rate, other qualities, latency, speed, codes, size, time."""
    found = []
    for name, words in (
        ("file_kbps", "{} kb/s of files"),
        ("payload_kbps", "{} kb/s of payload"),
        ("stoi", "STOI {}"),
        ("latency", "{} ms latency"),
        ("speed", "{} times real time on one thread"),
    ):
        value = measured(contents.evaluated("metrics", name))
        if value:
            found.append(words.format(number(value.value)))
    left_out = mapping(contents.evaluated("left_out"))
    found += general_facts(contents)
    found += [f"not compared with {title(str(codec))}: {why}" for codec, why in left_out.items()]
    return found


def _marks(
    contents: RunContents, own: MetricValue | None, found: list[CodecStanding]
) -> list[Mark]:
    if own is None:
        return []
    kbps = measured(contents.evaluated("metrics", "file_kbps"))
    label = f"This run at {kbps.value:.1f} kb/s" if kbps else "This run"
    codecs = [
        Mark(
            one.label,
            _plain(one.value),
            relation=one.relation,
            difference=f"run {one.gap()}" if one.difference else "",
        )
        for one in found
    ]
    return [Mark(label, _plain(own), own=True), *codecs]


def _plain(metric: MetricValue) -> MetricValue:
    """Return the metric with the unit that is printed after a number; an opinion needs none."""
    unit = "" if metric.unit.startswith("MOS") else short_unit(metric.unit)
    return MetricValue(metric.value, unit, metric.low, metric.high, metric.n, metric.convention)
