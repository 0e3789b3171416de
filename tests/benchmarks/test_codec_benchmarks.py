"""The codec benchmarks' pure parts: tables, curves, matching of sizes, measured latency."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("codec_speed", "codec_training", "codec_quality", "entropy_coding", "results")
NODES = {
    "encoder": {"kind": "seanet", "strides": [2, 5], "width": 4, "channels": 6},
    "bottleneck": {"kind": "rvq", "levels": 2, "codes": 8, "init": "normal"},
    "decoder": {"kind": "seanet", "strides": [2, 5], "width": 4},
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield {name: __import__(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


def number(value: float, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high}


def test_speed_is_told_against_real_time_and_the_same_round(scripts: dict[str, ModuleType]) -> None:
    found = {
        "times": {"ours": [(0.02, 0.03)] * 3, "encodec": [(0.1, 0.1)] * 3, "dac": [(1, 1)] * 3},
        "parameters": {"ours": 2_000_000, "encodec": 14_900_000, "dac": 74_000_000},
        "streaming": {"1": [2.0] * 20, "4": [5.0] * 20},
        "frame_ms": 20.0,
        "latency_ms": 20.0,
        "torch": "2",
    }
    text = scripts["codec_speed"].table(found, "tiny", 3)
    assert "| tiny | 2.00 M | 20.0 ms/s | 30.0 ms/s | 20.0× |" in text
    assert "**4.0×** (4.0 … 4.0)" in text
    assert "**40.0×**" in text
    assert "chunks of 80 ms take 5.00 ms (95 %: 5.00), 16.0× real time" in text


@pytest.mark.parametrize("causal", [True, False])
def test_latency_is_measured_by_changing_the_future(scripts, causal: bool) -> None:
    nodes = {name: {**node} for name, node in NODES.items()}
    for side in ("encoder", "decoder"):
        nodes[side]["causal"] = causal
    torch.manual_seed(0)
    with torch.no_grad():
        found = scripts["codec_speed"].latency(scripts["codec_speed"].build_ours(nodes))
    assert (found == 10) is causal
    assert found >= 10


def test_sizes_are_matched_among_shapes_like_dacs_own(scripts) -> None:
    training = scripts["codec_training"]
    encoder, decoder = training.matched(2_000_000, lambda e, d: 100 * e * d)
    assert decoder / encoder == pytest.approx(24, rel=0.11)
    assert 100 * encoder * decoder == pytest.approx(2_000_000, rel=0.2)
    with pytest.raises(SystemExit, match="no strides"):
        training.strides_of(7)


def test_a_training_table_says_who_is_faster(scripts) -> None:
    found = {
        "times": {"ours": [1.0, 1.0], "ours in bf16": [0.5, 0.5], "DAC": [2.0, 3.0]},
        "parameters": dict.fromkeys(("ours", "ours in bf16", "DAC"), 2_000_000),
        "memory": {"ours": 100.0, "ours in bf16": 90.0, "DAC": 200.0},
        "torch": "2",
    }
    text = scripts["codec_training"].table(found, "tiny", 8)
    assert "| ours | 2.00 M | 1.00 s | 1.00 | **2.50×** (2.00 … 3.00) | 100 MiB |" in text
    assert "| DAC | 2.00 M | 2.50 s | 0.40 |  | 200 MiB |" in text


def test_entropy_coding_is_counted_in_bytes_of_codes_and_of_files(scripts) -> None:
    entropy = scripts["entropy_coding"]
    one = entropy.Sizes(12, 10.0, 7564, 7500, 6814, 6750, clips=2, chosen=2)
    assert one.saving == pytest.approx(0.1)
    assert one.overhead == 32
    text = entropy.table([one], 2)
    assert "| 12 | 6.05 kb/s | 5.45 kb/s | **10.0 %** | 2 of 2 | 32.0 |" in text


def test_the_learning_curve_keeps_both_ends(scripts) -> None:
    quality = scripts["codec_quality"]
    lines = [
        {"split": "train", "step": 1, "seconds": 1.0, "values": {}},
        *(
            {
                "split": "validation",
                "step": 100 * n,
                "seconds": 360.0 * n,
                "values": {"snr": 0.1 * n, "terms.log-mel.value": 1 / n},
            }
            for n in range(1, 42)
        ),
    ]
    curve = quality.learning_curve(lines, points=5)
    assert [steps for steps, *_ in curve] == [100, 1100, 2100, 3100, 4100]
    text = "\n".join(quality.curve_table(curve))
    assert text.startswith("| steps | 100 | 1100 |")
    assert "| hours | 0.10 | 1.10 |" in text
    assert "| SNR, dB | 0.10 |" in text


def test_quality_is_tabled_with_paired_differences(scripts) -> None:
    metrics = {"file_kbps": number(5.9), "pesq": number(2.5, 2.4, 2.6), "stoi": number(0.91)}
    found = {
        "metrics": metrics,
        "references": {"opus-6": {**metrics, "note": "…"}},
        "differences": {"opus-6": {"pesq": number(0.3, 0.1, 0.5), "stoi": number(-0.01)}},
        "failures": {"pesq": {"a": "silent"}},
        "samples": {"index": [0, 1]},
        "seconds": 20.0,
        "step": 100,
    }
    text = scripts["codec_quality"].section(found, [], "python x")
    assert "| **this run** | 5.90 | 2.50 (2.40 … 2.60) | 0.910 |" in text
    assert "| opus-6 | +0.300 (+0.100 … +0.500) | -0.010 |" in text
    assert "1 measurements failed" in text
