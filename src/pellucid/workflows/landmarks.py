"""Probe a run's frozen encoder with landmarks: how few labels find the points?

Shape letters: K images, L landmarks, B batch, C channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pellucid.errors import DataError, RunError, nearest, unknown_name
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data.points import Points
    from pellucid.evaluation.landmarks.head import Fields
    from pellucid.evaluation.landmarks.protocol import Protocol, Trial

Against = Literal["random", "pca", "dinov2"]
OWN = "run"
DINOV2 = "vit_small_patch14_dinov2"
_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Images:
    """The images that points belong to, as the model sees them.

    Args:
        names: (K,) as in the points file.
        paths: (K,) files.
        x: (1, C, H, W) each, in the model's range, at the scale the run was trained at.
        scale: (K,) pixels of the file per pixel of x.
        sizes: (K, 2) width and height of the files.
        xy: (K, L, 2) points in pixels of the file; NaN where missing or outside.
        outside: points outside their image, now missing.
        left_out: names in the points file without an image.
    """

    names: list[str]
    paths: list[Path]
    x: list[Tensor]
    scale: np.ndarray
    sizes: np.ndarray
    xy: np.ndarray
    outside: list[str]
    left_out: list[str]


def landmarks(
    run: str | Path | Run,
    points: str | Path,
    *,
    images: str | Path | None = None,
    layers: Sequence[str] | None = None,
    labels: Sequence[int | None] = (5, 10, 20, None),
    against: Sequence[Against] = ("random", "pca"),
    normaliser: str = "extent",
    blocks: int = 5,
    draws: int = 3,
    margin: int = 1,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Learn a heat-map head on frozen features from few labels and test it on blocks of time.

    Every method gets the same images, labels, head and choice of its ridge. Written to
    `RUN/landmarks/` (index.json and pictures) and shown by the run's page.

    Args:
        run: the run or its folder; of images.
        points: CSV, see `data.points.read_points`; its order is taken as time.
        images: folder of the images; None takes that of the CSV.
        layers: maps of the encoder; None takes all, fine to coarse, and the latent.
        labels: how many labelled images a head learns from; None means all of the other blocks.
        against: "random" (the same encoder, untrained), "pca" (patches), "dinov2" (through timm).
        normaliser: length that errors are divided by: "extent" (largest distance between two points
            of the image), "diagonal" of the image, or "NAME-NAME" (distance of two landmarks).
        blocks: stretches of consecutive images, each tested once.
        draws: random choices of labelled images.
        margin: images beside a tested block that no head learns from.
        weights: file with DINOv2's weights, where timm's cache does not hold them.
        seed: of the draws and of the untrained encoders.
        progress: draw a progress bar.

    Returns:
        The content of index.json.

    Raises:
        DataError: for points, images, labels or a normaliser that cannot be used.
        RecipeError: for an unknown layer or method.
        RunError: when the run has no weights, or DINOv2's are not to be had.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.data.points import read_points
    from pellucid.evaluation.landmarks.protocol import Protocol

    opened = Run.open(run)
    facts = data_facts(opened.recipe)
    if facts.axes != 2 or facts.channels not in (1, 3):
        raise DataError(
            "landmarks lie in pictures",
            where=opened.path,
            expected="a run of images with 1 or 3 channels",
        )
    for name in against:
        if name not in get_args(Against):
            raise unknown_name("method", name, get_args(Against), where="against")
    listed = read_points(points)
    protocol = Protocol(blocks, _counts(labels), draws, margin, seed)
    found = _open_images(opened, listed, Path(images) if images else Path(points).parent)
    length_K, diagonal_K, words = _lengths(found, listed.names, normaliser)
    usable = np.flatnonzero(np.isfinite(found.xy).all(-1).any(-1) & np.isfinite(length_K)).tolist()
    protocol.folds(usable)  # refuses too few before anything is computed
    methods = [OWN, *dict.fromkeys(against)]
    heads = len(methods) * draws * blocks * len(protocol.labels)
    trials: dict[str, dict[int | None, Trial]] = {}
    done = 0
    with progress_bar("landmarks", shown=progress) as report:

        def step() -> None:
            nonlocal done
            done += 1
            report(done, heads)

        for method in methods:
            trials[method], told = _try(
                opened, method, found, layers, protocol, usable, weights, step
            )
            if method == OWN:
                about = told
    node = _node(listed, found, protocol, words, about, trials, length_K, diagonal_K, opened)
    _write(opened, node, found, listed.names, trials, length_K)
    return node


def _counts(labels: Sequence[int | None]) -> tuple[int | None, ...]:
    wrong = [count for count in labels if count is not None and count < 2]
    if wrong or not labels:
        raise DataError(
            "a head needs labelled images",
            where="labels",
            expected="numbers from 2, or all",
            found=wrong[0] if wrong else "none",
        )
    return tuple(dict.fromkeys(labels))


def _open_images(run: Run, listed: Points, folder: Path) -> Images:
    """Find and read every image; a name without a file is left out and counted."""
    from pellucid.build.assemble import data_facts
    from pellucid.data.preparing import Preparation
    from pellucid.data.reading import UnreadableImage, read_picture
    from pellucid.workflows.feature_sources import to_model

    if not folder.is_dir():
        raise DataError("no such folder of images", where=folder)
    resize = run.recipe.data.get("resize", 1.125)
    size = data_facts(run.recipe).size
    short_side = None if resize is None else round(size * resize)
    preparation = Preparation(data_facts(run.recipe).channels, short_side)
    names, paths, x, sizes, kept, left_out = [], [], [], [], [], []
    for row, name in enumerate(listed.images):
        path = next((p for p in (folder / name, folder / Path(name).name) if p.is_file()), None)
        if path is None:
            left_out.append(name)
            continue
        try:
            picture = read_picture(path)
        except UnreadableImage as problem:
            raise DataError("this image cannot be used", where=path, found=problem) from problem
        x.append(to_model(preparation(picture.pixels_HWC)[None], run))
        sizes.append((picture.width, picture.height))
        names.append(name)
        paths.append(path)
        kept.append(row)
    if not names:
        there = sorted(p.name for p in folder.iterdir() if p.is_file())
        close = nearest(Path(listed.images[0]).name, there)
        raise DataError(
            "none of the images are there",
            where=folder,
            expected=f"{listed.images[0]} and {len(listed.images) - 1} more of {listed.where}",
            hint=f"the nearest is '{close}'" if close else "say --images DIR",
        )
    xy, size_K2 = listed.xy[kept].copy(), np.asarray(sizes, float)
    beyond = (xy < 0).any(-1) | (xy > size_K2[:, None]).any(-1)
    outside = [f"{names[k]}: {listed.names[i]}" for k, i in np.argwhere(beyond)]
    xy[beyond] = np.nan
    scale = np.asarray([size[1] / one.shape[-2] for size, one in zip(sizes, x, strict=True)])
    return Images(names, paths, x, scale, size_K2, xy, outside, left_out)


def _lengths(
    found: Images, names: tuple[str, ...], normaliser: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the normaliser and the diagonal of every image, and the normaliser in words."""
    from pellucid.metrics.landmarks import extent

    diagonal_K = np.linalg.norm(found.sizes, axis=-1)
    if normaliser == "diagonal":
        return diagonal_K, diagonal_K, "the diagonal of the image"
    if normaliser == "extent":
        return extent(found.xy), diagonal_K, "the largest distance between two points of the image"
    for cut in (i for i, letter in enumerate(normaliser) if letter == "-"):
        pair = (normaliser[:cut], normaliser[cut + 1 :])
        if set(pair) <= set(names):
            a, b = (found.xy[:, names.index(name)] for name in pair)
            return np.linalg.norm(a - b, axis=-1), diagonal_K, f"the distance {pair[0]}–{pair[1]}"
    raise DataError(
        f"no such normaliser '{normaliser}'",
        where="normaliser",
        expected="extent, diagonal, or NAME-NAME of two landmarks",
        found=f"landmarks are {', '.join(names)}",
    )


def _try(
    run: Run,
    method: str,
    found: Images,
    layers: Sequence[str] | None,
    protocol: Protocol,
    usable: list[int],
    weights: str | Path | None,
    step: Any,
) -> tuple[dict[int | None, Trial], dict[str, Any]]:
    """Run one method; return its trials and what it is."""
    from pellucid.build.assemble import build_autoencoder
    from pellucid.evaluation.landmarks.fields import (
        FINEST,
        encoder_maps,
        grid_of,
        patch_pca_maps,
    )
    from pellucid.evaluation.landmarks.protocol import run_trials
    from pellucid.models.layers import QUANTIZED, FeatureExtractor, feature_info

    model = run.load()
    chosen = layers or [i.name for i in feature_info(model) if i.name != QUANTIZED and i.reduction]
    own = FeatureExtractor(model, chosen)
    cell = grid_of(own)
    keep = sum(layer.channels for layer in own.feature_info)
    if method == "dinov2":
        maps_of, cell = _dinov2(run, weights), FINEST * 2
    elif method == "pca":
        maps_of = patch_pca_maps(found.x, cell, keep)
    else:
        maps_of = encoder_maps(own, cell)
    fixed: list[Fields] = []

    def fields_of(draw: int) -> Fields:
        if method == "random":
            untrained = run.recipe.model_copy(update={"seed": protocol.seed + 1000 + draw})
            blank = FeatureExtractor(build_autoencoder(untrained).eval(), chosen)
            return _fields(encoder_maps(blank, cell), found, cell)
        if not fixed:
            fixed.append(_fields(maps_of, found, cell))
        return fixed[0]

    trials = run_trials(fields_of, found.xy, usable, protocol, step)
    about = {
        "layers": [dataclasses.asdict(layer) for layer in own.feature_info],
        "features": keep,
        "cell_pixels": float(cell * found.scale[0]),
    }
    return trials, about


def _fields(maps_of: Any, found: Images, cell: int) -> Fields:
    """Take the maps of every image and sample their cells; maps are kept at half precision."""
    from pellucid.evaluation.landmarks.head import Fields

    maps = [maps_of(x).numpy().astype(np.float16) for x in found.x]
    return Fields.build(maps, found.xy, (cell * found.scale).tolist())


def _dinov2(run: Run, weights: str | Path | None) -> Any:
    """Return DINOv2's patch features as a map, 8 pixels per cell."""
    from pellucid.build.assemble import data_facts
    from pellucid.nn.timm_encoder import TimmEncoder

    facts = data_facts(run.recipe)
    value_range = facts.value_range
    assert value_range is not None  # only runs of pictures come here
    encoder = TimmEncoder(
        facts.channels,
        DINOV2,
        pretrained=True if weights is None else str(weights),
        stride=8,
        value_range=(value_range.low, value_range.high),
    ).eval()

    def maps(x_BCHW: Tensor) -> Tensor:
        import torch

        from pellucid.functional.padding import pad_to_multiple

        with torch.no_grad():
            return encoder(pad_to_multiple(x_BCHW, 8))[0]

    return maps


def _node(
    listed: Points,
    found: Images,
    protocol: Protocol,
    words: str,
    about: dict[str, Any],
    trials: dict[str, dict[int | None, Trial]],
    length_K: np.ndarray,
    diagonal_K: np.ndarray,
    run: Run,
) -> dict[str, Any]:
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


def _write(
    run: Run,
    node: dict[str, Any],
    found: Images,
    names: tuple[str, ...],
    trials: dict[str, dict[int | None, Trial]],
    length_K: np.ndarray,
) -> None:
    """Draw some tested images and write index.json last, so that it never names what is missing."""
    from pellucid.evaluation.landmarks.pictures import draw_points
    from pellucid.evaluation.landmarks.score import image_errors, label_name
    from pellucid.run_folder import write_atomically

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
