"""Finite scalar quantisation as a speech codec: trained, coded, decoded, streamed, evaluated."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pellucid.recipe import Recipe
from pellucid.workflows.codec import decode, encode
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.run import Run
from pellucid.workflows.stream import stream
from pellucid.workflows.train import train

RATE = 8000
NODE = {
    "name": "fsq-codec",
    "seed": 0,
    "data": {"kind": "audio", "sample_rate": RATE, "length": 4000, "test": 0.25},
    "encoder": {"kind": "seanet", "strides": [2, 5], "width": 6, "channels": 8},
    "bottleneck": {"kind": "fsq", "levels": [5, 5, 4]},
    "decoder": {"kind": "seanet", "strides": [2, 5], "width": 6},
    "objective": {"l1": {"weight": 1.0}},
    "training": {"steps": 20, "batch_size": 4, "validate_every": 20, "monitor": "snr"},
    "evaluation": {"codecs": []},
}


def buzz(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(RATE + 37 * seed) / RATE
    pitch = rng.uniform(90, 220)
    return 0.05 * sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 8))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    clips = tmp_path_factory.mktemp("clips")
    for seed in range(12):
        soundfile.write(clips / f"{seed}.wav", buzz(seed), RATE)
    node = {**NODE, "data": {**NODE["data"], "path": str(clips)}}
    recipe = Recipe.from_node(node, where="test")
    trained = train(
        recipe, out=tmp_path_factory.mktemp("runs") / "fsq", evaluate=False, progress=False
    )
    torch.set_num_threads(before)
    return trained


def test_files_and_pipes_go_there_and_back(run: Run, tmp_path: Path) -> None:
    x_T = buzz(40)[:7777]
    soundfile.write(tmp_path / "x.wav", x_T, RATE)
    encode(tmp_path / "x.wav", model=run, out=tmp_path / "x.plc", progress=False)
    decode(tmp_path / "x.plc", model=run, out=tmp_path / "y.wav", progress=False)
    assert len(soundfile.read(tmp_path / "y.wav")[0]) == 7777
    packed = 778 * np.log2(100) / 8  # frames of ten samples, 5·5·4 codes
    assert (tmp_path / "x.plc").stat().st_size < packed * 7 / np.log2(100) + 40
    pcm = (x_T * 32767).astype("<i2").tobytes()
    coded, heard = io.BytesIO(), io.BytesIO()
    stream(io.BytesIO(pcm), coded, model=run, direction="encode")
    stream(io.BytesIO(coded.getvalue()), heard, model=run, direction="decode")
    assert len(heard.getvalue()) == len(pcm)


def test_it_is_evaluated_at_its_files_bits(run: Run) -> None:
    node = evaluate(run, progress=False)
    kbps = node["metrics"]["file_kbps"]["value"]
    assert 0 < kbps < 7 * RATE / 10 / 1000 + 0.5
    assert len(node["codes"]["levels"]) == 1
    for name in ("snr", "level_error", "dc"):
        assert any(name in metric for metric in node["metrics"])
