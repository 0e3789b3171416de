"""From the sections `adversary` and `balancer` of a recipe to live objects."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pellucid.build.adversary import build_adversary
from pellucid.build.assemble import build_objective
from pellucid.errors import RecipeError
from pellucid.nn.discriminators import PeriodDiscriminator, SpectralDiscriminator
from pellucid.recipe import Recipe, apply_overrides, dump_yaml, load_recipe, parse_yaml

PERIOD = {"periods": [2, 3], "width": 4}
SPECTRAL = {"windows": [512, 256], "width": 4}


def speech(**sections: Any) -> Recipe:
    node = {
        "name": "tiny",
        "data": {"kind": "audio", "path": "clips", "length": 4000},
        "encoder": {"kind": "seanet"},
        "bottleneck": {"kind": "rvq"},
        "decoder": {"kind": "seanet"},
        "objective": {"l1": {"weight": 1.0}, "log-mel": {"weight": 2.0}},
    }
    return Recipe.from_node(node | sections)


def asking(discriminators: Any, **keywords: Any) -> Recipe:
    return speech(adversary={"discriminators": discriminators, **keywords})


def test_without_the_section_there_is_none_and_the_recipe_stays_as_written():
    recipe = load_recipe("patch-vq")
    assert build_adversary(recipe) is None
    assert build_objective(recipe).balancer is None
    assert not {"adversary", "balancer"} & set(recipe.to_node())


def test_discriminators_and_settings_come_from_the_section():
    recipe = asking({"period": PERIOD, "spectral": SPECTRAL}, weight=3.0, start_step=50, updates=2,
                    period=3, loss="least-squares", betas=[0.5, 0.9])  # fmt: skip
    adversary = build_adversary(recipe)
    assert adversary is not None
    parts = list(adversary.discriminator.parts)
    assert [type(part) for part in parts] == [PeriodDiscriminator, SpectralDiscriminator]
    assert parts[0].periods == (2, 3)
    assert (adversary.weight, adversary.start_step, adversary.loss) == (3.0, 50, "least-squares")
    assert adversary.betas == (0.5, 0.9)
    assert Recipe.from_node(parse_yaml(dump_yaml(recipe.to_node()))) == recipe


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn():
    before = torch.get_rng_state()
    one, two = (build_adversary(asking({"period": PERIOD})) for _ in range(2))
    other = build_adversary(apply_overrides(asking({"period": PERIOD}), ["seed=1"]))
    assert torch.equal(before, torch.get_rng_state())
    assert one is not None
    assert two is not None
    assert other is not None
    ours, same, others = (a.discriminator.state_dict() for a in (one, two, other))
    assert all(torch.equal(ours[name], same[name]) for name in ours)
    assert any(not torch.equal(ours[name], others[name]) for name in ours)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"perod": {}}, "did you mean 'period'"),
        ({"patch": {}}, "a discriminator for images"),
        ({"period": {"widht": 3}}, "did you mean 'width'"),
        ({"period": 3}, "holds keywords"),
        ({"spectral": {"windows": [16384]}}, "cannot judge a crop of this size"),
        ({}, "needs discriminators"),
        (None, "needs discriminators"),
    ],
)
def test_wrong_discriminators_are_refused(node, message):
    with pytest.raises(RecipeError, match=message):
        build_adversary(asking(node))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"wieght": 1.0}, "did you mean 'weight'"),
        ({"loss": "wasserstein"}, "adversary.loss"),
        ({"updates": 5}, "'updates' has no meaning"),
        ({"discriminator": 1}, "follows from the other components"),
    ],
)
def test_wrong_settings_are_refused(keywords, message):
    with pytest.raises(RecipeError, match=message):
        build_adversary(asking({"period": PERIOD}, **keywords))


def test_the_balancer_knows_the_terms_and_those_of_the_adversary():
    plain = build_objective(speech(balancer={"decay": 0.99}))
    assert plain.balancer is not None
    assert plain.balancer.names == ("l1", "log-mel")
    assert plain.balancer.decay == 0.99
    recipe = apply_overrides(asking({"period": PERIOD}), sections={"balancer": {}})
    played = build_objective(recipe)
    assert played.balancer is not None
    assert played.balancer.names == ("l1", "log-mel", "adversarial", "features")
    with pytest.raises(RecipeError, match="did you mean 'decay'"):
        build_objective(speech(balancer={"decai": 0.9}))


def test_an_override_can_change_and_remove_the_adversary():
    recipe = asking({"period": PERIOD})
    changed = build_adversary(apply_overrides(recipe, ["adversary.weight=0.5"]))
    assert changed is not None
    assert changed.weight == 0.5
    assert build_adversary(apply_overrides(recipe, ["adversary=null"])) is None


def test_a_balancer_and_an_adaptive_weight_exclude_each_other():
    recipe = asking({"period": PERIOD}, adaptive=10.0)
    assert build_adversary(recipe).adaptive == 10.0
    with pytest.raises(RecipeError, match="either a balancer or adaptive"):
        build_adversary(apply_overrides(recipe, sections={"balancer": {}}))
    with pytest.raises(RecipeError, match="adaptive"):
        build_adversary(asking({"period": PERIOD}, adaptive=0.0))
