"""encode, decode, stream and inspect as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pellucid.build.assemble import build_autoencoder
from pellucid.models.weights import save_weights
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder

RATE = 8000
NETWORK = {"kind": "seanet", "strides": [2, 5], "width": 6, "causal": True}


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    return 0.1 * np.sin(2 * np.pi * rng.uniform(90, 220) * t) + 0.02 * rng.normal(size=len(t))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an untrained codec whose codebooks have seen one batch."""
    node = {
        "name": "tiny",
        "data": {"kind": "audio", "path": "nowhere", "sample_rate": RATE, "length": 4000},
        "encoder": {**NETWORK, "channels": 8},
        "bottleneck": {"kind": "rvq", "levels": 3, "codes": 16},
        "decoder": NETWORK,
        "objective": {"l1": {"weight": 1.0}},
    }
    recipe = Recipe.from_node(node, where="test")
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "speech")
    folder.path.mkdir()
    folder.recipe.write_text(dump_yaml(recipe.to_node()))
    autoencoder = build_autoencoder(recipe).train()
    batch = np.stack([voice(0.5, seed) for seed in range(4)]).astype(np.float32)
    with torch.no_grad():
        autoencoder(torch.from_numpy(batch)[:, None])
    save_weights(autoencoder, folder.model)
    return folder.path


def test_a_clip_goes_there_and_back(pellucid, speech: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", voice(1.0), RATE)
    code, out, err = pellucid(
        "encode", tmp_path / "x.wav", "--model", speech, "-o", tmp_path / "x.plc", "-q"
    )
    assert code == 0, err
    assert "kb/s" in out
    assert str(tmp_path / "x.plc") in out
    code, out, err = pellucid(
        "decode", tmp_path / "x.plc", "--model", speech, "-o", tmp_path / "y.wav", "--json", "-q"
    )
    assert code == 0, err
    told = json.loads(out)["total"]
    assert told["seconds"] == 1.0
    assert told["kbps"] == pytest.approx(8 * (tmp_path / "x.plc").stat().st_size / 1000)
    assert len(soundfile.read(tmp_path / "y.wav")[0]) == RATE


def test_a_picture_goes_there_and_back(
    pellucid, trained: Path, photos: Path, tmp_path: Path
) -> None:
    assert (trained / "code_tables.safetensors").is_file()
    coded = tmp_path / "0.plc"
    code, out, err = pellucid("encode", photos / "0.png", "--model", trained, "-o", coded, "-q")
    assert code == 0, err
    assert "48×40" in out
    assert pellucid("decode", coded, "--model", trained, "-o", tmp_path / "y.png", "-q")[0] == 0
    assert Image.open(tmp_path / "y.png").size == (48, 40)


def test_tables_of_a_trained_run_make_pictures_smaller(pellucid, trained, photos, tmp_path) -> None:
    words = ("encode", photos, "--model", trained, "--json", "-q")
    tight = json.loads(pellucid(*words, "-o", tmp_path / "a")[1])["total"]
    packed = json.loads(pellucid(*words, "-o", tmp_path / "b", "--no-entropy")[1])["total"]
    assert tight["bytes"] < packed["bytes"]
    assert pellucid("decode", tmp_path / "a", "--model", trained, "-q")[0] == 0


def test_one_bad_file_of_a_folder_fails_the_command_but_not_the_others(
    pellucid, speech: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "good.wav", voice(0.2), RATE)
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF")
    words = ("encode", tmp_path / "in", "--model", speech, "-q")
    code, out, err = pellucid(*words)
    assert code == 1
    assert "good.wav" in out
    assert "bad.wav" in err
    assert "1 of 2 files failed" in err
    assert (tmp_path / "in-plc" / "good.plc").is_file()
    code, out, _ = pellucid(*words, "--json")
    assert code == 1
    assert [failure["name"] for failure in json.loads(out)["failed"]] == ["bad.wav"]


def test_damage_and_other_models_are_named(pellucid, speech: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", voice(0.2), RATE)
    coded = tmp_path / "x.plc"
    assert pellucid("encode", tmp_path / "x.wav", "--model", speech, "-q")[0] == 0
    whole = coded.read_bytes()
    coded.write_bytes(whole[:-5])
    code, _, err = pellucid("decode", coded, "--model", speech, "-q")
    assert code == 1
    assert "cut or damaged" in err
    assert "Traceback" not in err
    coded.write_bytes(whole)
    other = tmp_path / "other"
    shutil.copytree(speech, other)
    text = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(text.replace("width: 6", "width: 4"))
    save_weights(
        build_autoencoder(Recipe.from_node(_node(other), where="x")), other / "model.safetensors"
    )
    code, _, err = pellucid("decode", coded, "--model", other, "-q")
    assert code == 1
    assert "written by another model" in err
    assert "--model" in err


def _node(run: Path) -> dict:
    from pellucid.recipe.text import parse_yaml

    return parse_yaml((run / "recipe.yaml").read_text(), where=run)


def test_without_a_shipped_model_the_error_names_the_option(
    pellucid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.workflows import shipped_model

    monkeypatch.setattr(shipped_model, "shipped_folder", lambda: tmp_path / "none")
    code, _, err = pellucid("encode", tmp_path / "x.wav")
    assert code == 1
    assert "--model RUN" in err


def test_pipes_of_odd_pieces_give_what_the_whole_gives(speech: Path) -> None:
    """Three real processes: encode, decode, and both in one."""
    pcm = (voice(0.7003) * 32768).astype("<i2").tobytes()

    def piped(data: bytes, *words: str) -> bytes:
        command = [sys.executable, "-m", "pellucid", "stream", "--model", str(speech), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        assert process.stdin is not None
        rng = np.random.default_rng(0)
        while data:  # small enough for the pipes' buffers: no reader is needed yet
            count = int(rng.integers(1, 1500))
            process.stdin.write(data[:count])
            process.stdin.flush()
            data = data[count:]
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
        assert b"real time" in err
        return out

    framed = piped(pcm, "--encode", "--chunk-ms", "33")
    heard = np.frombuffer(piped(framed, "--decode"), "<i2").astype(int)
    both = np.frombuffer(piped(pcm), "<i2").astype(int)
    assert len(heard) == len(both) == len(pcm) // 2
    assert np.abs(heard - both).max() <= 1
    assert np.abs(heard).max() > 0


def test_stream_refuses_what_it_cannot_mean(pellucid, speech: Path) -> None:
    code, _, err = pellucid("stream", "--model", speech, "--encode", "--decode")
    assert code == 2
    assert "--encode" in err
    assert pellucid("stream", "--model", speech, "--decode", "--levels", "2")[0] == 2


@pytest.mark.parametrize("command", ["encode", "decode", "stream"])
def test_help_shows_an_example(pellucid, command: str) -> None:
    code, out, _ = pellucid(command, "--help")
    assert code == 0
    assert f"pellucid {command}" in out


def test_inspect_reads_clips(pellucid, tmp_path: Path) -> None:
    for seed in range(3):
        soundfile.write(tmp_path / f"{seed}.wav", voice(1.5, seed), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE * 2), RATE)
    soundfile.write(tmp_path / "clipped.wav", np.clip(voice(1.5) * 40, -1, 1), RATE)
    soundfile.write(tmp_path / "short.wav", voice(0.2), RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    code, out, err = pellucid("inspect", tmp_path, "-q")
    assert code == 0, err
    assert "4 usable of 7 read" in out
    assert "8000 (4)" in out
    for reason in ("silent", "too short", "broken"):
        assert f"skipped 1: {reason}" in out
    assert "1 (e.g. clipped.wav" in out
    assert "speech-codec-tiny fits" in out
    code, out, _ = pellucid("inspect", tmp_path, "--json", "-q")
    assert json.loads(out)["kind"] == "audio"
