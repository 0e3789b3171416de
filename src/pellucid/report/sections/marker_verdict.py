"""The verdict on a run of stacks: its median R² over live markers against linear references."""

from __future__ import annotations

import dataclasses

from pellucid.records import MetricValue
from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.page import Section, fill
from pellucid.report.ruler import Mark, ruler
from pellucid.report.sections.verdict import facts, together, training_sentence, unfinished
from pellucid.report.wording import capitalised, count, interval, listed, number

RULER = "Median R² over live markers on the same held-out {}; bars are 95 % intervals"


_NAMED = {"mean": "the training mean", "window-mean": "the mean of each window"}


@dataclasses.dataclass(frozen=True)
class Standing:
    """The run against one reference: its R², the difference, and what that means."""

    label: str
    metric: MetricValue
    gap: MetricValue
    relation: str


def section(contents: RunContents) -> Section:
    """Say how the run stands against the mean and PCA."""
    own = measured(contents.evaluated("metrics", "r2"))
    found = standings(contents)
    body = fill(
        "verdict.html.j2",
        headline=headline(contents, own, found),
        sentence=together(_sentence(contents, own, found)),
        facts=[*_latent(contents), *facts(contents)],
        unfinished=unfinished(contents),
        ruler=ruler(_marks(own, found), RULER.format(judged_on(contents))) if own else "",
        evaluated=contents.evaluation is not None,
        run=contents.path,
    )
    return Section("verdict", "Verdict", body)


def standings(contents: RunContents) -> list[Standing]:
    """Compare the run with every reference, the weakest first."""
    found = []
    for name, node in mapping(contents.evaluated("references")).items():
        metric = measured(part(node, "r2"))
        gap = measured(contents.evaluated("differences", str(name), "r2"))
        if metric is None or gap is None:
            continue
        relation = "level"
        if gap.low is not None and gap.high is not None:
            relation = "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"
        found.append(Standing(label(str(name)), metric, gap, relation))
    return sorted(found, key=lambda standing: standing.metric.value)


def label(name: str) -> str:
    """Return a reference in words: `patch-pca-256` → PCA of patches, 256 numbers per tile."""
    if name in _NAMED:
        return _NAMED[name]
    kind, _, numbers = name.rpartition("-")
    if kind.startswith("cell"):
        return f"PCA of cells, {numbers} {'number' if numbers == '1' else 'numbers'} per cell"
    return f"{'PCA of patches' if kind.startswith('patch') else 'PCA of tiles'}, {numbers} numbers"


def judged_on(contents: RunContents) -> str:
    """Return what fidelity is measured on: "tiles", or "cells"."""
    return "cells" if contents.is_cells else "tiles"


def headline(contents: RunContents, own: MetricValue | None, found: list[Standing]) -> str:
    """Return the judgement in words."""
    if contents.evaluation is None:
        return "Trained, not evaluated yet."
    if own is None or not found:
        return "Evaluated, without references to stand against."
    by = {r: [s.label for s in reversed(found) if s.relation == r]
          for r in ("ahead", "level", "behind")}  # fmt: skip
    if "the training mean" in by["behind"] + by["level"]:
        return "No better than answering with the mean of every marker."
    words = (("ahead", "better than"), ("level", "level with"), ("behind", "not as good as"))
    clauses = [f"{word} {listed(by[relation])}" for relation, word in words if by[relation]]
    return capitalised("; ".join(clauses)) + "."


def _sentence(contents: RunContents, own: MetricValue | None, found: list[Standing]) -> str:
    if own is None:
        return training_sentence(contents)
    markers = contents.evaluated("markers")
    live = sum(bool(part(m, "live")) for m in markers) if isinstance(markers, list) else 0
    samples = contents.evaluated("samples", "cells" if contents.is_cells else "index")
    many = "the"
    if isinstance(samples, list):
        many = count(sum(samples) if contents.is_cells else len(samples))
    judged = contents.evaluated("judged") or "values"
    text = (
        f"Median R² {number(own.value, places=3)} ({interval(own.low, own.high, places=3)}) over "
        f"{live} live markers on {many} held-out {judged_on(contents)}, judged on {judged}"
    )
    clauses = [
        f"{number(s.gap.value, places=3, signed=True)} "
        f"({interval(s.gap.low, s.gap.high, places=3)}) against {s.label}"
        for s in reversed(found)
    ]
    return f"{text}: {', '.join(clauses)}." if clauses else f"{text}."


def _latent(contents: RunContents) -> list[str]:
    numbers = contents.evaluated("latent", "numbers")
    sample = "window" if contents.is_cells else "tile"
    return [f"{count(numbers)} numbers per {sample}"] if isinstance(numbers, int) else []


def _marks(own: MetricValue | None, found: list[Standing]) -> list[Mark]:
    if own is None:
        return []
    references = [
        Mark(
            capitalised(s.label),
            dataclasses.replace(s.metric, unit=""),
            relation=s.relation,
            difference=f"run {number(s.gap.value, places=3, signed=True)} "
            f"({interval(s.gap.low, s.gap.high, places=3)})",
        )
        for s in found
    ]
    return [Mark("This run", dataclasses.replace(own, unit=""), own=True), *references]
