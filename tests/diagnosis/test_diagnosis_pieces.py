"""Laws of the small pieces: confidence, clock, latents of foreign encoders, samples, records."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from pellucid.diagnosis import Diagnosis, Evidence, Finding, NotTested, Rung, Subject, as_subject
from pellucid.diagnosis.catalogue import ROWS
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.diagnose import adjusted, parse_goal
from pellucid.diagnosis.evidence import Bar, Confirmation
from pellucid.diagnosis.latents import as_latent, as_output
from pellucid.diagnosis.probes.codes import kmeans, perplexity
from pellucid.diagnosis.ranking import fold
from pellucid.diagnosis.rules.broken_filterbank import shape_of
from pellucid.diagnosis.samples import read_samples
from pellucid.diagnosis.thresholds import Threshold, thresholds
from pellucid.errors import DataError, PellucidError
from pellucid.records import Latent


@given(st.floats(-50, 50), st.floats(-50, 50), st.sampled_from(["above", "below"]))
def test_confidence_rises_towards_the_asserting_side(a, b, side):
    threshold = Threshold(1.0, 0.5, side, "dB", "default", "test")
    low, high = sorted((a, b))
    if side == "below":
        low, high = high, low
    assert threshold.confidence(low) <= threshold.confidence(high) <= 0.99


def test_confidence_is_half_at_the_threshold_and_nine_tenths_one_scale_beyond():
    plain = Threshold(2.0, 0.5, "above", "dB", "default", "test")
    ratio = Threshold(2.0, 3.0, "below", "1", "default", "test", ratio=True)
    assert plain.confidence(2.0) == pytest.approx(0.5, abs=1e-6)
    assert plain.confidence(2.5) == pytest.approx(0.9, abs=0.02)
    assert ratio.confidence(2.0 / 3) == pytest.approx(0.9, abs=0.02)
    assert plain.confidence(math.nan) == 0.0


def test_every_threshold_belongs_to_a_row_and_has_a_provenance():
    ids = {row.id for row in ROWS}
    for name, threshold in thresholds().items():
        assert name.partition(".")[0] in ids, name
        assert threshold.source
    assert len(ids) == len(ROWS)
    explained = {i for row in ROWS for i in row.explains}
    assert not any(row.id in row.explains for row in ROWS)
    assert explained <= ids, "rows that are promised but not written yet"


def test_a_clock_counts_down_and_shares():
    now = iter([0.0, 1.0, 1.0, 4.0, 20.0]).__next__
    clock = Clock(10, now)
    assert clock.left == 9
    assert clock.left == 9
    assert clock.has(6)
    assert clock.out


x = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("answer", "logvar", "codes"),
    [
        (x, False, False),
        ((x, x), True, False),
        ((x, torch.zeros(2, 3, dtype=torch.long), x.sum()), False, True),
        (torch.distributions.Normal(x, x + 1), True, False),
        (SimpleNamespace(latent_dist=SimpleNamespace(mean=x, logvar=x)), True, False),
        ({"embedding": x, "log_covariance": x}, True, False),
        (SimpleNamespace(latents=x), False, False),
        (Latent(mean=x, logvar=x), True, False),
    ],
)
def test_what_foreign_encoders_return_is_understood(answer, logvar, codes):
    latent = as_latent(answer)
    assert latent.mean.shape == (2, 3)
    assert (latent.logvar is not None) == logvar
    assert (latent.codes is not None) == codes


def test_a_distributions_variance_is_its_own():
    latent = as_latent(torch.distributions.Normal(x, x + 3))
    assert latent.logvar is not None
    assert torch.allclose(latent.logvar, torch.full_like(x, 2 * math.log(3)))


@pytest.mark.parametrize("answer", [None, 3, (), (x, x, x), "z"])
def test_what_cannot_be_understood_is_refused_in_words(answer):
    with pytest.raises(PellucidError, match="cannot read what encode returned"):
        as_latent(answer)


def test_reconstructions_are_found_in_tuples_and_records():
    like = torch.zeros(2, 1, 4)
    assert as_output((torch.zeros(2, 9), like), like) is like
    assert as_output(SimpleNamespace(sample=like), like) is like
    with pytest.raises(PellucidError, match="cannot find a reconstruction"):
        as_output({"loss": 3}, like)


def clock() -> Clock:
    return Clock(5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: TensorDataset(x),
        lambda x: DataLoader(TensorDataset(x), batch_size=3),
        lambda x: [{"x": part, "label": 0} for part in x.split(4)],
        lambda x: (part for part in x.split(5)),
    ],
)
def test_all_kinds_of_data_give_the_same_samples(wrap):
    x = torch.randn(10, 1, 4)
    assert torch.equal(read_samples(wrap(x), where="train", clock=clock()).x, x)


def test_reading_is_bounded_even_for_a_source_without_end():
    def endless():
        while True:
            yield torch.randn(8, 1, 4)

    assert len(read_samples(endless(), where="train", clock=clock(), limit=50)) == 50


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 1, 4), "no samples"),
        ([], "no samples"),
        (torch.ones(8, 1, 4), "all samples are the same"),
        (torch.full((8, 1, 4), math.nan), "NaN or infinity"),
        (torch.randn(2, 1, 4), "too few samples"),
        ([{"y": torch.randn(4, 1, 4)}], "must hold 'x'"),
        ([torch.randn(4, 1, 4), torch.randn(4, 1, 5)], "different shapes"),
        (3, "cannot read samples"),
    ],
)
def test_bad_data_is_refused_in_words(data, message):
    with pytest.raises(DataError, match=message):
        read_samples(data, where="train", clock=clock())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encode": 3, "decode": abs}, "'encode' must be a function"),
        ({"encode": abs, "decode": abs, "kl_weight": -1}, "cannot be negative"),
        ({"encode": abs, "decode": abs, "value_range": (1, 0)}, "must rise"),
        ({"encode": abs, "decode": abs, "codebook": torch.zeros(3)}, "codebook is a matrix"),
        ({"encode": abs, "decode": abs, "modules": {"encoder": abs}}, "must be torch modules"),
    ],
)
def test_a_subject_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(PellucidError, match=message):
        Subject(**arguments)


def test_an_object_without_decode_is_refused():
    with pytest.raises(PellucidError, match="no decode"):
        as_subject(SimpleNamespace(encode=abs))


@pytest.mark.parametrize(
    ("text", "goal"), [("psnr>40", ("psnr", 40)), (" SNR >= 30.5 dB", ("snr", 30.5))]
)
def test_goals_are_read(text, goal):
    assert parse_goal(text) == goal


def test_a_misspelt_goal_is_refused():
    with pytest.raises(PellucidError, match="cannot read the goal"):
        parse_goal("ssim>1")


def finding(id_: str, confidence: float) -> Finding:
    return Finding(
        id_, confidence, 1.0, "dB", "text <b>", (Evidence("a", math.nan, "1", "0"),), "fix", ("x",)
    )


def test_consequences_are_folded_under_their_cause_and_causes_ranked_by_precedence():
    ranked = fold(
        [
            finding("under-training", 0.9),
            finding("overfitting", 0.95),
            finding("colour-drift", 0.9),
            finding("range-mismatch", 0.6),
            finding("dc-offset", 0.3),
        ]
    )
    assert [f.id for f in ranked if f.asserted] == ["range-mismatch", "overfitting"]
    assert set(ranked[0].consequences) == {"under-training", "colour-drift"}
    assert [f.id for f in ranked[-1:]] == ["dc-offset"]


def test_a_diagnosis_survives_json_and_html_with_odd_numbers():
    diagnosis = Diagnosis(
        (finding("range-mismatch", 0.9),),
        (NotTested("blur", "time"),),
        ("range-mismatch",),
        (Rung("R0", "other", 1.0, -math.inf, 3, "n"), Rung("model", "m", 1.0, 3.0, 3, "n")),
        (Bar("units", 2.0, "dB", "n"), Bar("rate", -1.0, "dB", "n")),
        (),
        "PSNR",
        3,
        0.1,
    )
    node = json.loads(diagnosis.to_json())
    assert node["schema"] == 2
    assert node["healthy"] is False
    assert node["findings"][0]["evidence"][0]["value"] is None
    page = diagnosis.to_html()
    assert "text &lt;b&gt;" in page
    assert "<script" not in page
    assert "http" not in page
    assert "range-mismatch" in str(diagnosis)


def test_under_training_leaves_a_model_healthy():
    base = ((), (), (), (), "PSNR", 3, 0.1)
    assert Diagnosis((finding("under-training", 0.9),), (), (), *base[1:]).healthy


@pytest.mark.parametrize(("verdict", "sign"), [("confirmed", 1), ("refuted", -1), ("undecided", 0)])
def test_interventions_move_confidence_the_right_way(verdict, sign):
    proof = Confirmation("i", "p", Evidence("e", 1, "1", "0"), verdict)
    change = adjusted(0.6, proof) - 0.6
    assert (change > 0.1, change < -0.1) == (sign > 0, sign < 0)


@given(st.integers(2, 12))
def test_kmeans_never_does_worse_than_one_vector_and_uses_what_it_has(k):
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(k))
    book, index = kmeans(points, k)
    assert (points - book[index]).square().mean() < (points - points.mean(0)).square().mean()
    assert 1 <= perplexity(torch.bincount(index, minlength=k).double()) <= k + 1e-6


def test_a_filterbank_is_told_from_random_numbers():
    bins, centres = torch.arange(129.0), torch.linspace(2, 126, 20)
    triangles = (1 - (bins - centres[:, None]).abs() / 7).clamp_min(0)
    assert min(shape_of(triangles.double())) > 0.9
    assert shape_of(torch.rand(20, 129, dtype=torch.float64))[1] < 0.2
