"""The page of a waveform run: verdict against codecs, lossless players, spectrograms, rates."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.evaluation.compare import compare
from pellucid.references.audio_codecs import to_int16, wav_bytes
from pellucid.report.comparison import render_comparison
from pellucid.report.render import render
from pellucid.report.sounds import audio_uri, excerpt, log_spectrum, read_samples
from pellucid.run_folder import RunFolder

RATE = 16000
COLUMNS = ("original", "reconstruction", "opus-6")


def metric(value: float, unit: str = "1", half: float = 0.05) -> dict[str, Any]:
    ends = {"low": value - half, "high": value + half}
    return {"value": value, "unit": unit, **ends, "n": 6, "convention": "mean over clips"}


def wave(seed: int, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * np.sin(2 * np.pi * (300 + 50 * seed) * t) * np.sin(3 * t)


def reference(pesq: float, kbps: float, note: str) -> dict[str, Any]:
    return {
        "pesq": metric(pesq, "MOS-LQO"),
        "stoi": metric(0.9),
        "file_kbps": metric(kbps, "kb/s"),
        "payload_kbps": metric(kbps - 0.5, "kb/s"),
        "note": note,
    }


def evaluation(pesq: float) -> dict[str, Any]:
    metrics = {
        "pesq": metric(pesq, "MOS-LQO"),
        "stoi": metric(0.91),
        "file_kbps": metric(5.9, "kb/s"),
        "latency": {**metric(20, "ms"), "low": None, "high": None},
    }
    names = [f"clip-{k}" for k in range(6)]
    others = {"opus-6": (2.2, 6.1), "opus-9": (2.9, 8.0), "codec2-3200": (1.4, 3.2)}
    gaps = {name: metric(pesq - value, "MOS-LQO") for name, (value, _) in others.items()}
    return {
        "kind": "audio", "split": "test", "weights": "ema", "precision": "float32",
        "sample_rate": RATE, "seconds": 6.0, "metrics": metrics,
        "references": {name: reference(*pair, f"command of {name}")
                       for name, pair in others.items()},
        "differences": {name: {"pesq": gap, "stoi": metric(0.01)} for name, gap in gaps.items()},
        "rate_quality": [{"levels": 4, "file_kbps": metric(2.0), "pesq": metric(1.5),
                          "stoi": metric(0.8)}, {"levels": 12, **metrics}],
        "codes": {"levels": [{"usage": 1.0, "perplexity": 2.0, "entropy_bits": 1.0,
                              "dead_codes": 0, "counts": [3, 3]}]},
        "failures": {}, "left_out": {"speex": "speexenc not found: install the package speex"},
        "remarks": ["No ladder here."],
        "samples": {"index": list(range(6)), "name": names, "group": list("aabbcc"),
                    "digest": names, "seconds": [1.0] * 6,
                    "pesq": [pesq + 0.1 * k for k in range(6)], "stoi": [0.9] * 6},
    }  # fmt: skip


def build_run(path: Path, *, pesq: float = 2.5, clips: int = 2) -> RunFolder:
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.recipe.write_text("name: tiny\ndata: {kind: audio}\n")
    folder.write_json(folder.run, {"state": "finished", "parameters": 1_600_000})
    folder.write_json(folder.data, {"kind": "audio", "count": 6})
    folder.write_json(folder.evaluation, evaluation(pesq))
    folder.reconstructions.mkdir()
    samples = []
    for k in range(clips):
        files = {column: f"{k:02d}_{column}.wav" for column in COLUMNS}
        for place, file in enumerate(files.values()):
            data = wav_bytes(wave(k) * (1 - 0.1 * place), RATE)
            (folder.reconstructions / file).write_bytes(data)
        values = {"reconstruction": pesq, "opus-6": None}
        samples.append({"name": f"clip-{k}", "digest": f"clip-{k}", "seconds": 1.0,
                        "pesq": values, "files": files})  # fmt: skip
    index = {"kind": "audio", "columns": list(COLUMNS), "selection": "2 of 6", "samples": samples}
    folder.write_json(folder.reconstructions / "index.json", index)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return build_run(tmp_path / "run")


def page_of(folder: RunFolder) -> str:
    return render(folder).read_text(encoding="utf-8")


def test_the_verdict_names_the_rates_that_tell(run: RunFolder) -> None:
    page = page_of(run)
    heading = re.search(r"<h1>(.*?)</h1>", page)
    assert heading is not None
    assert heading[1] == (
        "Better than Opus at 6.1 kb/s and Codec2 at 3.2 kb/s; not as good as Opus at 8.0 kb/s."
    )
    assert "PESQ 2.50" in page
    assert "at 5.90 kb/s of files" in page
    assert "install the package speex" in page
    assert "No ladder here." in page


def test_the_parts_are_those_of_waveforms(run: RunFolder) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page_of(run))
    assert titles == ["Listen", "Rate and quality", "Key numbers", "Training curves", "Codes",
                      "Data", "Recipe", "Environment"]  # fmt: skip


def test_every_clip_can_be_heard_to_the_last_bit(run: RunFolder) -> None:
    import soundfile

    page = page_of(run)
    players = re.findall(r'<audio controls[^>]*src="data:audio/flac;base64,([^"]+)"', page)
    assert len(players) == 2 * len(COLUMNS)
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(players[1])), dtype="int16")
    assert rate == RATE
    assert (heard == to_int16(wave(0) * 0.9)).all()
    assert "media-src data:" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_without_soundfile_the_player_is_a_wav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    uri = audio_uri(wave(0), RATE)
    assert uri.startswith("data:audio/wav;base64,")
    assert base64.b64decode(uri.partition(",")[2]) == wav_bytes(wave(0), RATE)


def test_rates_and_qualities_are_drawn_for_the_run_and_each_codec(run: RunFolder) -> None:
    page = page_of(run)
    chart = re.search(r'<svg[^>]*aria-label="PESQ over bits".*?</svg>', page)
    assert chart is not None
    assert re.findall(r'data-name="([^"]+)"', chart[0]) == ["this run", "Opus", "Codec2"]
    assert chart[0].count("<circle") == 2 + 2 + 1
    assert "command of opus-6" in page


def test_a_lost_clip_leaves_a_gap_and_no_foreign_file_is_read(run: RunFolder) -> None:
    (run.reconstructions / "00_reconstruction.wav").unlink()
    secret = run.path.parent / "secret.wav"
    secret.write_bytes(wav_bytes(wave(9), RATE))
    index = run.read_json(run.reconstructions / "index.json")
    index["samples"][1]["files"]["opus-6"] = "../../secret.wav"
    run.write_json(run.reconstructions / "index.json", index)
    page = page_of(run)
    assert page.count("not in this run") == 2
    assert page.count("<audio") == 4


def test_a_run_that_was_not_evaluated_says_how(run: RunFolder) -> None:
    run.evaluation.unlink()
    (run.reconstructions / "index.json").unlink()
    page = page_of(run)
    assert "Trained, not evaluated yet." in page
    assert f"pellucid evaluate {run.path}" in page


def test_two_runs_are_heard_side_by_side(tmp_path: Path) -> None:
    folders = [build_run(tmp_path / name, pesq=p) for name, p in (("a", 2.5), ("b", 2.9))]
    nodes = [(f.path.name, f.read_json(f.evaluation)) for f in folders]
    comparison = compare(nodes).to_json()
    page = render_comparison(folders, comparison, tmp_path / "c.html").read_text()
    assert "b reconstructs best." in page
    assert "Difference in PESQ: b − a: +0.4" in page
    assert page.count("<audio") == 2 * 3


def test_a_tone_lights_its_own_row() -> None:
    t = np.arange(RATE) / RATE
    spectrum_HW = log_spectrum(np.sin(2 * np.pi * 2000 * t).astype(np.float32), RATE)
    rows = spectrum_HW[:, 20:-20].argmax(axis=0)
    assert np.abs(rows - spectrum_HW.shape[0] * 3 / 4).max() <= 2  # a quarter of the way up


def test_the_excerpt_is_the_loudest_stretch() -> None:
    x = np.zeros(10 * RATE)
    x[6 * RATE : 7 * RATE] = 0.5
    where = excerpt(x, RATE, 2.0)
    assert where.stop - where.start == 2 * RATE
    assert where.start <= 6 * RATE
    assert where.stop >= 7 * RATE
    assert excerpt(x[:RATE], RATE, 2.0) == slice(0, RATE)


def test_samples_come_back_as_written(run: RunFolder) -> None:
    samples, rate = read_samples(run.reconstructions / "00_original.wav")
    assert rate == RATE
    assert (to_int16(samples) == to_int16(wave(0))).all()
