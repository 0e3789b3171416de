"""Lyra v2 from its own networks: bits, lengths, a fresh start for every clip; refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import DataError, PellucidError
from pellucid.evaluation.audio_beside import settings_of
from pellucid.metrics.speech_quality import stoi
from pellucid.references.audio_codecs import CodecSetting, code_waveform, missing_programs
from pellucid.references.lyra import Lyra
from pellucid.workflows.evaluate import _codecs

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"
NETWORKS = DATASETS / "weights" / "lyra_v2"
needs_networks = pytest.mark.skipif(not NETWORKS.is_dir(), reason="Lyra's networks are not here")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    import soundfile

    clips = sorted((DATASETS / "librispeech").rglob("*.flac"))
    if not clips:
        pytest.skip("the LibriSpeech excerpt is not here")
    return soundfile.read(clips[5], dtype="float32")[0][8000:40_000]


@needs_networks
def test_a_clip_comes_back_at_the_stated_bits_whatever_was_coded_before(speech) -> None:
    setting = CodecSetting("lyra", 6.0, str(NETWORKS))
    first = code_waveform(speech[:31_777], 16_000, setting)
    assert first.x_hat_T.shape == (31_777,)
    assert first.file_bits == first.payload_bits == 100 * 120  # 100 frames of 20 ms
    assert stoi(first.x_hat_T.astype(float), speech[:31_777].astype(float)) > 0.8
    again = code_waveform(speech[:31_777], 16_000, setting)
    np.testing.assert_array_equal(again.x_hat_T, first.x_hat_T)


@needs_networks
def test_other_rates_are_refused(speech) -> None:
    with pytest.raises(PellucidError, match="does not have this rate"):
        code_waveform(speech, 16_000, CodecSetting("lyra", 7.0, str(NETWORKS)))
    with pytest.raises(PellucidError, match="sample rate"):
        code_waveform(speech, 24_000, CodecSetting("lyra", 6.0, str(NETWORKS)))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no soundstream_encoder\.tflite"):
        Lyra(tmp_path)
    for name in ("soundstream_encoder", "quantizer", "lyragan"):
        (tmp_path / f"{name}.tflite").write_bytes(b"no network at all, though long enough")
    with pytest.raises(DataError, match="no networks of Lyra"):
        Lyra(tmp_path)


def test_lyra_is_asked_for_with_its_folder() -> None:
    assert _codecs(["opus", "lyra=/w"]) == {"codecs": ["opus", "lyra"], "lyra": "/w"}
    assert not missing_programs(["lyra"])
    settings = settings_of(["lyra"], (6.0,), "/w")
    assert [s.name for s in settings] == ["lyra-3.2", "lyra-6", "lyra-9.2"]
    assert settings_of(["lyra"], (6.0,)) == []
