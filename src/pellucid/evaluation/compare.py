"""Set evaluations side by side; differences are paired where the samples are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.errors import RunError
from pellucid.functional.bootstrap import paired_difference
from pellucid.records import MetricValue

_STATED = ("split", "weights", "precision")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Hold one run's metric minus the baseline's.

    Args:
        metric: its name.
        run: the run.
        baseline: the first run.
        paired: whether the interval comes from pairs of the same samples.
        value: difference with its interval (none when unpaired), n and convention.
    """

    metric: str
    run: str
    baseline: str
    paired: bool
    value: MetricValue

    def to_json(self) -> dict[str, Any]:
        """Return one flat dictionary."""
        return {
            "metric": self.metric,
            "run": self.run,
            "baseline": self.baseline,
            "paired": self.paired,
            **self.value.to_json(),
        }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Hold evaluations side by side.

    Args:
        runs: names, the first is the baseline.
        metrics: metric → run → its value as JSON, or None where a run has not measured it.
        differences: every other run minus the baseline.
        warnings: why numbers may not be comparable; empty when they are.
    """

    runs: tuple[str, ...]
    metrics: dict[str, dict[str, Any]]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return {
            "runs": list(self.runs),
            "baseline": self.runs[0],
            "metrics": self.metrics,
            "differences": [difference.to_json() for difference in self.differences],
            "warnings": list(self.warnings),
        }


def compare(
    runs: Sequence[tuple[str, Mapping[str, Any]]], *, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare evaluations, each with the first.

    Samples are the same when the 8-bit pixels or 16-bit samples of their targets are, whatever
    their order; then differences of metrics that each sample has are paired, with a bootstrap over
    groups. Otherwise they are plain differences and said to be unpaired.

    Args:
        runs: (name, content of evaluation.json), two or more.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        RunError: for fewer than two runs, equal names, or something else than evaluations.
    """
    names = [name for name, _ in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise RunError("a comparison needs two or more runs of different names", found=names)
    for name, node in runs:
        if not isinstance(node.get("metrics"), Mapping):
            raise RunError("this run was not evaluated", where=name, hint="pellucid evaluate RUN")
    metric_names = list(dict.fromkeys(key for _, node in runs for key in node["metrics"]))
    baseline, reference = runs[0]
    differences, warnings = [], []
    for name, node in runs[1:]:
        pairs = _pair(node.get("samples", {}), reference.get("samples", {}))
        warnings += _warn(name, node, baseline, reference, paired=pairs is not None)
        for metric in metric_names:
            if metric in node["metrics"] and metric in reference["metrics"]:
                found = _difference(metric, node, reference, pairs, resamples, seed)
                differences.append(Difference(metric, name, baseline, found[0], found[1]))
    return Comparison(
        runs=tuple(names),
        metrics={
            metric: {name: node["metrics"].get(metric) for name, node in runs}
            for metric in metric_names
        },
        differences=tuple(d for d in differences if d.value.value == d.value.value),
        warnings=tuple(warnings),
    )


def _pair(
    samples: Mapping[str, list[Any]], reference: Mapping[str, list[Any]]
) -> list[tuple[int, int]] | None:
    """Return rows of the same samples in both, or None when the sets differ.

    The n-th copy of a picture is paired with the n-th copy in the other.
    """
    own, other = _occurrences(samples), _occurrences(reference)
    if not own or own.keys() != other.keys():
        return None
    return [(row, other[key]) for key, row in own.items()]


def _occurrences(samples: Mapping[str, list[Any]]) -> dict[tuple[str, int], int]:
    rows: dict[tuple[str, int], int] = {}
    seen: dict[str, int] = {}
    for row, digest in enumerate(samples.get("digest", [])):
        rows[digest, seen.get(digest, 0)] = row
        seen[digest] = seen.get(digest, 0) + 1
    return rows


def _difference(
    metric: str,
    node: Mapping[str, Any],
    reference: Mapping[str, Any],
    pairs: list[tuple[int, int]] | None,
    resamples: int,
    seed: int,
) -> tuple[bool, MetricValue]:
    own, other = node["metrics"][metric], reference["metrics"][metric]
    known = [] if pairs is None else _known(metric, node, reference, pairs)
    if known:
        mine, theirs = node["samples"], reference["samples"]
        found = paired_difference(
            [mine[metric][row] for row, _ in known],
            [theirs[metric][row] for _, row in known],
            [mine["group"][row] for row, _ in known],
            resamples=resamples,
            seed=seed,
        )
        words = f"paired over {len(known)} {'clips' if _is_audio(node) else 'images'}"
        return True, MetricValue(found.value, own["unit"], found.low, found.high, found.n, words)
    nan = float("nan")
    value = nan if None in (own["value"], other["value"]) else own["value"] - other["value"]
    if pairs is None:
        words = "unpaired: the held-out samples are not the same"
    else:
        words = "difference of whole-set values, no interval"
    return False, MetricValue(value, own["unit"], None, None, own["n"], words)


def _known(
    metric: str,
    node: Mapping[str, Any],
    reference: Mapping[str, Any],
    pairs: list[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Return the pairs of samples on which both runs have the metric."""
    mine, theirs = (n["samples"].get(metric) for n in (node, reference))
    if mine is None or theirs is None:
        return []
    return [(a, b) for a, b in pairs if mine[a] is not None and theirs[b] is not None]


def _is_audio(node: Mapping[str, Any]) -> bool:
    return node.get("kind") == "audio"


def _warn(
    name: str,
    node: Mapping[str, Any],
    baseline: str,
    reference: Mapping[str, Any],
    *,
    paired: bool,
) -> list[str]:
    """Say what makes two evaluations less than comparable."""
    warnings = []
    if not paired:
        warnings.append(f"{name} and {baseline} were not evaluated on the same held-out samples")
    for fact in _STATED:
        if node.get(fact) != reference.get(fact):
            warnings.append(
                f"{fact} differs: {name} {node.get(fact)}, {baseline} {reference.get(fact)}"
            )
    for metric, own in node["metrics"].items():
        other = reference["metrics"].get(metric)
        per_sample = metric in node.get("samples", {})
        if per_sample and other and own["convention"] != other["convention"]:
            warnings.append(
                f"{metric} is measured differently: {name} {own['convention']}; "
                f"{baseline} {other['convention']}"
            )
    rate, unit = ("file_kbps", "kb/s") if _is_audio(node) else ("bits_per_pixel", "per pixel")
    own, other = (n["metrics"].get(rate, {}).get("value") for n in (node, reference))
    if own and other and not 0.95 <= own / other <= 1.05:
        warnings.append(
            f"they spend different bits: {name} {own:.3g}, {baseline} {other:.3g} {unit}"
        )
    return warnings
