"""One contract for every permuter, and what each is exact about."""

import itertools
import math

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.dihedral import ORDER, turned
from pellucid.nn.graph.encoder import patches
from pellucid.nn.permuters import PERMUTERS, Dihedral, Learned, Off, Oracle

CASES = {
    "off": [{}],
    "dihedral": [{"side": 3}],
    "oracle": [{"side": 3}],
    "learned": [{"side": 3}, {"side": 3, "over": "nodes"}],
}
EVERY = [(name, keywords) for name, cases in CASES.items() for keywords in cases]


def build(name, keywords):
    torch.manual_seed(0)
    given = {} if name == "off" else {"channels": 2}
    return PERMUTERS[name](**given, **keywords).eval()


def moved(x, group, seed=0):
    """Every way (or some) in which the group can move a batch of 3 × 3 patches of 2 pixels."""
    if group == "dihedral":
        return [turned(x, g) for g in range(ORDER)]
    if group == "nodes":
        generator = torch.Generator().manual_seed(seed)
        parts = (
            x.unflatten(-1, (3, 2)).unflatten(-3, (3, 2)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        )
        orders = [torch.randperm(9, generator=generator) for _ in range(6)]
        return [
            parts[:, order].unflatten(1, (3, 3)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
            for order in orders
        ]
    return [x]


def test_every_member_has_a_case():
    assert set(CASES) == set(PERMUTERS)


@pytest.mark.parametrize(("name", "keywords"), EVERY)
def test_restoring_undoes_arranging(name, keywords):
    permuter = build(name, keywords)
    x = torch.randn(5, 2, 6, 6)
    arranged = permuter(x)
    back = arranged.x if arranged.pose is None else permuter.restore(arranged.x, arranged.pose)
    assert torch.equal(back, x)


@pytest.mark.parametrize(("name", "keywords"), EVERY)
def test_all_that_the_group_can_do_to_a_tile_is_undone(name, keywords):
    permuter = build(name, keywords)
    x = torch.randn(6, 2, 6, 6)
    expected = permuter(x).x
    for other in moved(x, permuter.group):
        assert torch.equal(permuter(other).x, expected)


@pytest.mark.parametrize(("name", "keywords"), EVERY)
def test_a_canonical_tile_stays(name, keywords):
    permuter = build(name, keywords)
    canonical = permuter(torch.randn(6, 2, 6, 6)).x
    assert torch.equal(permuter(canonical).x, canonical)


@pytest.mark.parametrize(("name", "keywords"), EVERY)
def test_weights_and_choice_survive_a_file(name, keywords):
    permuter = build(name, keywords)
    x = torch.randn(4, 2, 6, 6)
    torch.manual_seed(7)
    given = {} if name == "off" else {"channels": 2}
    other = PERMUTERS[name](**given, **keywords).eval()
    other.load_state_dict(permuter.state_dict())
    assert torch.equal(other(x).x, permuter(x).x)


def test_dihedral_is_the_minimum_over_all_eight():
    permuter = build("dihedral", {"side": 3})
    x = torch.randn(7, 2, 6, 6)

    def distance(tile):
        means = torch.nn.functional.avg_pool2d(tile, 2)
        return (means - permuter.template.mean).square().sum((1, 2, 3))

    every = torch.stack([distance(turned(x, g)) for g in range(ORDER)])
    torch.testing.assert_close(distance(permuter(x).x), every.amin(0))


def test_oracle_is_the_minimum_over_all_orders():
    torch.manual_seed(0)
    permuter = Oracle(channels=2, side=2).eval()
    x = torch.randn(3, 2, 4, 4)
    nodes = patches(x, 2).unflatten(2, (2, 4)).mean(-1)  # B, N, C
    slots = permuter.template.mean.flatten(1).T
    every = [list(p) for p in itertools.permutations(range(4))]
    best = torch.stack([(nodes[:, p] - slots).square().sum((1, 2)) for p in every]).amin(0)
    means = torch.nn.functional.avg_pool2d(permuter(x).x, 2)
    torch.testing.assert_close(
        (means - permuter.template.mean).square().sum((1, 2, 3)), best, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", [Dihedral, Oracle])
def test_the_template_follows_what_it_matched_in_train_mode_only(kind):
    torch.manual_seed(0)
    permuter = kind(channels=2, side=3, decay=0.9)
    x = torch.randn(8, 2, 6, 6)
    before = permuter.template.mean.clone()
    permuter.eval()(x)
    assert torch.equal(permuter.template.mean, before)
    permuter.train()
    canonical = torch.nn.functional.avg_pool2d(permuter(x).x, 2).mean(0)
    torch.testing.assert_close(permuter.template.mean, 0.9 * before + 0.1 * canonical)
    # generalised Procrustes: matching to the mean of what was matched never moves away from it
    distances = []
    for _ in range(60):
        means = torch.nn.functional.avg_pool2d(permuter(x).x, 2)
        distances.append((means - permuter.template.mean).square().sum().item())
    assert distances[-1] < 0.8 * distances[0]


@pytest.mark.parametrize("over", ["dihedral", "nodes"])
def test_the_learned_choice_hardens_as_it_cools_and_gets_a_gradient(over):
    torch.manual_seed(0)
    permuter = Learned(
        channels=2, side=3, over=over, temperature=2.0, final_temperature=0.01, anneal_steps=100
    )
    x = torch.randn(6, 2, 6, 6)
    warm = permuter(x)
    warm.x.square().sum().backward()  # hard in value …
    assert torch.equal(warm.x.detach().sort().values, warm.x.sort().values)
    target = torch.randn_like(x)
    (permuter(x).x * target).sum().backward()  # … soft in gradient
    assert all(p.grad.abs().sum() > 0 for n, p in permuter.named_parameters() if "bias" not in n)
    permuter.at_step(50)
    assert permuter.temperature_now.item() == pytest.approx(math.sqrt(2.0 * 0.01))
    permuter.at_step(100)
    cold = permuter(x)
    assert cold.metrics["entropy"] < 0.5 * warm.metrics["entropy"]
    assert cold.metrics["soft_hard_gap"] < warm.metrics["soft_hard_gap"]
    assert torch.equal(cold.x, warm.x)  # the choice itself does not ask for the temperature


def test_soft_weights_mix_what_hard_ones_choose():
    permuter = build("learned", {"side": 3})
    x = torch.randn(4, 2, 6, 6)
    hard = permuter(x).x
    permuter.soft = True
    soft = permuter(x)
    torch.testing.assert_close(soft.pose.sum(1), torch.ones(4))
    assert soft.x.square().mean() < hard.square().mean()


def test_bits_count_the_group():
    assert Off().pose_bits == 0
    assert build("dihedral", {"side": 3}).pose_bits == 3
    assert build("oracle", {"side": 3}).pose_bits == pytest.approx(math.log2(math.factorial(9)))


def test_one_learned_step_towards_a_lower_loss_is_possible():
    """The straight-through gradient of a linear loss points where the chosen weights should go."""
    torch.manual_seed(0)
    permuter = Learned(channels=2, side=3, temperature=1.0, final_temperature=1.0)
    optimizer = torch.optim.Adam(permuter.parameters(), lr=0.1)
    x = torch.randn(32, 2, 6, 6)
    target = torch.linspace(-1, 1, 6).expand(1, 2, 6, 6)  # brighter to the right
    losses = []
    for _ in range(25):
        loss = (permuter(x).x - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    exact = torch.stack([(turned(x, g) - target).square().mean((1, 2, 3)) for g in range(ORDER)])
    assert losses[-1] - exact.amin(0).mean() < 0.5 * (losses[0] - exact.amin(0).mean())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dihedral(channels=0),
        lambda: Oracle(channels=2, side=1),
        lambda: Dihedral(channels=2, decay=1.5),
        lambda: Learned(channels=2, over="rotations"),
        lambda: Learned(channels=2, temperature=0.1, final_temperature=1.0),
        lambda: Learned(channels=2, entropy_weight=-1.0),
        lambda: build("dihedral", {"side": 3})(torch.zeros(1, 2, 6, 8)),
        lambda: build("oracle", {"side": 3})(torch.zeros(1, 2, 8, 8)),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make):
    with pytest.raises(PellucidError):
        make()
