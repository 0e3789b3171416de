"""Train one recipe at several values of one key, and draw the rate–distortion curve.

Every point is an ordinary run folder. What is done is remembered by optuna's journal in the sweep's
folder, so a sweep that was stopped goes on where it stood, inside a half-trained point too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import PellucidError, RunError, require
from pellucid.functional.knee import knee
from pellucid.recipe import Recipe, apply_overrides, load_recipe
from pellucid.recipe.span import Span, parse_span
from pellucid.workflows.run import Run

_JOURNAL, _RESULT, _PAGE, _POINTS = "study.log", "sweep.json", "sweep.html", "points"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Swept:
    """What a sweep found.

    Args:
        path: its folder.
        points: one mapping per value, in rising order of the value; see `point_of`.
        knee: index of the point where more rate stops paying, or None.
        warnings: what a reader must know, e.g. a rate that did not fall.
        page: the drawn curve.
    """

    path: Path
    points: list[dict[str, Any]]
    knee: int | None
    warnings: list[str]
    page: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers."""
        return {
            "version": VERSION,
            "points": self.points,
            "knee": self.knee,
            "warnings": self.warnings,
            "page": str(self.page),
        }


def sweep(
    recipe: str | Path | Recipe,
    span: str | Span,
    *,
    overrides: Iterable[str] = (),
    points: int = 6,
    out: str | Path | None = None,
    diagnose_ends: bool = True,
    progress: bool = True,
    say: Callable[[str], object] = lambda line: None,
) -> Swept:
    """Train, evaluate and compare a recipe at several values of one key.

    Calling it again with the same folder trains only what is missing.

    Args:
        recipe: name, path or recipe.
        span: "bottleneck.weight=1e-6..1e-2".
        overrides: further texts like "training.steps=500", the same for every point.
        points: how many values, evenly spaced; in the logarithm where they span a decade.
        out: the sweep's folder; by default the next free `runs/NAME-sweep-N`.
        diagnose_ends: diagnose the runs of the smallest and the largest value.
        progress: draw progress bars.
        say: called with one line per finished point.

    Raises:
        RecipeError: for a span or an override without a meaning.
        RunError: when the folder holds another sweep.
        MissingExtraError: without optuna.
    """
    from pellucid.workflows.fit_into import choose_folder

    span = parse_span(span) if isinstance(span, str) else span
    start = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    base = apply_overrides(start, overrides)
    values = span.values(points)
    recipes = [at_value(base, span, value) for value in values]  # a wrong key fails here
    resumed = out is not None and (Path(out) / _JOURNAL).exists()
    path = Path(out) if resumed and out is not None else choose_folder(f"{base.name}-sweep", out)
    path.mkdir(parents=True, exist_ok=True)
    _same_sweep(path, span, values, base)
    done: dict[float, dict[str, Any]] = {}

    study = _study(path)
    for number, value in enumerate(values):
        if value in _done(study, span.key):
            continue
        # asked for one by one: a trial that was stopped half-way is simply asked for again
        study.enqueue_trial({span.key: value})
        trial = study.ask()
        trial.suggest_categorical(span.key, values)
        run = _trained(recipes[number], path / _POINTS / f"{number:02d}", progress=progress)
        point = point_of(run, value)
        say(_line(span.key, point))
        study.tell(trial, float(point["psnr"]["value"]))
    for place in sorted((path / _POINTS).iterdir()):
        value = values[int(place.name)]
        done[value] = point_of(Run.open(place), value)
    found = [done[value] for value in values if value in done]
    if diagnose_ends:
        for point in (found[0], found[-1]):
            point["diagnosis"] = _diagnosis(path, point, values)
    return _finished(path, span, base, found)


def at_value(recipe: Recipe, span: Span, value: float) -> Recipe:
    """Return the recipe with the key at a value; it is built once, so a wrong key fails now.

    Raises:
        RecipeError: when the recipe has no such key, or not that value.
    """
    from pellucid.build.assemble import build_autoencoder, build_objective

    text = f"{int(value)}" if span.whole else repr(value)
    changed = apply_overrides(recipe, [f"{span.key}={text}"])
    build_autoencoder(changed, pretrained=False)
    build_objective(changed)
    return changed


def point_of(run: Run, value: float) -> dict[str, Any]:
    """Return what one run came to: its value, PSNR, rate, and the linear prediction beside it.

    Returns:
        value; run; psnr, ssim (and perceptual) as metrics with intervals; kl and bits_per_dim
        where the latent has a rate, else bits_per_pixel alone; linear: kl, bits_per_dim, psnr and
        active of the linear VAE at the same weight (R3), or None.
    """
    evaluation = run.evaluation()
    if evaluation is None:
        raise RunError("this point was not evaluated", where=run.path)
    metrics, latent = evaluation["metrics"], evaluation["latent"]
    numbers = latent["numbers"]
    rate = latent.get("kl")
    rung = evaluation["ladder"].get("R3")
    linear = None
    if rung is not None and rung.get("kl") is not None:
        linear = {
            "kl": rung["kl"],
            "bits_per_dim": rung["kl"] / numbers / math.log(2),
            "psnr": rung["psnr"],
            "active": rung.get("active"),
        }
    kept = ("psnr", "ssim", "perceptual", "bits_per_pixel")
    return {
        "value": value,
        "run": run.path.name,
        **{name: metrics[name] for name in kept if name in metrics},
        "kl": rate,
        "bits_per_dim": None if rate is None else rate["value"] / numbers / math.log(2),
        "active_units": (latent.get("active_units_by_rate") or {}).get("value"),
        "numbers": numbers,
        "linear": linear,
    }


def rate_of(point: dict[str, Any]) -> float:
    """Return bits per latent dimension, or per pixel where the latent has codes."""
    if point["bits_per_dim"] is not None:
        return float(point["bits_per_dim"])
    return float(point["bits_per_pixel"]["value"])


def warnings_of(span: Span, points: Sequence[dict[str, Any]]) -> list[str]:
    """Say where the rate does not fall as a KL weight rises: training was too short there."""
    if span.key != "bottleneck.weight" or any(point["kl"] is None for point in points):
        return []
    rates = [point["kl"]["value"] for point in points]
    return [
        f"KL rose from {before:.4g} to {after:.4g} nats as {span.key} rose from "
        f"{points[k]['value']:.3g} to {points[k + 1]['value']:.3g}: it should fall, so train longer"
        for k, (before, after) in enumerate(itertools.pairwise(rates))
        if after > before * 1.001
    ]


def _finished(path: Path, span: Span, base: Recipe, points: list[dict[str, Any]]) -> Swept:
    from pellucid.report.sweep_page import render_sweep

    rates, quality = [rate_of(p) for p in points], [p["psnr"]["value"] for p in points]
    at = knee(rates, quality)
    warnings = warnings_of(span, points)
    page = render_sweep(path / _PAGE, base.name, span.key, points, at, warnings, log=span.log)
    result = Swept(path, points, at, warnings, page)
    node = {"key": span.key, "recipe": base.to_node(), **result.to_json()}
    write_atomically(path / _RESULT, json.dumps(node, indent=2, ensure_ascii=False).encode())
    return result


def _trained(recipe: Recipe, place: Path, *, progress: bool) -> Run:
    """Train a point, or go on with it, or take it as it is."""
    from pellucid.run_folder import RunFolder
    from pellucid.workflows.fit_into import fit_into
    from pellucid.workflows.train import resume

    if place.exists() and not (place / "checkpoints" / "last").exists():
        shutil.rmtree(place)  # it ended before anything was worth keeping
    if place.exists():
        run = Run.open(place)
        if run.status().get("state") == "finished" and run.evaluation() is not None:
            return run
        return resume(run, progress=progress)
    return fit_into(recipe, RunFolder(place), progress=progress)


def _study(path: Path) -> Any:
    optuna = require("optuna", extra="sweep", purpose="a sweep")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = optuna.storages.journal.JournalFileBackend(str(path / _JOURNAL))
    return optuna.create_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
        load_if_exists=True,
    )


def _done(study: Any, key: str) -> set[float]:
    return {t.params[key] for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"}


def _same_sweep(path: Path, span: Span, values: Sequence[float], base: Recipe) -> None:
    """Write what is swept, or refuse a folder that sweeps something else."""
    file = path / "asked.json"
    asked = {"key": span.key, "values": list(values), "recipe": base.to_node()}
    if not file.exists():
        write_atomically(file, json.dumps(asked, indent=2, ensure_ascii=False).encode())
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    if found != json.loads(json.dumps(asked)):
        changed = [name for name in asked if found.get(name) != json.loads(json.dumps(asked[name]))]
        raise RunError(
            "this folder holds another sweep",
            where=path,
            expected="the same recipe, overrides, key and values",
            found=f"another {', '.join(changed)}",
            hint="choose another folder with -o",
        )


def _diagnosis(path: Path, point: dict[str, Any], values: Sequence[float]) -> dict[str, Any] | None:
    """Diagnose a point once; an end that cannot be diagnosed leaves the curve standing."""
    from pellucid.workflows.diagnose import diagnose

    run = Run.open(path / _POINTS / f"{values.index(point['value']):02d}")
    if not run.folder.diagnosis.is_file():
        with contextlib.suppress(PellucidError):
            diagnose(run, budget_seconds=20)
    if not run.folder.diagnosis.is_file():
        return None
    node = run.folder.read_json(run.folder.diagnosis)
    return {
        "verdict": node.get("verdict"),
        "findings": [f["id"] for f in node.get("findings", []) if f["confidence"] >= 0.5],
    }


def _line(key: str, point: dict[str, Any]) -> str:
    unit = "bits per dimension" if point["bits_per_dim"] is not None else "bits per pixel"
    quality = f"{point['psnr']['value']:.2f} dB"
    return f"{key} = {point['value']:.3g}: {quality}, {rate_of(point):.3g} {unit}"
