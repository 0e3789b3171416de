"""The mutant bench: arithmetic, cache, calibration, and that it covers the catalogue."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from benchmarks.faults import bases as listing
from benchmarks.faults import cache, calibrate
from benchmarks.faults.contract import CALIBRATION_SEEDS, TEST_SEEDS, Base, Trained
from benchmarks.faults.examine import black_box
from benchmarks.faults.score import Outcome, Said, score
from benchmarks.faults.table import section, verdict

from pellucid.diagnosis import Subject
from pellucid.diagnosis.catalogue import ROWS
from pellucid.diagnosis.thresholds import Threshold, recorded, thresholds

IDS = frozenset(
    [
        "unpaired-evaluation",
        "metric-range",
        "range-mismatch",
        "channel-order",
        "output-saturation",
        "channel-scale-imbalance",
        "level-spread",
        "perceptual-misfed",
        "broken-filterbank",
        "random-decoder",
        "unreachable-target",
        "frozen-module",
        "inert-loss",
        "codebook-ownership",
        "straight-through-gain",
        "path-mismatch",
        "latent-bypass",
        "nan-or-overflow",
        "spectral-nan",
        "logvar-blow-up",
        "posterior-variance-floor",
        "under-training",
        "capacity-limit",
        "posterior-collapse",
        "rate-starvation",
        "reduction-mismatch",
        "free-bits-floor",
        "prior-hole",
        "codebook-collapse",
        "codebook-too-small",
        "commitment-drift",
        "post-hoc-gap",
        "blur",
        "learning-rate",
        "loss-imbalance",
        "discriminator-dominates",
        "gan-gradient-leak",
        "batchnorm-gap",
        "stale-ema",
        "overfitting",
        "split-leak",
        "checkerboard",
        "tile-seams",
        "colour-drift",
        "dc-offset",
        "amplitude-shrinkage",
        "misalignment",
        "metallic-artefacts",
        "permutation-variance",
        "unattainable-target",
    ]
)
"""The fault catalogue."""


def outcome(**changes) -> Outcome:
    plain = Outcome("m", "mutant", "images", 101, ("blur",), sick=True, seconds=2.0)
    return dataclasses.replace(plain, **changes)


def test_the_catalogue_here_is_the_one_that_is_diagnosed():
    assert {row.id for row in ROWS} <= IDS


def test_a_planted_fault_counts_only_when_asserted_among_the_first_five():
    others = tuple(Said(f"other-{i}", 0.9) for i in range(5))
    assert outcome(findings=(Said("blur", 0.5),)).hits == 1
    assert outcome(findings=(Said("blur", 0.49),)).hits == 0
    assert outcome(findings=(*others[:4], Said("blur", 0.6))).hits == 1
    assert outcome(findings=(*others, Said("blur", 0.9))).hits == 0


def test_a_double_fault_counts_twice_and_consequences_count_for_it():
    double = outcome(kind="double", expects=("range-mismatch", "blur"))
    folded = dataclasses.replace(double, findings=(Said("range-mismatch", 0.9, ("blur",)),))
    reversed_ = dataclasses.replace(
        double, findings=(Said("blur", 0.9), Said("range-mismatch", 0.8))
    )
    assert (folded.hits, folded.planted, folded.first) == (2, 2, True)
    assert (reversed_.hits, reversed_.first) == (2, False)
    assert outcome(findings=(Said("range-mismatch", 0.9, ("blur",)),)).hits == 0


def test_the_score_of_hand_made_outcomes():
    counted = score(
        [
            outcome(findings=(Said("blur", 0.9),)),
            outcome(findings=(Said("overfitting", 0.9), Said("blur", 0.8)), seconds=6.0),
            outcome(findings=(Said("posterior-collapse", 0.7),), forbidden=("posterior-collapse",)),
            outcome(error="ValueError: no", sick=False, seconds=0.0),
            outcome(sick=False),
            outcome(kind="control", expects=(), findings=(Said("blur", 0.4),)),
            outcome(kind="control", expects=(), findings=(Said("blur", 0.6),)),
            outcome(
                kind="control",
                expects=("under-training",),
                allowed=("under-training",),
                findings=(Said("under-training", 0.8),),
            ),
        ]
    )
    assert (counted.recall.hits, counted.recall.of) == (2, 4)
    assert (counted.first_rank.hits, counted.first_rank.of) == (1, 4)
    assert (counted.false_alarms.hits, counted.false_alarms.of) == (1, 3)
    assert (counted.confusions.hits, counted.confusions.of) == (1, 1)
    assert (counted.beside.hits, counted.declared.hits, counted.declared.of) == (2, 1, 1)
    assert (counted.not_sick, counted.errors) == (1, 1)
    assert (counted.median_seconds, counted.max_seconds) == (2.0, 6.0)


def test_the_section_names_every_miss_and_every_row():
    missed = outcome(name="digits/soft", findings=(Said("overfitting", 0.9),), proof="3 dB lost")
    text = section([missed, outcome(findings=(Said("blur", 0.9),))], "By hand.")
    assert verdict(missed) == "MISSED"
    assert "digits/soft" in text
    assert "3 dB lost" in text
    assert re.search(r"`blur`.*\| 2 \| 1 \| 1 \| overfitting \|", text)


def build(seed: int) -> Trained:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    return Trained(model, torch.zeros(4, 3), torch.zeros(2, 3), 1e-3, {"kl_weight": 0.5})


def test_a_base_is_trained_once_and_comes_back_alike(tmp_path):
    trained = []

    def train(seed: int) -> Trained:
        trained.append(seed)
        built = build(seed)
        with torch.no_grad():
            built.model[0].weight.mul_(3)
        built.model(torch.randn(8, 3))  # moves the running statistics
        return built

    base = Base("tiny", "images", train, build)
    first, second = (cache.trained(base, 101, tmp_path) for _ in range(2))
    assert trained == [101]
    assert not second.model.training
    assert second.facts == first.facts
    for a, b in zip(
        first.model.state_dict().values(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    cache.trained(base, 102, tmp_path)
    assert trained == [101, 102]
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_the_cache_forgets_when_source_or_torch_changes(monkeypatch):
    base = listing.bases()["cifar-vae"]
    assert base.build is not None
    used = cache._sources([base.build.__module__])
    assert {"benchmarks.faults.images.networks", "benchmarks.faults.data"} <= used
    before = cache.key(base)
    assert before == cache.key(base)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert cache.key(base) != before


def test_every_fault_of_the_catalogue_is_planted_somewhere():
    planted = {m.expects[0] for m in listing.mutants().values()}
    assert planted >= IDS, sorted(IDS - planted)


def test_mutants_and_controls_are_well_declared():
    mutants, controls = listing.mutants().values(), listing.controls().values()
    for m in mutants:
        assert {*m.expects, *m.forbidden, *m.plants} <= IDS, m.name
        assert m.base in listing.bases(), m.name
        assert not set(m.expects) & set(m.forbidden), m.name
        assert not m.plants or set(m.plants) <= set(m.expects), m.name
    for c in controls:
        assert {*c.may_assert, *c.must_assert} <= IDS, c.name
    assert not listing.mutants().keys() & listing.controls().keys()
    assert len(controls) >= 14
    assert sum(bool(m.plants) for m in mutants) >= 6
    assert {listing.bases()[m.base].family for m in mutants} == set(listing.families())
    for family in listing.families():
        assert any(c.quick for c in controls if c.family == family), family


def test_seeds_for_calibration_and_test_are_disjoint_and_one_per_base():
    assert not set(CALIBRATION_SEEDS) & set(TEST_SEEDS)
    assert {listing.seed_for("a", TEST_SEEDS, r) for r in range(3)} == set(TEST_SEEDS)
    assert listing.seed_for("a", TEST_SEEDS) == listing.seed_for("a", TEST_SEEDS)


def test_a_black_box_keeps_only_encode_decode_and_the_range():
    module = torch.nn.Linear(2, 2)
    subject = Subject(
        module, module, modules={"m": module}, kl_weight=1.0, value_range=(-1, 1), history=[1]
    )
    bare = black_box(subject)
    assert bare.value_range == (-1, 1)
    assert bare.kl_weight is None
    assert bare.history is None
    assert not bare.modules


def test_numbers_held_against_thresholds_are_recorded_inside_the_block_only():
    name = "overfitting.gap_db"
    with recorded() as record:
        thresholds()[name].confidence(3.5)
    thresholds()[name].confidence(4.5)
    assert record == [(name, 3.5)]


def known(**changes) -> Threshold:
    plain = Threshold(2.0, 1.0, "above", "dB", "default", "first guess")
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_threshold_moves_into_the_gap_between_healthy_and_sick(sign):
    both = calibrate.Sides(
        [sign * x / 10 for x in range(10)], [sign * x for x in (9.0, 10.0, 11.0)]
    )
    moved = calibrate.calibrated(
        known(value=sign * 0.2, scale=3.0, asserts="above" if sign > 0 else "below"), both
    )
    assert moved is not None
    assert moved.provenance == "calibrated"
    assert abs(moved.value) == pytest.approx(0.9 + 8.1 / 4, rel=0.01)
    assert all(moved.confidence(x) < 0.2 for x in both.healthy)
    assert all(moved.confidence(x) > 0.9 for x in both.sick)


def test_a_threshold_inside_the_gap_stays_and_one_without_a_gap_is_left_alone():
    apart = calibrate.Sides([0.0] * 8, [4.0] * 3)
    assert calibrate.calibrated(known(), apart).value == 2.0
    assert calibrate.calibrated(known(), calibrate.Sides([0.0] * 7 + [5.0], [4.0] * 3)) is None
    assert calibrate.calibrated(known(), calibrate.Sides([0.0] * 7, [4.0] * 3)) is None
    ratio = calibrate.calibrated(
        known(value=1.0, scale=2.0, ratio=True), calibrate.Sides([1e-3] * 8, [1e3] * 3)
    )
    assert ratio.value == pytest.approx(1.0)
    assert ratio.confidence(1e-3) < 0.1


def test_controls_alone_push_a_threshold_half_a_scale_away_and_keep_a_far_one():
    near = calibrate.calibrated(known(value=2.0, scale=1.0), calibrate.Sides([1.8] * 8))
    assert near.value == pytest.approx(2.3)
    far = calibrate.calibrated(known(value=2.0, scale=1.0), calibrate.Sides([0.1] * 8))
    assert (far.value, far.provenance) == (2.0, "calibrated")
    assert calibrate.calibrated(known(value=2.0, scale=1.0), calibrate.Sides([2.5] * 8)) is None


def test_no_calibration_moves_a_threshold_by_more_than_its_scale_or_past_theory():
    wide = calibrate.Sides([10.0] * 8, [90.0] * 3)
    assert calibrate.calibrated(known(value=2.0, scale=1.0), wide).value == 3.0
    assert calibrate.calibrated(known(value=2.0, scale=1.0, high=2.5), wide).value == 2.5


def test_only_the_planted_row_and_controls_speak_for_a_threshold():
    name = "overfitting.gap_db"
    found = calibrate.sides(
        [
            outcome(expects=("overfitting",), measured=((name, 3.0), (name, 5.0))),
            outcome(expects=("blur",), measured=((name, 7.0),)),
            outcome(expects=("overfitting",), sick=False, measured=((name, 9.0),)),
            outcome(kind="control", expects=(), measured=((name, 0.5), (name, float("nan")))),
        ]
    )
    assert found[name] == calibrate.Sides([0.5], [5.0])


def test_calibrated_thresholds_are_written_as_data_and_read_back(tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text(calibrate.FILE.read_text(encoding="utf-8"), encoding="utf-8")
    name = "overfitting.gap_db"
    changed = dataclasses.replace(thresholds()[name], value=2.5, provenance="calibrated")
    calibrate.write({name: changed}, path)
    before, after = (json.loads(p.read_text(encoding="utf-8")) for p in (calibrate.FILE, path))
    assert Threshold(**after["thresholds"].pop(name)) == changed
    before["thresholds"].pop(name)
    assert after == before


def test_calibration_refuses_outcomes_of_test_seeds(tmp_path, capsys):
    path: Path = tmp_path / "outcomes.json"
    path.write_text(json.dumps([dataclasses.asdict(outcome())]), encoding="utf-8")
    assert calibrate.main(["--read", str(path)]) == 2
    assert "101" in capsys.readouterr().out
