"""Everything a page needs from a run folder, read once; what is missing stays None."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.records import MetricValue
from pellucid.report.wording import is_number
from pellucid.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class RunContents:
    """The files of one run.

    Args:
        name: the folder's name, the run's name on the page.
        path: the folder.
        recipe: text of recipe.yaml.
        run: run.json, or None where the file is missing or cannot be read; likewise the others.
        lines: the lines of metrics.jsonl.
        reconstructions: reconstructions/index.json.
        problems: one sentence per file that is there but cannot be read.
        landmarks: landmarks/index.json.
        latent_space: latent_space/index.json.
        postfilter: postfilter.json.
    """

    name: str
    path: Path
    recipe: str | None
    run: dict[str, Any] | None
    data: dict[str, Any] | None
    splits: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    diagnosis: dict[str, Any] | None
    lines: tuple[dict[str, Any], ...]
    reconstructions: dict[str, Any] | None
    problems: tuple[str, ...]
    landmarks: dict[str, Any] | None = None
    latent_space: dict[str, Any] | None = None
    postfilter: dict[str, Any] | None = None

    @property
    def is_audio(self) -> bool:
        """Whether the run is of waveforms."""
        return "audio" in (part(self.data, "kind"), part(self.evaluation, "kind"))

    @property
    def is_stacks(self) -> bool:
        """Whether the run is of multiplexed stacks."""
        kinds = (part(self.data, "kind"), part(self.evaluation, "kind"))
        return "stacks" in kinds or self.is_cells

    @property
    def is_cells(self) -> bool:
        """Whether the samples of a run of stacks are windows of cells."""
        return bool(part(self.data, "cells")) or part(self.evaluation, "kind") == "cells"

    @property
    def kept_step(self) -> float | None:
        """The step whose weights were kept, or None while that is open."""
        step = part(self.run, "selected_step")
        return float(step) if is_number(step) and step is not None else None

    def evaluated(self, *keys: str) -> Any:
        """Return a part of evaluation.json, or None where any step on the way is missing."""
        return part(self.evaluation, *keys)


def read(folder: RunFolder) -> RunContents:
    """Read a run folder; a missing file is None, an unreadable one is also named in `problems`."""
    problems: list[str] = []

    def json_file(path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            node = folder.read_json(path)
        except RunError as error:
            problems.append(str(error))
            return None
        node.pop("version")
        return node

    return RunContents(
        name=folder.path.resolve().name,
        path=folder.path,
        recipe=_text(folder.recipe, problems),
        run=json_file(folder.run),
        data=json_file(folder.data),
        splits=json_file(folder.splits),
        evaluation=json_file(folder.evaluation),
        diagnosis=json_file(folder.diagnosis),
        lines=_metrics(folder, problems),
        reconstructions=json_file(folder.reconstructions / "index.json"),
        landmarks=json_file(folder.landmarks / "index.json"),
        latent_space=json_file(folder.latent_space / "index.json"),
        postfilter=json_file(folder.postfilter),
        problems=tuple(problems),
    )


def part(node: Any, *keys: str) -> Any:
    """Follow keys into nested mappings; None where one is missing."""
    for key in keys:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def mapping(node: Any) -> Mapping[str, Any]:
    """Return `node` when it is a mapping, else an empty one."""
    return node if isinstance(node, Mapping) else {}


def measured(node: Any) -> MetricValue | None:
    """Read a metric (or a bare number); None when there is no finite value to show."""
    if is_number(node):
        node = {"value": node}
    if not isinstance(node, Mapping) or not is_number(node.get("value")):
        return None
    low, high, n = node.get("low"), node.get("high"), node.get("n")
    has_interval = is_number(low) and is_number(high)
    return MetricValue(
        value=float(node["value"]),
        unit=str(node.get("unit") or ""),
        low=low if has_interval else None,
        high=high if has_interval else None,
        n=int(n) if isinstance(n, int | float) and is_number(n) else 0,
        convention=str(node.get("convention") or ""),
    )


def _text(path: Path, problems: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"cannot read {path.name}: {error}")
        return None


def _metrics(folder: RunFolder, problems: list[str]) -> tuple[dict[str, Any], ...]:
    lines: list[dict[str, Any]] = []
    try:
        for line in folder.read_metrics():
            if is_number(part(line, "step")) and isinstance(part(line, "values"), Mapping):
                lines.append(line)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problems.append(f"metrics.jsonl is damaged after line {len(lines)}: {error}")
    return tuple(lines)
