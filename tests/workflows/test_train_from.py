"""Fine-tuning starts from a run's weights and never learns from what that run held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.errors import RunError
from pellucid.models.weights import read_tensors
from pellucid.workflows.release import release
from pellucid.workflows.run import Run
from pellucid.workflows.train import train

STILL = {"learning_rate": 1e-30, "ema_decay": None, "monitor": None}
SMALL = {
    "encoder": {"width": 8, "channels": 16},
    "decoder": {"width": 8},
    "bottleneck": {"kind": "fsq", "levels": [5, 5]},
    "training": {"steps": 2, "batch_size": 8, "validate_every": 2, "checkpoint_every": 2, **STILL},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index in range(24):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{index}.png")
    return folder


def short(photos: Path, out: Path, **keywords) -> Run:
    data = {"path": str(photos), "size": 32, "resize": None}
    return train(
        "photos-vq", data=data, out=out, evaluate=False, progress=False, **SMALL, **keywords
    )


@pytest.fixture(scope="module")
def source(photos, tmp_path_factory) -> Run:
    return short(photos, tmp_path_factory.mktemp("runs") / "source", seed=1)


def test_the_start_is_the_runs_weights_not_the_seeds(photos, source, tmp_path) -> None:
    tuned = short(photos, tmp_path / "tuned", seed=2, start_from=source.path)
    other = short(photos, tmp_path / "other", seed=2)
    weights = {run: read_tensors(run.folder.model) for run in (source, tuned, other)}
    for name, value in weights[source].items():
        torch.testing.assert_close(weights[tuned][name], value, msg=name)
    assert any(not torch.equal(weights[other][n], v) for n, v in weights[source].items())


def test_what_was_held_out_stays_held_out(photos, source, tmp_path) -> None:
    tuned = short(photos, tmp_path / "tuned", seed=2, start_from=source)
    other = short(photos, tmp_path / "other", seed=2)
    splits = {r: r.folder.read_json(r.folder.splits)["items"] for r in (source, tuned, other)}
    assert splits[tuned] == splits[source]
    assert splits[other] != splits[source]


def test_a_run_tells_whose_weights_it_started_from_and_so_does_its_card(
    photos, source, tmp_path
) -> None:
    first = short(photos, tmp_path / "first", start_from=source)
    second = short(photos, tmp_path / "second", start_from=first)
    assert source.started_from() is None
    told = second.started_from()
    assert told is not None
    assert told["digest"] == first.digest()
    assert told["start"]["digest"] == source.digest()
    assert told["start"]["start"] is None
    released = release(second, tmp_path / "released", progress=False)
    assert released.started_from() == told
    card = (released.path / "README.md").read_text()
    assert card.count("; before that 2 steps") == 2
    assert "`photos-vq` (objective: l2 1" in card


def test_weights_and_a_recipe_are_enough_to_start_from(photos, source, tmp_path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in (source.folder.recipe, source.folder.model):
        shutil.copy(file, bare)
    tuned = short(photos, tmp_path / "tuned", start_from=bare)
    assert tuned.started_from()["digest"] == source.digest()
    assert "step" not in tuned.started_from()
    card = (release(tuned, tmp_path / "released", progress=False).path / "README.md").read_text()
    assert "before that an unknown number of steps of `photos-vq`" in card


def test_a_start_that_cannot_be_read_is_refused_before_anything_is_written(
    photos, source, tmp_path
) -> None:
    broken = shutil.copytree(source.path, tmp_path / "broken")
    (broken / "start.json").write_text('{"version": 1, "rec')
    with pytest.raises(RunError, match="cannot read start"):
        short(photos, tmp_path / "tuned", start_from=broken)
    assert not (tmp_path / "tuned").exists()


def test_weights_of_another_model_are_refused_before_anything_is_written(
    photos, source, tmp_path
) -> None:
    with pytest.raises(RunError, match="another model"):
        train(
            "photos-vq",
            data={"path": str(photos), "size": 32},
            start_from=source,
            out=tmp_path / "wrong",
            progress=False,
        )
    assert not (tmp_path / "wrong").exists()
