"""The card that goes with a released model: what it is, what it cost, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.recipe import Recipe
from pellucid.workflows.ancestry import cost, told
from pellucid.workflows.treatments.standing import standing

LEVEL = "level_given_back_db"
_AUDIO = ("pesq", "stoi", "visqol", "si_sdr", "snr", "log_mel", "level_error", "dc", "file_kbps")
_IMAGES = ("psnr", "ssim", "bits_per_pixel")
_NAMES = {
    "pesq": "PESQ-WB",
    "stoi": "STOI",
    "visqol": "ViSQOL",
    "si_sdr": "SI-SDR",
    "snr": "SNR",
    "log_mel": "log-mel distance",
    "level_error": "level error",
    "dc": "DC",
    "file_kbps": "bit rate of the files",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "bits_per_pixel": "bits per pixel",
}


def model_card(
    recipe: Recipe,
    status: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    start: Mapping[str, Any] | None,
    half: bool,
    data: str | None,
    licence: str | None,
) -> str:
    """Return the card in Markdown.

    Args:
        recipe: of the model.
        status: run.json: steps, seconds, parameters, environment, the level given back.
        evaluation: evaluation.json of the released weights.
        start: start.json: whose weights it started from, or None.
        half: whether weights are stored in float16.
        data: what it was trained on, in words.
        licence: of the weights.
    """
    facts = {
        "recipe": f"`{recipe.name}`; all of it in `recipe.yaml`",
        "parameters": f"{status.get('parameters', 0):,}, stored as "
        f"{'float16, used as float32' if half else 'float32'}",
        "trained on": data or "not stated",
        "training": "; before that ".join([cost(status), *told(start)]),
        "licence": licence or "not stated",
    }
    if status.get(LEVEL):
        gained = f"{status[LEVEL]:+.2f} dB of what training left"
        facts["level"] = f"the output is {gained}: as much as the validation clips had lost"
    if recipe.postfilter is not None:
        strength = standing(recipe, "postfilter.strength")
        facts["postfilter"] = (
            "outputs go through a linear filter that was fitted on validation images; it brings "
            f"back {strength:.0%} of what the power of each frequency lacks"
        )
    audio = evaluation.get("kind") == "audio"
    others = "languages, rooms and microphones" if audio else "subjects, cameras and sizes"
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            *(f"* **{name}**: {text}" for name, text in facts.items()),
            "",
            "Use: `pellucid encode FILE --model THIS -o FILE.plc`, then `pellucid decode FILE.plc "
            "--model THIS -o FILE`.",
            "",
            "## Held-out numbers",
            "",
            *_numbers(evaluation),
            "",
            *_rates(evaluation.get("rate_quality") or []),
            "Measured on these very weights; intervals are 95 %, over speakers or files. What each "
            "number means is in `evaluation.json`. The model is no better than its data: other "
            f"{others} than those it was trained on were not measured.",
            "",
        ]
    )


def _numbers(evaluation: Mapping[str, Any]) -> list[str]:
    """Return a table: the model, then every reference on the same samples."""
    metrics = evaluation["metrics"]
    keys = _AUDIO if evaluation.get("kind") == "audio" else _IMAGES
    shown = [key for key in keys if key in metrics]
    names = [f"{_NAMES[key]}{_unit(metrics[key])}" for key in shown]
    rows = {"this model": metrics, **evaluation.get("references", {})}
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(shown)}"]
    lines += [
        f"| {name} | {' | '.join(_value(row.get(key)) for key in shown)} |"
        for name, row in rows.items()
    ]
    held_out = metrics[shown[0]]["n"]
    return [f"{held_out} held-out speakers, files or pictures.", "", *lines]


def _rates(points: list[Mapping[str, Any]]) -> list[str]:
    """Return one line per number of residual levels, where several were measured."""
    if len(points) < 2:
        return []
    shown = [key for key in ("file_kbps", "pesq", "stoi", "si_sdr") if key in points[0]]
    lines = [
        f"| levels | {' | '.join(_NAMES[key] + _unit(points[0][key]) for key in shown)} |",
        f"|---:|{'---:|' * len(shown)}",
        *(
            f"| {point['levels']} | {' | '.join(_value(point.get(key)) for key in shown)} |"
            for point in points
        ),
    ]
    return ["Fewer levels (`--levels`):", "", *lines, ""]


def _unit(metric: Mapping[str, Any]) -> str:
    return "" if metric["unit"] in ("1", "") else f" ({metric['unit']})"


def _value(metric: Mapping[str, Any] | None) -> str:
    if not metric or metric.get("value") is None:
        return "–"
    if metric.get("low") is None or metric.get("high") is None:
        return f"{metric['value']:.3g}"
    return f"{metric['value']:.3g} ({metric['low']:.3g} … {metric['high']:.3g})"
