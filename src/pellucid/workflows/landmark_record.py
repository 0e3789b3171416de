"""What trials with landmarks showed: index.json, and pictures of some tested images.

Shape letters: K images.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import RunError
from pellucid.workflows.landmark_images import LandmarkImages
from pellucid.workflows.landmark_methods import OWN
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.data.points import Points
    from pellucid.evaluation.landmarks.protocol import Protocol, Trial

_LISTED = 10


def record_of(
    listed: Points,
    found: LandmarkImages,
    protocol: Protocol,
    words: str,
    about: dict[str, Any],
    trials: dict[str, dict[int | None, Trial]],
    length_K: np.ndarray,
    diagonal_K: np.ndarray,
    run: Run,
) -> dict[str, Any]:
    """Return the content of index.json but for its pictures.

    Args:
        listed: the points.
        found: their images.
        protocol: of the trials.
        words: what errors are divided by.
        about: the run's own features.
        trials: method → labels → what it did.
        length_K: what errors are divided by, in pixels.
        diagonal_K: of the images.
        run: whose encoder was probed.
    """
    from pellucid.evaluation.landmarks import score

    groups = (np.arange(len(found.names)) * 3 * protocol.blocks // len(found.names)).tolist()
    train = set()
    if run.folder.splits.is_file():
        train = set(run.folder.read_json(run.folder.splits).get("items", {}).get("train", {}))
    return {
        "points": {
            "file": listed.where,
            "names": list(listed.names),
            "images": len(found.names),
            "missing": int(np.isnan(found.xy).any(-1).sum()) - len(found.outside),
            "outside": len(found.outside),
            "outside_examples": found.outside[:_LISTED],
            "left_out": len(found.left_out),
            "left_out_examples": found.left_out[:_LISTED],
            "seen_unlabelled": sum(name in train for name in found.names),
        },
        "normaliser": words,
        "diagonal_share": score.DIAGONAL_SHARE,
        "length_share": score.LENGTH_SHARE,
        "protocol": dataclasses.asdict(protocol)
        | {"labels": [score.label_name(count) for count in protocol.labels]},
        "encoder": about,
        "model": run.digest(),
        "thresholds": score.THRESHOLDS.tolist(),
        "methods": {
            method: {
                score.label_name(count): score.score(
                    trial, listed.names, length_K, diagonal_K, groups
                )
                for count, trial in by_labels.items()
            }
            for method, by_labels in trials.items()
        },
        "differences": score.differences(trials, OWN, length_K, groups),
    }


def write_record(
    run: Run,
    node: dict[str, Any],
    found: LandmarkImages,
    names: tuple[str, ...],
    trials: dict[str, dict[int | None, Trial]],
    length_K: np.ndarray,
) -> None:
    """Draw some tested images and write index.json last, so that it never names what is missing."""
    from pellucid.atomic_files import write_atomically
    from pellucid.evaluation.landmarks.pictures import draw_points
    from pellucid.evaluation.landmarks.score import image_errors, label_name

    labels = sorted(trials[OWN], key=lambda n: np.inf if n is None else n)
    shown = labels[min(1, len(labels) - 1)]
    errors_K = image_errors(trials[OWN][shown], length_K)
    order = [int(k) for k in np.argsort(errors_K) if np.isfinite(errors_K[k])]
    spread = [order[round(i)] for i in np.linspace(0, len(order) - 1, min(6, len(order)))]
    samples = []
    for place, index in enumerate(dict.fromkeys(spread)):
        files = {}
        for method, by_labels in trials.items():
            file = f"{place:02d}-{method}.png"
            png = draw_points(
                found.paths[index], found.xy[index], by_labels[shown].predicted[index]
            )
            write_atomically(run.folder.landmarks / file, png)
            files[method] = file
        pixels = {
            method: float(np.nanmean(by_labels[shown].errors[0, index]))
            for method, by_labels in trials.items()
        }
        samples.append({"name": found.names[index], "files": files, "pixels": pixels})
    node["samples"] = samples
    node["shown_labels"] = label_name(shown)
    node["colours"] = dict(zip(names, _colours(len(names)), strict=True))
    try:
        run.folder.write_json(run.folder.landmarks / "index.json", node)
    except OSError as error:
        raise RunError("cannot write the landmarks", where=run.path, found=error) from error


def _colours(count: int) -> list[str]:
    from pellucid.evaluation.landmarks.pictures import colour

    return ["rgb({},{},{})".format(*colour(index)) for index in range(count)]
