"""Gradient shares: closed forms on a linear decoder, and no side effects."""

import math

import pytest
import torch
from torch import nn

from pellucid.objectives import L1, L2, Objective, Weighted, gradient_shares
from pellucid.records import Penalty


def forward(weights=(1.0, 1.0), penalty_weight=0.5):
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(6, 4), nn.Linear(4, 6)
    x = torch.randn(8, 6)
    h = encoder(x)
    x_hat = decoder(h)
    penalties = {"kl": Penalty(h.square().mean(), penalty_weight, "nats per sample")}
    objective = Objective({"l1": Weighted(L1(), weights[0]), "l2": Weighted(L2(), weights[1])})
    return encoder, decoder, x, h, x_hat, objective(x_hat, x, penalties)


def test_norms_are_those_of_the_closed_form():
    _, decoder, x, h, x_hat, output = forward(weights=(2.0, 0.5))
    shares = gradient_shares(output, x_hat, h)
    difference = (x_hat - x).detach()
    at_output = {"l1": 2 * difference.sign() / 48, "l2": 0.5 * 2 * difference / 48}
    at_latent = {name: g @ decoder.weight.detach() for name, g in at_output.items()}
    at_latent["kl"] = 0.5 * 2 * h.detach() / 32
    for name, gradient in at_output.items():
        assert shares[name].norm_at_output == pytest.approx(gradient.norm().item(), rel=1e-5)
    total = sum(at_latent.values())
    norms = {name: g.norm().item() for name, g in at_latent.items()}
    for name, gradient in at_latent.items():
        share = shares[name]
        assert share.norm_at_latent == pytest.approx(norms[name], rel=1e-5)
        assert share.at_latent == pytest.approx(norms[name] / sum(norms.values()), rel=1e-5)
        cosine = torch.cosine_similarity(gradient.flatten(), total.flatten(), dim=0).item()
        assert share.cosine_at_latent == pytest.approx(cosine, abs=1e-5)


def test_shares_sum_to_one_and_penalties_do_not_pull_at_the_output():
    *_, h, x_hat, output = forward()
    shares = gradient_shares(output, x_hat, h)
    assert sum(share.at_output for share in shares.values()) == pytest.approx(1)
    assert sum(share.at_latent for share in shares.values()) == pytest.approx(1)
    assert shares["kl"].at_output == shares["kl"].norm_at_output == 0
    assert shares["kl"].at_latent > 0


def test_opposing_terms_have_opposite_cosines():
    h = torch.ones(1, 4, requires_grad=True)
    x_hat = h * 1.0
    penalties = {"shrink": Penalty(h.sum(), 0.1, "sum")}
    output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, torch.full((1, 4), 3.0), penalties)
    shares = gradient_shares(output, x_hat, h)
    assert shares["l1"].cosine_at_latent == pytest.approx(1)
    assert shares["shrink"].cosine_at_latent == pytest.approx(-1)


def test_leaves_parameters_and_the_graph_alone():
    encoder, decoder, _, h, x_hat, output = forward()
    gradient_shares(output, x_hat, h)
    assert all(p.grad is None for m in (encoder, decoder) for p in m.parameters())
    output.total.backward()
    with_shares = [p.grad.clone() for m in (encoder, decoder) for p in m.parameters()]
    encoder, decoder, _, _, _, output = forward()
    output.total.backward()
    without = [p.grad for m in (encoder, decoder) for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(with_shares, without, strict=True))


def test_observed_terms_and_equal_images_pull_with_zero():
    *_, h, x_hat, output = forward(weights=(0.0, 1.0), penalty_weight=0.0)
    shares = gradient_shares(output, x_hat, h)
    assert shares["l1"].at_latent == shares["kl"].at_latent == 0
    assert shares["l2"].at_latent == shares["l2"].at_output == 1
    h = torch.rand(2, 3, requires_grad=True)
    x_hat = h * 1.0
    output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x_hat.detach())
    share = gradient_shares(output, x_hat, h)["l1"]
    assert (share.at_output, share.cosine_at_output) == (0, 0)
    assert math.isfinite(share.at_latent)


def test_a_frozen_encoder_still_shows_the_output():
    x_hat = torch.rand(2, 3, requires_grad=True)
    output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, torch.rand(2, 3))
    share = gradient_shares(output, x_hat, torch.rand(2, 3))["l1"]
    assert share.at_output == 1
    assert share.at_latent == 0
