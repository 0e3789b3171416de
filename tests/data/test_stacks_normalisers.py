"""Normalisers: inverse(forward(x)) = x, fitted on what they are given alone, saved and loaded."""

from __future__ import annotations

import pytest
import torch

from pellucid.build.stacks import build_normaliser
from pellucid.data.stacks.normalisers import NORMALISERS, Chain, PerSample
from pellucid.errors import DataError, RecipeError, RunError

NAMES = ("a", "b", "c", "d")


def counts(n: int = 400, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rate = torch.tensor([0.05, 1.0, 20.0, 300.0]).expand(n, 4)
    return torch.poisson(rate, generator=generator)


CHAINS = {
    "none": [],
    "arcsinh": [{"kind": "arcsinh", "cofactor": 5.0}],
    "log1p": [{"kind": "log1p"}],
    "clip": [{"kind": "clip", "low": 0, "high": 100}],
    "unit": [{"kind": "clip", "low": 0, "high": 100, "to_unit": True}],
    "zscore": [{"kind": "zscore"}],
    "whiten": [{"kind": "whiten"}],
    "usual": [{"kind": "arcsinh"}, {"kind": "zscore"}],
    "clipped": [{"kind": "clip", "high": 100}, {"kind": "log1p"}, {"kind": "zscore"}],
    "mixed": [{"kind": "arcsinh"}, {"kind": "zscore"}, {"kind": "whiten"}],
    "levelled": [{"kind": "per-sample", "level": "mean"}, {"kind": "arcsinh"}],
}


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_inverse_undoes_forward_on_pixels_cells_and_tiles(name):
    chain = build_normaliser(CHAINS[name]).fit(counts(), NAMES)
    x_NC = counts(seed=1)[:64].minimum(counts().max(0).values)  # within what was seen: no clipping
    for x in (x_NC, x_NC.T.reshape(4, 8, 8)[None].repeat(2, 1, 1, 1)):
        if name == "levelled" and x.ndim == 2:
            continue  # a pixel is no sample
        y, scale = chain.forward(x)
        assert y.shape == x.shape
        torch.testing.assert_close(chain.inverse(y, scale), x, rtol=1e-3, atol=2e-3)


def test_every_kind_has_a_chain_here():
    assert {node["kind"] for nodes in CHAINS.values() for node in nodes} == set(NORMALISERS)


def test_zscore_and_whitening_are_what_they_say():
    x = counts()
    z, _ = build_normaliser([{"kind": "zscore"}]).fit(x, NAMES).forward(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    y, _ = build_normaliser([{"kind": "whiten", "epsilon": 0.0}]).fit(x, NAMES).forward(x)
    torch.testing.assert_close(y.T @ y / len(y), torch.eye(4), atol=1e-3, rtol=0)


def test_a_constant_channel_is_centred_and_comes_back():
    x = counts()
    x[:, 1] = 7
    chain = build_normaliser(None).fit(x, NAMES)
    y, _ = chain.forward(x)
    assert (y[:, 1].abs() < 1e-6).all()
    torch.testing.assert_close(chain.inverse(y), x, rtol=1e-3, atol=1e-3)


def test_clipping_a_channel_sparser_than_the_percentile_does_not_erase_it():
    x = torch.zeros(1000, 1)
    x[:3] = 5
    chain = build_normaliser([{"kind": "clip", "high": 99}]).fit(x, ["rare"])
    assert chain.forward(x)[0].max() == 5


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_what_was_saved_normalises_alike_and_says_what_it_is(name, tmp_path):
    chain = build_normaliser(CHAINS[name]).fit(counts(), NAMES)
    chain.save(tmp_path / "n.safetensors")
    again = Chain.load(tmp_path / "n.safetensors")
    x = counts(seed=2)[:9].T.reshape(1, 4, 3, 3)
    torch.testing.assert_close(again.forward(x)[0], chain.forward(x)[0])
    assert again.channels == NAMES
    assert again.describe() == chain.describe()


def test_per_sample_scales_travel_or_nothing_comes_back():
    chain = build_normaliser(CHAINS["levelled"]).fit(counts(), NAMES)
    x = counts()[:32].T.reshape(1, 4, 4, 8)
    y, scale = chain.forward(torch.cat([x, 10 * x]))
    assert scale is not None
    torch.testing.assert_close(y[0, 2], y[1, 2])  # the level is gone from what the model sees …
    torch.testing.assert_close(scale[1, 2], 10 * scale[0, 2])  # … and kept beside it
    with pytest.raises(DataError, match="scale of each sample is needed"):
        chain.inverse(y)


def test_markers_are_what_is_left_when_mixing_is_undone():
    chain = build_normaliser(CHAINS["mixed"]).fit(counts(), NAMES)
    plain = build_normaliser(CHAINS["usual"]).fit(counts(), NAMES)
    x = counts(seed=3)
    torch.testing.assert_close(
        chain.to_markers(chain.forward(x)[0]), plain.forward(x)[0], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([{"kind": "asinh"}], "did you mean 'arcsinh'"),
        ([{"kind": "arcsinh", "cofactor": -1.0}], "cofactor is positive"),
        ([{"kind": "clip", "low": 99, "high": 1}], "percentiles rise"),
        ({"kind": "zscore"}, "a list"),
        ([{"kind": "per-sample"}, {"kind": "per-sample"}], "at most works per sample"),
    ],
)
def test_wrong_steps_are_recipe_errors(nodes, said):
    with pytest.raises(RecipeError, match=said):
        build_normaliser(nodes)


def test_log1p_refuses_negative_counts():
    with pytest.raises(DataError, match="for counts"):
        build_normaliser([{"kind": "log1p"}]).fit(-counts(), NAMES)


def test_a_damaged_file_is_a_run_error(tmp_path):
    (tmp_path / "n.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="no normaliser"):
        Chain.load(tmp_path / "n.safetensors")


def test_levels_are_those_of_the_sample():
    x = torch.arange(100.0).view(1, 1, 10, 10)
    assert PerSample(level="mean").measure(x)[0, 0] == pytest.approx(49.5)
    assert PerSample(level="std").measure(x)[0, 0] == pytest.approx(float(x.std(correction=0)))
