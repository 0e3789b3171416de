"""Every treatment is a patch that builds, changes something, and is what its finding asks for."""

import inspect

import pytest

from pellucid.build.assemble import build_autoencoder, build_objective, data_facts
from pellucid.build.construct import check_keywords
from pellucid.build.stacks import needs_settling, settled
from pellucid.diagnosis.catalogue import ROWS
from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import apply_overrides, load_recipe, recipe_names
from pellucid.training.fit import fit
from pellucid.workflows.treatments import TREATMENTS, apply_patch, propose
from pellucid.workflows.treatments.change import changes
from pellucid.workflows.treatments.continuation import how_to_start
from pellucid.workflows.treatments.standing import has, standing

# what a recipe must look like for a finding to have a patch; {} where the shipped one will do
SICK: dict[str, tuple[str, list[str], dict]] = {
    "range-mismatch": ("mnist-vae", ["decoder.head=tanh", "data.value_range=[0,255]"], {}),
    "output-saturation": ("mnist-vae", ["decoder.head=clamp"], {}),
    "metric-range": ("mnist-vae", ["data.value_range=[0,255]"], {}),
    "rate-starvation": ("mnist-vae", ["bottleneck.weight=1e-3"], {"kl_weight": 1.2e-5}),
    "posterior-collapse": ("mnist-vae", ["bottleneck.weight=0.1"], {"kl_weight": 1.2e-5}),
    "free-bits-floor": ("mnist-vae", ["bottleneck.free_nats=2"], {}),
    "posterior-variance-floor": ("mnist-vae", ["bottleneck.logvar_range=[-1,20]"], {}),
    "logvar-blow-up": ("mnist-vae", ["bottleneck.logvar_range=[-300,200]"], {}),
    "codebook-collapse": ("cifar-vq", ["bottleneck.init=normal"], {}),
    "codebook-too-small": ("cifar-vq", ["bottleneck.codes=16"], {}),
    "codebook-ownership": ("cifar-vq", ["bottleneck.update=gradient"], {}),
    "commitment-drift": ("cifar-vq", ["bottleneck.commitment=0"], {}),
    "unattainable-target": ("cifar-vq", ["bottleneck.kind=fsq"], {}),
    "under-training": ("patch-vq", ["training.steps=50"], {}),
    "learning-rate": ("patch-vq", ["training.learning_rate=1e-6"], {}),
    "nan-or-overflow": ("patch-vq", ["training.learning_rate=0.1"], {}),
    "stale-ema": ("patch-vq", ["training.ema_decay=0.99999"], {}),
    "capacity-limit": ("photos-vq", ["decoder.width=4"], {}),
    "loss-imbalance": (
        "photos-vq",
        ["objective.ssim.weight=100"],
        {"term": "ssim", "weight_factor": 0.01},
    ),
    "inert-loss": ("photos-vq", [], {"term": "ssim", "weight": 0.1}),
    "blur": ("photos-vq", [], {"branch": "decoder"}),
    "overfitting": ("photos-vq", ["data.flip=false"], {}),
    "split-leak": ("photos-vq", ["data.path=frames", "data.name=null"], {}),
    "permutation-variance": ("mnist-vae", ["permuter.kind=learned", "permuter.side=7"], {}),
    "checkerboard": ("patch-vq", ["decoder.overlap=0"], {}),
    "channel-scale-imbalance": ("tissue-stack", ["data.normalise=[]"], {}),
}


def finding(id: str, **suggests) -> Finding:
    return Finding(id, 0.9, 1.0, "dB", "", (), "", (), suggests=suggests)


def shipped(name: str):
    """A shipped recipe; stacks get the channels that their data would bring."""
    recipe = load_recipe(name)
    return settled(recipe, ["CD3", "CD20", "DNA"]) if needs_settling(recipe) else recipe


def sick(id: str):
    name, overrides, suggests = SICK[id]
    return apply_overrides(shipped(name), overrides), finding(id, **suggests)


def test_every_treatment_has_an_example_here():
    assert set(SICK) == set(TREATMENTS)


@pytest.mark.parametrize("id", sorted(TREATMENTS))
def test_a_patch_builds_and_changes_what_it_names(id):
    recipe, found = sick(id)
    patch = propose(recipe, found)
    assert patch
    treated = apply_patch(recipe, patch)
    build_autoencoder(treated)
    build_objective(treated)
    for change in changes(recipe, patch):
        assert change.before != change.after
        assert standing(treated, change.key) == change.after


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("id", sorted(TREATMENTS))
def test_no_patch_breaks_a_shipped_recipe(id, name):
    recipe = shipped(name)
    if recipe.encoder["kind"] == "timm":  # a small network of the same family, without its weights
        recipe = apply_overrides(recipe, ["encoder.name=test_vit", "encoder.pretrained=false"])
    treated = apply_patch(recipe, propose(recipe, finding(id)))
    build_autoencoder(treated)
    build_objective(treated)


def test_a_fault_of_code_gets_no_patch():
    coded = {row.id for row in ROWS} - set(TREATMENTS)
    assert {"random-decoder", "frozen-module", "channel-order"} <= coded
    for id in coded:
        assert propose(load_recipe("mnist-vae"), finding(id)) == {}


def test_the_suggested_weight_is_taken_and_a_heavier_one_is_not():
    recipe = apply_overrides(load_recipe("mnist-vae"), ["bottleneck.weight=1e-3"])
    assert propose(recipe, finding("rate-starvation", kl_weight=1.23e-5)) == {
        "bottleneck.weight": 1.2e-5
    }
    assert propose(recipe, finding("rate-starvation", kl_weight=1.0)) == {}
    doubled = apply_overrides(recipe, ["objective.l2.weight=2"])
    patch = propose(doubled, finding("rate-starvation", kl_weight=1e-5))
    assert patch == {"bottleneck.weight": 2e-5}, "the suggestion stands beside an error of weight 1"


def test_a_codebook_that_has_everything_gets_other_codes():
    recipe = load_recipe("cifar-vq")
    assert propose(recipe, finding("codebook-collapse")) == {"bottleneck.dim": 8}
    low = apply_patch(recipe, {"bottleneck.dim": 8})
    assert propose(low, finding("codebook-collapse")) == {"bottleneck.cosine": True}
    cosine = apply_patch(low, {"bottleneck.cosine": True})
    assert propose(cosine, finding("codebook-collapse")) == {}


def test_the_treated_range_is_one_the_head_reaches():
    recipe = apply_overrides(load_recipe("mnist-vae"), ["data.value_range=[0,255]"])
    treated = apply_patch(recipe, propose(recipe, finding("range-mismatch")))
    assert (data_facts(treated).value_range.low, data_facts(treated).value_range.high) == (-1, 1)
    unit = apply_overrides(load_recipe("mnist-vae"), ["data.value_range=[0,1]"])
    assert propose(unit, finding("range-mismatch")) == {}


@pytest.mark.parametrize(
    ("patch", "how"),
    [
        ({"training.steps": 9000}, "resumed"),
        ({"training.steps": 10}, "continued"),
        ({"bottleneck.weight": 1e-6, "bottleneck.anneal_steps": 500}, "continued"),
        ({"objective.l2.weight": 3.0}, "continued"),
        ({"training.learning_rate": 3e-3}, "continued"),
        ({"training.learning_rate": 3e-5}, "retrained"),
        ({"bottleneck.dim": 8}, "retrained"),
        ({"data.value_range": [0.0, 1.0]}, "retrained"),
        ({"bottleneck.weight": 1e-6, "decoder.width": 8}, "retrained"),
    ],
)
def test_old_weights_are_kept_only_where_they_are_a_sound_start(patch, how):
    assert how_to_start(changes(load_recipe("mnist-vae"), patch)) == how


def test_standing_reads_the_recipe_then_the_default():
    recipe = load_recipe("cifar-vq")
    assert standing(recipe, "bottleneck.commitment") == 0.25
    assert standing(recipe, "bottleneck.decay") == 0.9, "not written: VQ's own default"
    assert standing(recipe, "bottleneck.free_nats") is None
    assert has(recipe, "bottleneck.decay")
    assert not has(recipe, "bottleneck.free_nats")


@pytest.mark.parametrize("id", ["nan-or-overflow", "under-training", "stale-ema", "overfitting"])
def test_patched_training_keywords_are_ones_that_fit_takes(id):
    recipe, found = sick(id)
    training = apply_patch(recipe, propose(recipe, found)).training
    needed = [n for n, p in inspect.signature(fit).parameters.items() if p.default is p.empty]
    assert check_keywords(fit, training, where="training", given=dict.fromkeys(needed)) == training


def test_a_learning_rate_at_the_edge_of_what_was_tried_goes_on_to_the_usual_one():
    recipe = apply_overrides(load_recipe("mnist-vae"), ["training.learning_rate=1e-5"])
    edge = propose(recipe, finding("learning-rate", learning_rate=1e-4))
    inside = propose(recipe, finding("learning-rate", learning_rate=3e-5))
    assert edge == {"training.learning_rate": 1e-3}
    assert inside == {"training.learning_rate": 3e-5}


def test_only_the_narrow_side_is_widened():
    recipe = load_recipe("mnist-vae")
    latent = propose(recipe, finding("capacity-limit", latent=4.0))
    assert latent == {"bottleneck.dim": 16}
    width = propose(recipe, finding("capacity-limit", width=2.0))
    assert width == {"encoder.width": 96, "decoder.width": 96}


def test_more_steps_are_enough_to_learn_in_and_not_spent_at_a_crawl():
    young = apply_overrides(load_recipe("mnist-vae"), ["training.steps=20"])
    assert propose(young, finding("under-training")) == {"training.steps": 500}
    slow = apply_overrides(load_recipe("mnist-vae"), ["training.learning_rate=1e-5"])
    assert propose(slow, finding("under-training")) == {
        "training.steps": 12000,
        "training.learning_rate": 1e-3,
    }
