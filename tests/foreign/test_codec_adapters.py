"""EnCodec, DAC and SNAC through their adapters, in the environment of `make_environment.py`.

Without that environment this file is not collected: nothing is skipped and nothing claimed.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".bench" / "foreign" / "venv" / "bin" / "python"
STRIDES = {"snac": 128, "snac-noise": 128}


@pytest.fixture(scope="module", params=["encodec", "encodec-normalized", "dac", "snac"])
def measured(request) -> dict:
    return {"name": request.param, **measure(request.param)}


def measure(name: str) -> dict:
    answer = subprocess.run(
        [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("codecs.py")), name],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout.splitlines()[-1])


def test_codes_are_the_packages_own_levels_last(measured):
    assert measured["codes_equal"]
    assert measured["levels"] == ([4, 4] if measured["name"].startswith("encodec") else [3, 3])


def test_codebooks_add_up_to_the_quantised_latent(measured):
    assert measured["sum_of_codebooks"] < 1e-4


def test_decode_of_encode_is_the_packages_forward(measured):
    assert measured["decode_against_forward"] < 1e-5
    assert len(set(measured["lengths"])) == 1


def test_sample_rate_is_the_models(measured):
    assert measured["sample_rate"] == 8000


def test_crops_between_frames_are_refused_with_the_nearest_length(measured):
    hop = STRIDES.get(measured["name"], 32)
    assert f"multiple of {hop}" in measured["refusal"]
    assert f"crop to {507 // hop * hop}" in measured["refusal"]


def test_diagnosis_runs_through(measured):
    assert not measured["survived"]
    assert {"misalignment", "random-decoder", "straight-through-gain"} <= set(measured["tested"])
    assert not {"random-decoder", "path-mismatch", "straight-through-gain"} & set(
        measured["asserted"]
    )


def test_a_decoder_that_adds_noise_is_seen():
    """Noise blocks with random weights drown the signal; trained ones are far quieter."""
    assert "random-decoder" in measure("snac-noise")["asserted"]
