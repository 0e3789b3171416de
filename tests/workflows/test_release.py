"""A released folder codes like the run it came from, and tells nothing of whose data it saw."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pellucid.build.assemble import build_autoencoder, build_data
from pellucid.errors import RunError
from pellucid.models.weights import save_weights
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.weight_files import read_tensors
from pellucid.workflows.codec import decode, encode
from pellucid.workflows.levelling import level_lost
from pellucid.workflows.release import release
from pellucid.workflows.run import Run

RATE = 8000
LENGTH = "decoder.final.conv.parametrizations.weight.original0"
SEANET = {"kind": "seanet", "strides": [4, 5], "width": 4, "widest": 8}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secret-clips")
    rng = np.random.default_rng(0)
    for number in range(10):
        t = np.arange(RATE) / RATE
        x = 0.1 * np.sin(2 * np.pi * rng.uniform(100, 900) * t) + 0.01 * rng.standard_normal(RATE)
        soundfile.write(folder / f"{number}.wav", x, RATE)
    return folder


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    node = {
        "name": "tiny",
        "data": {
            "kind": "audio",
            "path": str(clips),
            "sample_rate": RATE,
            "length": 4000,
            "test": 0.3,
        },
        "encoder": {**SEANET, "channels": 8},
        "bottleneck": {"kind": "rvq", "levels": 2, "codes": 16},
        "decoder": SEANET,
        "objective": {"l1": {"weight": 1.0}},
        "evaluation": {"codecs": [], "resamples": 20},
    }
    recipe = Recipe.from_node(node)
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "tiny")
    folder.path.mkdir()
    folder.recipe.write_text(dump_yaml(recipe.to_node()))
    data = build_data(recipe)
    folder.write_json(folder.splits, data.splits)
    folder.write_json(folder.run, {"state": "finished", "step": 3, "seconds": 1.0, "parameters": 9})
    autoencoder = build_autoencoder(recipe)
    with torch.no_grad():
        autoencoder(data.train.batch(range(8))["x"])
    save_weights(autoencoder, folder.model)
    return Run.open(folder.path)


@pytest.fixture(scope="module")
def released(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("released") / "model"
    return release(run, out, data="ten tones", licence="CC0", progress=False)


def test_it_codes_files_without_the_data_it_learnt_from(released, clips, tmp_path) -> None:
    encode(clips / "0.wav", model=released.path, out=tmp_path / "x.plc", progress=False)
    decode(tmp_path / "x.plc", model=released.path, out=tmp_path / "x.wav", progress=False)
    assert soundfile.info(tmp_path / "x.wav").frames == RATE
    assert released.folder.code_tables.is_file()


def test_weights_are_the_runs_rounded_to_half(run, released) -> None:
    before, after = read_tensors(run.folder.model), read_tensors(released.folder.model)
    assert before.keys() - after.keys() == {f"bottleneck.codebooks.{n}.ema_sums" for n in range(2)}
    for name, value in after.items():
        exact = before[name]
        assert value.dtype == (torch.float16 if exact.is_floating_point() else exact.dtype)
        if name != LENGTH:
            assert torch.equal(value.to(exact.dtype), exact.half().to(exact.dtype)), name


def test_a_released_decoder_gets_its_level_back(run, released) -> None:
    lost = level_lost(run)
    assert abs(lost) > 0.5  # it was hardly trained
    before, after = read_tensors(run.folder.model), read_tensors(released.folder.model)
    ratio = float(after[LENGTH].float().norm() / before[LENGTH].norm())
    assert 20 * math.log10(ratio) == pytest.approx(-lost, abs=0.01)
    assert level_lost(Run.open(run.path)) == lost
    assert f"{-lost:+.2f} dB" in (released.path / "README.md").read_text()


def test_numbers_are_measured_on_the_released_weights_and_the_card_shows_them(released) -> None:
    evaluation = released.evaluation()
    assert evaluation is not None
    card = (released.path / "README.md").read_text()
    assert f"{evaluation['metrics']['si_sdr']['value']:.3g}" in card
    assert "ten tones" in card
    assert "CC0" in card
    assert "3 steps" in card


def test_nothing_names_the_place_or_the_files_of_the_data(released, clips) -> None:
    for path in released.path.iterdir():
        if path.suffix in (".json", ".yaml", ".md"):
            assert clips.name not in path.read_text(), path.name
    assert released.recipe.data["path"] is None
    assert not released.folder.splits.exists()


def test_an_existing_folder_is_refused_and_kept(run, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="something already"):
        release(run, tmp_path, progress=False)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_weights_beyond_half_precision_are_refused_by_name(run, tmp_path) -> None:
    folder = RunFolder(tmp_path / "loud")
    folder.path.mkdir()
    for name in ("recipe", "splits", "run"):
        source = getattr(run.folder, name)
        (folder.path / source.name).write_bytes(source.read_bytes())
    autoencoder = run.load()
    with torch.no_grad():
        next(autoencoder.decoder.parameters()).fill_(1e6)
    save_weights(autoencoder, folder.model)
    with pytest.raises(RunError, match="float16"):
        release(Run.open(folder.path), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
