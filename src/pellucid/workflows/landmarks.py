"""Probe a run's frozen encoder with landmarks: how few labels find the points?

Shape letters: K images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pellucid.errors import DataError, unknown_name
from pellucid.workflows.landmark_images import lengths, open_images
from pellucid.workflows.landmark_methods import OWN, Against, Methods
from pellucid.workflows.landmark_record import record_of, write_record
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run


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
    from pellucid.evaluation.landmarks.protocol import Protocol, run_trials

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
    found = open_images(opened, listed, Path(images) if images else Path(points).parent)
    length_K, diagonal_K, words = lengths(found, listed.names, normaliser)
    usable = np.flatnonzero(np.isfinite(found.xy).all(-1).any(-1) & np.isfinite(length_K)).tolist()
    protocol.folds(usable)  # refuses too few before anything is computed
    methods = Methods(opened, found, layers, seed=seed, weights=weights)
    names = [OWN, *dict.fromkeys(against)]
    heads = itertools.count(1)
    total = len(names) * draws * blocks * len(protocol.labels)
    with progress_bar("landmarks", shown=progress) as report:
        trials = {
            name: run_trials(
                methods.fields_of(name),
                found.xy,
                usable,
                protocol,
                lambda: report(next(heads), total),
            )
            for name in names
        }
    node = record_of(
        listed, found, protocol, words, methods.about(), trials, length_K, diagonal_K, opened
    )
    write_record(opened, node, found, listed.names, trials, length_K)
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
