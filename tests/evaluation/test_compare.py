"""Comparisons pair what is the same and say so when it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from evaluation_parts import RANGE, Pictures, pca_autoencoder, pictures

from pellucid.errors import RunError
from pellucid.evaluation.compare import compare
from pellucid.evaluation.evaluate import evaluate

TRAIN, HELD_OUT = pictures(60), pictures(24, seed=1)


def evaluated(numbers: int, held_out: torch.Tensor = HELD_OUT, **options: Any) -> dict[str, Any]:
    found = evaluate(
        pca_autoencoder(TRAIN, numbers=numbers),
        Pictures(TRAIN),
        Pictures(held_out),
        value_range=RANGE,
        codecs=(),
        resamples=50,
        **options,
    )
    return json.loads(json.dumps(found.to_json()))


def test_the_same_samples_are_paired_whatever_their_order() -> None:
    small, large = evaluated(4), evaluated(8, HELD_OUT.flip(0))
    comparison = compare([("small", small), ("large", large)])
    found = {difference.metric: difference for difference in comparison.differences}
    psnr = found["psnr"]
    assert psnr.paired
    gain = large["metrics"]["psnr"]["value"] - small["metrics"]["psnr"]["value"]
    assert psnr.value.value == pytest.approx(gain, abs=1e-5)
    assert psnr.value.low is not None
    assert psnr.value.low > 0
    widths = [
        node["metrics"]["psnr"]["high"] - node["metrics"]["psnr"]["low"] for node in (small, large)
    ]
    assert psnr.value.high - psnr.value.low < min(widths)  # pairing removes the spread of images
    assert not found["sharpness"].paired
    assert found["sharpness"].value.low is None


def test_a_run_equals_itself() -> None:
    node = evaluated(4)
    comparison = compare([("a", node), ("b", node)])
    assert all(difference.value.value == 0 for difference in comparison.differences)
    assert comparison.warnings == ()


def test_other_samples_are_not_paired_and_said_so() -> None:
    comparison = compare([("a", evaluated(4)), ("b", evaluated(4, HELD_OUT[:20]))])
    assert not any(difference.paired for difference in comparison.differences)
    assert comparison.differences[0].value.low is None
    assert "unpaired" in comparison.differences[0].value.convention
    assert any("same held-out samples" in warning for warning in comparison.warnings)


def test_copies_of_one_picture_are_paired_one_to_one() -> None:
    doubled = torch.cat([HELD_OUT[:6], HELD_OUT[:6]])
    comparison = compare([("a", evaluated(4, doubled)), ("b", evaluated(8, doubled))])
    assert comparison.differences[0].paired
    assert comparison.differences[0].value.n == 12
    half = compare([("a", evaluated(4, doubled)), ("b", evaluated(8, HELD_OUT[:6]))])
    assert not half.differences[0].paired


def test_what_makes_numbers_less_comparable_is_named() -> None:
    a, b = evaluated(4, weights="EMA"), evaluated(8, weights="raw", split="validation")
    warnings = " ".join(compare([("a", a), ("b", b)]).warnings)
    assert "weights differs: b raw, a EMA" in warnings
    assert "split differs" in warnings
    assert "different bits" in warnings


def test_three_runs_are_each_set_against_the_first() -> None:
    nodes = [(name, evaluated(n)) for name, n in (("a", 4), ("b", 6), ("c", 8))]
    node = compare(nodes).to_json()
    assert json.loads(json.dumps(node)) == node
    assert node["runs"] == ["a", "b", "c"]
    assert {d["run"] for d in node["differences"]} == {"b", "c"}
    assert {d["baseline"] for d in node["differences"]} == {"a"}
    assert set(node["metrics"]["psnr"]) == {"a", "b", "c"}


def test_a_metric_that_one_run_lacks_is_left_open() -> None:
    a, b = evaluated(4), evaluated(4)
    del b["metrics"]["ssim"]
    comparison = compare([("a", a), ("b", b)])
    assert comparison.metrics["ssim"]["b"] is None
    assert "ssim" not in {difference.metric for difference in comparison.differences}


def test_bad_comparisons_are_refused() -> None:
    node = evaluated(4)
    with pytest.raises(RunError, match="two or more"):
        compare([("a", node)])
    with pytest.raises(RunError, match="different names"):
        compare([("a", node), ("a", node)])
    with pytest.raises(RunError, match="not evaluated"):
        compare([("a", node), ("b", {})])
