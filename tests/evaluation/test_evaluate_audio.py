"""A tiny waveform codec evaluated on whole clips: bits of its files, pairs, what is left out."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from pellucid.bitstream import ContextTables
from pellucid.bottlenecks import FSQ, RVQ, Identity
from pellucid.data import AudioData
from pellucid.errors import DataError, MissingExtraError, PellucidError, RecipeError
from pellucid.evaluation.compare import compare
from pellucid.evaluation.evaluate_audio import evaluate_audio
from pellucid.evaluation.waveform_codec import WaveformCodec
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder
from pellucid.recipe import Recipe
from pellucid.references.audio_codecs import missing_programs, read_wav
from pellucid.run_folder import RunFolder

RATE = 16000
STRIDES = (4, 5, 8)


def syllables(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(rng.uniform(90, 220) + 20 * np.sin(4 * t)) / RATE
    x = sum(np.sin(k * pitch) / k for k in range(1, 12)) * np.clip(np.sin(19 * t), 0, 1)
    return 0.05 * x + 0.0005 * rng.normal(size=len(t))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(12):
        seconds = 1.2 + 0.0601 * seed  # no multiple of the stride
        soundfile.write(folder / f"{seed:02d}.wav", syllables(seconds, seed), RATE)
    return folder


@pytest.fixture(scope="module")
def data(clips: Path) -> AudioData:
    return AudioData(str(clips), length=3200, validation=0.25, test=0.4)


def codec_model(bottleneck: torch.nn.Module | None = None, causal: bool = True) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shared: dict[str, Any] = {
            "strides": STRIDES, "width": 4, "widest": 16, "dilations": (1,), "causal": causal,
        }  # fmt: skip
        bottleneck = bottleneck or RVQ(8, levels=6, codes=16, init="normal", dropout=0.5)
        channels: int = bottleneck.channels  # type: ignore[assignment]
        return Autoencoder(
            SEANetEncoder(1, channels=channels, **shared),
            bottleneck,  # type: ignore[arg-type]
            SEANetDecoder(channels, out_channels=1, **shared),
        ).eval()


def evaluated(data: AudioData, model: Autoencoder | None = None, **options: Any) -> dict[str, Any]:
    options = {"codecs": (), "resamples": 50, **options}
    found = evaluate_audio(model or codec_model(), data.test, sample_rate=RATE, **options)
    return json.loads(json.dumps(found.to_json(), default=list))


@pytest.fixture(scope="module")
def node(data: AudioData) -> dict[str, Any]:
    return evaluated(data)


def test_the_rate_is_that_of_the_files(data: AudioData, node: dict[str, Any]) -> None:
    payload = file = seconds = 0.0
    for number in range(len(data.test.clips)):
        _, x = data.test.whole(number)
        bits = 6 * 4 * math.ceil(x.shape[-1] / 160)
        payload += 8 * math.ceil(bits / 8)
        seconds += x.shape[-1] / RATE
        file += 8 * (math.ceil(bits / 8) + 40)
    found = node["metrics"]
    assert found["payload_kbps"]["value"] == pytest.approx(payload / seconds / 1000)
    assert found["payload_kbps"]["value"] < found["file_kbps"]["value"] <= file / seconds / 1000
    assert node["seconds"] == pytest.approx(seconds)
    assert "packed" in found["file_kbps"]["convention"]


def test_fewer_levels_are_further_points_of_one_curve(node: dict[str, Any]) -> None:
    points = node["rate_quality"]
    assert [point["levels"] for point in points] == [2, 4, 6]
    rates = [point["payload_kbps"]["value"] for point in points]
    assert rates == pytest.approx([rates[0], 2 * rates[0], 3 * rates[0]], rel=0.02)
    assert points[-1]["stoi"] == node["metrics"]["stoi"]


def test_codes_latency_and_clips_are_stated(data: AudioData, node: dict[str, Any]) -> None:
    assert len(node["codes"]["levels"]) == 6
    assert len(node["codes"]["levels"][0]["counts"]) == 16
    assert node["metrics"]["latency"]["value"] == pytest.approx(10)  # one frame of 160 samples
    assert node["metrics"]["speed"]["value"] > 0
    assert node["samples"]["name"] == [clip.name for clip in data.test.clips]
    assert set(map(len, node["samples"].values())) == {len(data.test.clips)}
    assert node["kind"] == "audio"


def test_a_copy_of_the_input_is_measured_as_one(data: AudioData) -> None:
    model = codec_model(Identity(8))
    model.encode = lambda x: x  # type: ignore[method-assign,assignment]
    model.decode = lambda z: z  # type: ignore[method-assign,assignment]
    node = evaluated(data, model)
    assert node["metrics"]["stoi"]["value"] == pytest.approx(1, abs=1e-6)
    assert node["metrics"]["delay"]["value"] == 0
    assert node["metrics"]["level_error"]["value"] == 0
    assert "file_kbps" not in node["metrics"]
    assert node["rate_quality"] == []
    assert node["codes"] == {}


def test_the_model_and_the_random_state_are_left_alone(data: AudioData) -> None:
    model = codec_model().train()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    evaluated(data, model, max_clips=2, levels=())
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert torch.get_num_threads() == threads


def test_tables_shorten_the_files(data: AudioData) -> None:
    model = codec_model()
    plain = WaveformCodec(model, RATE)
    codes = [plain(data.train.whole(n)[1][0].numpy()).codes_FL for n in range(3)]
    tables = ContextTables.fit([c.numpy() for c in codes if c is not None], codes=16, groups=4)
    x_T = data.train.whole(0)[1][0].numpy()
    packed, short = plain(x_T), WaveformCodec(model, RATE, tables)(x_T)
    assert short.file_bits is not None
    assert packed.file_bits is not None
    assert short.file_bits < packed.file_bits
    assert (short.x_hat_T == packed.x_hat_T).all()


def test_look_ahead_counts_where_the_model_is_not_causal(data: AudioData) -> None:
    assert WaveformCodec(codec_model(), RATE).look_ahead() == 0
    ahead = WaveformCodec(codec_model(causal=False), RATE).look_ahead()
    assert ahead is not None
    assert ahead > 160


def test_one_level_of_codes_is_enough(data: AudioData) -> None:
    node = evaluated(data, codec_model(FSQ(4, levels=(5, 5, 5, 5))), max_clips=2)
    assert [point["levels"] for point in node["rate_quality"]] == [1]
    assert len(node["codes"]["levels"]) == 1


def test_codecs_are_paired_clip_by_clip(data: AudioData, tmp_path: Path) -> None:
    if missing := missing_programs(["opus", "codec2"]):
        pytest.skip("; ".join(missing.values()))
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    options = {
        "codecs": ("opus", "codec2"),
        "opus_kbps": (6.0, 12.0),
        "levels": (),
        "folder": folder,
    }
    node = evaluated(data, save_reconstructions=2, **options)
    assert set(node["references"]) == {"opus-6", "opus-12", "codec2-3200"}
    for name, reference in node["references"].items():
        gap = node["differences"][name]["stoi"]
        own = node["metrics"]["stoi"]["value"]
        assert gap["value"] == pytest.approx(own - reference["stoi"]["value"], abs=1e-9)
        assert gap["low"] <= gap["value"] <= gap["high"]
        assert "paired over" in gap["convention"]
    assert folder.read_json(folder.evaluation)["metrics"]["stoi"] == node["metrics"]["stoi"]
    index = folder.read_json(folder.reconstructions / "index.json")
    assert len(index["samples"]) == 2
    for sample in index["samples"]:
        row = node["samples"]["digest"].index(sample["digest"])
        x = read_wav(folder.reconstructions / sample["files"]["original"])
        assert len(x) == round(node["samples"]["seconds"][row] * RATE)
        assert sample["stoi"]["reconstruction"] == node["samples"]["stoi"][row]
        assert set(sample["stoi"]) == {"reconstruction", *index["columns"][2:]}
    best, worst = (sample["pesq"]["reconstruction"] for sample in index["samples"])
    assert best >= worst


def test_a_missing_codec_is_left_out_and_said(
    data: AudioData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    node = evaluated(data, codecs=("opus",), max_clips=2, levels=())
    assert "opus-tools" in node["left_out"]["opus"]
    assert node["references"] == {}


def test_evaluations_of_the_same_clips_are_paired(data: AudioData, node: dict[str, Any]) -> None:
    other = evaluated(data, codec_model(RVQ(8, levels=2, codes=16, init="normal")))
    comparison = compare([("six", node), ("two", other)])
    found = {difference.metric: difference for difference in comparison.differences}
    assert found["log_mel"].paired
    assert "clips" in found["log_mel"].value.convention
    gap = other["metrics"]["log_mel"]["value"] - node["metrics"]["log_mel"]["value"]
    assert found["log_mel"].value.value == pytest.approx(gap, abs=1e-5)
    assert not found["file_kbps"].paired
    assert any("different bits" in text and "kb/s" in text for text in comparison.warnings)


def test_a_clip_that_one_run_could_not_measure_is_left_out_of_the_pairs(
    node: dict[str, Any],
) -> None:
    other = copy.deepcopy(node)
    other["samples"]["stoi"][0] = None
    comparison = compare([("a", node), ("b", other)])
    stoi = next(d for d in comparison.differences if d.metric == "stoi")
    assert f"over {len(node['samples']['stoi']) - 1} clips" in stoi.value.convention
    assert stoi.value.value == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"levels": (7,)}, PellucidError, "so many levels"),
        ({"codecs": ("opus",), "opus_kbps": (3.0,)}, PellucidError, "does not take this rate"),
        ({"max_clips": 1}, DataError, "too few test clips"),
        ({"dnsmos": "/nowhere/x.onnx"}, DataError, "no DNSMOS network"),
    ],
)
def test_bad_input(
    data: AudioData, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluated(data, **options)


def recipe(clips: Path, **evaluation: Any) -> Recipe:
    shared = {"kind": "seanet", "strides": [4, 5, 8], "width": 4, "widest": 16, "dilations": [1]}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "data": {"kind": "audio", "path": str(clips), "length": 3200, "test": 0.4},
            "encoder": {**shared, "channels": 8},
            "bottleneck": {"kind": "rvq", "levels": 2, "codes": 16, "init": "normal"},
            "decoder": shared,
            "objective": {"l1": {"weight": 1.0}},
            "training": {"steps": 2, "batch_size": 2, "monitor": "snr"},
            "evaluation": evaluation,
        }
    )


def test_the_signature_is_the_schema_of_the_section(clips: Path) -> None:
    from pellucid.workflows.evaluate import evaluation_keywords

    found = evaluation_keywords(recipe(clips, codecs=["speex"], opus_kbps=[6], visqol=False))
    assert found == {"codecs": ("speex",), "opus_kbps": (6.0,), "visqol": False}
    with pytest.raises(RecipeError, match="did you mean 'codecs'"):
        evaluation_keywords(recipe(clips, codec=["opus"]))
    with pytest.raises(RecipeError, match="wrong value"):
        evaluation_keywords(recipe(clips, codecs=["jpeg"]))


def test_a_recipe_of_waveforms_ends_with_numbers_and_a_page(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.workflows.evaluate import evaluate
    from pellucid.workflows.train import train

    chosen = recipe(clips, codecs=[], save_reconstructions=1, resamples=20)
    run = train(chosen, out=tmp_path / "run", progress=False)
    node = run.evaluation()
    assert node is not None
    assert node["metrics"]["file_kbps"]["value"] > 0
    assert "pesq" in repr(run)
    assert run.folder.report.stat().st_size > 10_000
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingExtraError, match="opus-tools"):
        evaluate(run, against=["opus"], progress=False)
