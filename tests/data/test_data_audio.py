"""Clips: read by stated rules, split by speaker, cropped as a pure function of (seed, epoch)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pellucid.data import AudioData
from pellucid.data.addressing import sample_generator
from pellucid.data.audio import inspect_audio, is_audio
from pellucid.data.audio.clipping import clipped_share
from pellucid.data.audio.clips import open_clips
from pellucid.data.audio.loudness import active_level_db, gain_to
from pellucid.data.audio.reading import UnreadableClip, read_recording, resample
from pellucid.errors import DataError

RATE = 8000


def voice(seconds: float = 1.0, seed: int = 0, rate: int = RATE, level: float = 0.1) -> np.ndarray:
    """A gliding harmonic tone, different for every seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 220)
    x = sum(np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6)) / k for k in range(1, 8))
    return (level * x / np.sqrt(np.mean(x**2))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clips")
    for n in range(10):
        level = 0.02 * 1.5**n if n < 6 else 0.1
        soundfile.write(place / f"clip_{n}.wav", voice(0.6 + 0.05 * n, n, level=level), RATE)
    return place


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of every kind that goes wrong, and two that are fine."""
    place = tmp_path_factory.mktemp("messy")
    soundfile.write(place / "good.wav", voice(1.0, 1), RATE)
    stereo = np.stack([voice(1.0, 2, 16000), voice(1.0, 3, 16000)], axis=1)
    soundfile.write(place / "stereo.flac", stereo, 16000)
    soundfile.write(place / "silent.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write(place / "short.wav", voice(0.1, 4), RATE)
    loud = np.clip(8 * voice(1.0, 5), -0.9, 0.9)
    soundfile.write(place / "clipped.wav", loud, RATE)
    (place / "broken.wav").write_bytes(b"RIFF not a wave")
    soundfile.write(place / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    (place / "notes.txt").write_text("not audio")
    return place


def data(folder: Path, **changes) -> AudioData:
    keywords = {"sample_rate": RATE, "length": 4000, "test": 0.2, "validation": 0.2}
    return AudioData(path=str(folder), **{**keywords, **changes})


def test_every_sample_is_a_crop_at_the_target_loudness(folder: Path) -> None:
    d = data(folder, gain_db=0.0, random_crop=False)
    batch = d.train.batch(list(range(len(d.train))))
    assert batch["x"].shape == (len(d.train), 1, 4000)
    assert batch["x"].dtype == torch.float32
    level = 10 * batch["x"].square().mean((1, 2)).log10()
    assert (level + 25).abs().max() < 1.0  # clips of 0.02 … 0.15 all come to −25 dB


def test_without_a_target_clips_stay_as_they_are(folder: Path) -> None:
    d = data(folder, gain_db=0.0, random_crop=False, loudness_db=None, train_crops=1)
    clip = d.train.clips[0]
    raw = soundfile.read(folder / clip.name, dtype="float32")[0]
    start = int(d.train.places[0, 1])
    np.testing.assert_array_equal(d.train[0]["x"][0].numpy(), raw[start : start + 4000])


def test_samples_are_a_pure_function_of_seed_epoch_and_index(folder: Path) -> None:
    one, other = data(folder), data(folder)
    assert torch.equal(one.train[3, 5]["x"], other.train[3, 5]["x"])
    assert not torch.equal(one.train[3, 5]["x"], one.train[3, 6]["x"])
    assert not torch.equal(one.train[3, 5]["x"], data(folder, seed=1).train[3, 5]["x"])
    together = one.train.batch([(2, 1), (3, 5)])["x"][1]
    assert torch.equal(together, one.train[3, 5]["x"])
    assert torch.equal(one.validation[0, 0]["x"], one.validation[0, 9]["x"])


def test_random_gain_stays_within_its_bounds(folder: Path) -> None:
    d = data(folder, gain_db=6.0, random_crop=False)
    plain = data(folder, gain_db=0.0, random_crop=False)
    gains = [
        float((d.train[0, e]["x"].norm() / plain.train[0, e]["x"].norm()).log10() * 20)
        for e in range(60)
    ]
    assert max(map(abs, gains)) <= 6.0 + 1e-4
    assert max(gains) > 3
    assert min(gains) < -3


def test_quiet_places_are_avoided(tmp_path: Path) -> None:
    for n in range(5):
        half = np.concatenate([np.zeros(8000, np.float32), voice(1.0, n)])
        soundfile.write(tmp_path / f"{n}.wav", half, RATE)
    d = data(tmp_path, quiet_db=20.0, gain_db=0.0, length=2000)
    addresses = [(n % len(d.train), n) for n in range(100)]
    first_draws = [sample_generator(d.seed, *a).random() for a in addresses]
    blind = np.mean([draw * 14001 < 6000 for draw in first_draws])
    careful = np.mean([float(d.train[a]["x"].square().mean()) < 1e-9 for a in addresses])
    assert blind > 0.3
    assert careful < 0.1  # all four draws must fall into the silent half


def test_a_cache_of_nothing_changes_nothing(folder: Path) -> None:
    held, read = data(folder), data(folder, cache_megabytes=0)
    assert torch.equal(held.train[1, 2]["x"], read.train[1, 2]["x"])


def test_whole_clips_keep_their_length_and_gain(folder: Path) -> None:
    d = data(folder)
    clip, x = d.test.whole(0)
    raw = soundfile.read(folder / clip.name, dtype="float32")[0]
    assert x.shape == (1, len(raw))
    np.testing.assert_allclose(x[0].numpy() / 10 ** (clip.gain_db / 20), raw, atol=1e-6)


def test_speakers_are_never_divided(tmp_path: Path) -> None:
    lines = ["file,speaker"]
    for n in range(24):
        soundfile.write(tmp_path / f"{n}.wav", voice(0.6, n), RATE)
        lines.append(f"{n}.wav,s{n % 8}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    d = data(tmp_path)
    parts = [{clip.group for clip in split.clips} for split in (d.train, d.validation, d.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 8
    assert d.report.grouped_by == "speaker"
    again = data(tmp_path, splits=json.loads(json.dumps(d.splits)))
    assert [c.name for c in again.test.clips] == [c.name for c in d.test.clips]


def test_copies_share_a_split(tmp_path: Path) -> None:
    for n in range(12):
        soundfile.write(tmp_path / f"{n}.wav", voice(0.6, n // 2), RATE)
    d = data(tmp_path)
    held = {c.name for c in (*d.test.clips, *d.validation.clips)}
    pairs = [(f"{2 * n}.wav" in held, f"{2 * n + 1}.wav" in held) for n in range(6)]
    assert all(a == b for a, b in pairs)
    assert d.report.duplicates == 6


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_manifests_of_every_kind(tmp_path: Path, suffix: str) -> None:
    inside = tmp_path / "deep"
    inside.mkdir()
    rows = [{"clip": f"c{n}", "speaker": f"s{n}"} for n in range(4)]
    for n in range(4):
        soundfile.write(inside / f"c{n}.flac", voice(0.6, n), RATE)
    manifest = tmp_path / f"list{suffix}"
    if suffix == ".jsonl":
        manifest.write_text("\n".join(map(json.dumps, rows)))
    else:
        mark = "," if suffix == ".csv" else "\t"
        text = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
        manifest.write_text("\n".join(text))
    clips = open_clips(manifest)
    assert clips.names == ("c0", "c1", "c2", "c3")
    assert all(path.is_file() for path in clips.paths)  # found by name below the manifest
    assert clips.grouped_by == "speaker"
    assert open_clips(tmp_path).names == clips.names  # the folder is read through it


def test_one_speaker_is_split_by_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", voice(), RATE)
    (tmp_path / "m.csv").write_text("file,speaker\na.wav,one\n")
    assert open_clips(tmp_path).grouped_by == "file"
    assert open_clips(tmp_path, "speaker").grouped_by == "speaker"


def test_what_is_broken_is_counted_and_named(messy: Path) -> None:
    report = inspect_audio(messy, sample_rate=RATE, shortest_seconds=0.5)
    assert report.count == 3
    reasons = {reason: entry["count"] for reason, entry in report.skipped.items()}
    assert reasons == {"silent": 1, "too short": 1, "broken": 1, "not finite": 1}
    assert report.clipped["count"] == 1
    assert "clipped.wav" in report.clipped["examples"][0]
    assert report.notes["mean of 2 channels"] == 1
    assert report.notes["resampled from 16000 Hz"] == 1
    assert report.ignored == {".txt": 1}
    json.dumps(report.to_json())


def test_strict_names_the_first_clip_that_cannot_be_used(messy: Path) -> None:
    with pytest.raises(DataError, match=r"broken\.wav"):
        data(messy, strict=True)


def test_resampling_keeps_a_tone_and_its_length() -> None:
    t = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    down = resample(tone, 16000, 8000)
    assert len(down) == 8000
    expected = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(down - expected)[200:-200].max() < 1e-3


def test_stereo_becomes_its_mean(messy: Path) -> None:
    recording = read_recording(messy / "stereo.flac", 16000)
    raw = soundfile.read(messy / "stereo.flac", dtype="float32")[0]
    np.testing.assert_allclose(recording.samples_T, raw.mean(1), atol=1e-7)
    with pytest.raises(UnreadableClip) as caught:
        read_recording(messy / "absent.wav", 16000)
    assert caught.value.reason == "missing"


def test_pauses_do_not_count_as_loudness() -> None:
    x = voice(1.0, 0, level=0.1)
    with_pause = np.concatenate([x, np.zeros(3 * RATE, np.float32)])
    assert active_level_db(x, RATE) == pytest.approx(-20, abs=0.3)
    assert active_level_db(with_pause, RATE) == pytest.approx(-20, abs=0.3)
    assert gain_to(-20.0, -25.0) == -5.0
    assert gain_to(-90.0, -25.0) == 40.0
    assert gain_to(float("-inf"), -25.0) == 0.0
    assert gain_to(-20.0, None) == 0.0


def test_flat_peaks_are_clipping_and_round_ones_are_not() -> None:
    x = voice(1.0, 0, level=0.3)
    assert clipped_share(x) < 1e-3
    assert clipped_share(np.clip(x, -0.3, 0.3)) > 0.05


def test_clipping_is_seen_through_resampling(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.clip(10 * voice(), -1, 1), RATE)
    assert read_recording(tmp_path / "x.wav", 2 * RATE).clipped > 0.05


def test_kinds_of_sources_are_told_apart(messy: Path, tmp_path: Path) -> None:
    assert is_audio(messy)
    assert is_audio(messy / "good.wav")
    (tmp_path / "a.png").write_bytes(b"")
    assert not is_audio(tmp_path)
    assert not is_audio(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: AudioData(), "no clips"),
        (lambda p: data(p, length=10**7), "too short"),
        (lambda p: data(p, length=0), "length"),
        (lambda p: data(p, gain_db=-1.0), "gain_db"),
        (lambda p: data(p / "absent"), "no such file"),
        (lambda p: data(p, group="speaker"), "does not name speakers"),
        (lambda p: open_clips(__file__), "not an audio file"),
    ],
)
def test_bad_input_is_refused_in_words(folder: Path, make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(folder)


def test_a_manifest_without_places_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("pat,speaker\nx,1\n")
    with pytest.raises(DataError, match="columns pat, speaker"):
        open_clips(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("path\na.wav\na.wav\n")
    with pytest.raises(DataError, match="twice"):
        open_clips(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("")
    with pytest.raises(DataError, match="no clips"):
        open_clips(tmp_path / "m.csv")
