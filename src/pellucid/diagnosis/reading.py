"""Read a diagnosis back from its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.diagnosis.evidence import (
    SCHEMA,
    Bar,
    Confirmation,
    Diagnosis,
    Evidence,
    Exhibit,
    Finding,
    NotTested,
    RuledOut,
    Rung,
)
from pellucid.diagnosis.plot import Plot, Series
from pellucid.errors import RunError


def read_diagnosis(node: Mapping[str, Any], *, where: object = None) -> Diagnosis:
    """Build the Diagnosis whose `to_dict` wrote `node`.

    Raises:
        RunError: when it is of another schema or incomplete.
    """
    if node.get("schema") != SCHEMA:
        raise RunError(
            "this diagnosis has another format",
            where=where,
            expected=SCHEMA,
            found=node.get("schema"),
            hint="diagnose again",
        )
    try:
        return Diagnosis(
            findings=tuple(_finding(item) for item in node["findings"]),
            not_tested=tuple(NotTested(**item) for item in node["not_tested"]),
            tested=tuple(node["tested"]),
            ladder=tuple(Rung(**_numbers(item, "mse", "db")) for item in node["ladder"]),
            budget=tuple(Bar(**_numbers(item, "value")) for item in node["budget"]),
            notes=tuple(node["notes"]),
            decibel=node["decibel"],
            samples=node["samples"],
            seconds=node["seconds"],
            exhibits=tuple(_exhibit(item) for item in node.get("exhibits", ())),
        )
    except (KeyError, TypeError) as error:
        raise RunError("this diagnosis is incomplete", where=where, found=error) from error


def _finding(node: Mapping[str, Any]) -> Finding:
    proof = node["confirmation"]
    if proof is not None:
        proof = Confirmation(**{**proof, "effect": _evidence(proof["effect"])})
    return Finding(
        **{
            **_numbers(node, "severity"),
            "evidence": tuple(_evidence(item) for item in node["evidence"]),
            "ruled_out": tuple(RuledOut(**item) for item in node["ruled_out"]),
            "expects": tuple(node["expects"]),
            "consequences": tuple(node["consequences"]),
            "confirmation": proof,
            "plots": tuple(_plot(item) for item in node["plots"]),
        }
    )


def _exhibit(node: Mapping[str, Any]) -> Exhibit:
    return Exhibit(**{**node, "plots": tuple(_plot(item) for item in node["plots"])})


def _plot(node: Mapping[str, Any]) -> Plot:
    series = (
        Series(**{**item, "x": _finite(item["x"]), "y": _finite(item["y"])})
        for item in node["series"]
    )
    return Plot(**{**node, "series": tuple(series), "ticks": tuple(node.get("ticks", ()))})


def _finite(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _evidence(node: Mapping[str, Any]) -> Evidence:
    return Evidence(**_numbers(node, "value"))


def _numbers(node: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """JSON has no NaN: numbers that were not finite come back as NaN."""
    absent = {name: math.nan for name in names if node.get(name) is None}
    return {**node, **absent}
