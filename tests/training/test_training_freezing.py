"""A timm encoder in training: frozen blocks stay and thaw on time, shallow ones learn slower."""

import pytest
import torch
from tiny_training import TinyDecoder, TinyImages, bottleneck_of, tiny_fit

from pellucid.errors import PellucidError
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import TimmEncoder
from pellucid.run_folder import RunFolder
from pellucid.training.checkpoint import read_checkpoint
from pellucid.training.freezing import FrozenGuard, still_modules
from pellucid.training.optimizer import parameter_groups


class Adapted(TimmEncoder):
    """Eight channels out, for the tiny decoder: the convolution learns, the blocks may not."""

    def __init__(self, **keywords):
        super().__init__(name="test_resnet", out=1, **keywords)
        self.adapt = torch.nn.Conv2d(self.channels, 8, 1)
        self.channels = 8

    def features(self, x_BCHW):
        features = super().features(x_BCHW)
        return {**features, "h": self.adapt(features["h"])}


def model(**keywords):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(Adapted(**keywords), bottleneck_of("identity"), TinyDecoder())


def last_state(folder):
    state = read_checkpoint(RunFolder(folder).checkpoints / "last")["state_dict"]
    return {k.removeprefix("autoencoder.encoder."): v for k, v in state.items()}


def moved(before, folder):
    after = last_state(folder)
    return {name for name, value in before.items() if not torch.equal(after[name], value)}


def test_frozen_blocks_stay_bit_for_bit_and_thaw_after_a_resumption(tmp_path):
    autoencoder = model(frozen="all", unfreeze_at=8)
    before = {k: v.clone() for k, v in autoencoder.encoder.state_dict().items()}
    frozen = set(autoencoder.encoder.frozen_tensors(0))
    keywords = {"validation_set": None, "train_set": TinyImages(8), "gradient_shares_every": 2}
    tiny_fit(tmp_path / "run", model=autoencoder, steps=6, **keywords)
    found = moved(before, tmp_path / "run")
    assert not found & frozen
    assert "adapt.weight" in found
    autoencoder = model(frozen="all", unfreeze_at=8)
    tiny_fit(tmp_path / "run", model=autoencoder, steps=12, resume=True, **keywords)
    found = moved(before, tmp_path / "run")
    weights = {name for name in frozen if name.endswith("conv1.weight")}
    assert weights
    assert weights <= found


def test_the_guard_names_what_moved():
    encoder = model(frozen=1).encoder
    guard = FrozenGuard()
    guard.check(encoder, 0)
    guard.check(encoder, 10)
    with torch.no_grad():
        encoder.backbone.network.conv1[0].weight[0, 0, 0, 0] += 1e-3
    with pytest.raises(PellucidError, match=r"conv1\.0\.weight"):
        guard.check(encoder, 20)


def test_what_stands_still_is_named_by_its_largest_parts():
    encoder = TimmEncoder(name="test_resnet", out=2, frozen=1)
    still = still_modules(encoder, "encoder")
    assert "encoder.backbone.network.layer1" in still
    assert not any("layer2" in name for name in still)
    everything = encoder.requires_grad_(False)
    assert still_modules(everything, "encoder") == ("encoder",)


def test_layer_decay_gives_every_depth_its_own_rate():
    autoencoder = model(layer_decay=0.5)
    groups = parameter_groups(autoencoder, 0.1)
    rates = {id(p): group["scale"] for group in groups for p in group["params"]}
    encoder = autoencoder.encoder
    assert {group["scale"] for group in groups} == {1.0, 0.5}
    assert rates[id(encoder.adapt.weight)] == 1.0
    assert rates[id(encoder.backbone.network.conv1[0].weight)] == 0.5
    assert len(rates) == len(list(autoencoder.parameters()))


def test_a_slower_depth_moves_less(tmp_path):
    """AdamW's first steps are as long as the rate: their ratio is the ratio of the rates."""
    distance = {}
    for decay in (1.0, 0.01):
        autoencoder = model(layer_decay=decay)
        stem = autoencoder.encoder.backbone.network.conv1[0].weight
        before = stem.detach().clone()
        tiny_fit(
            tmp_path / str(decay),
            model=autoencoder,
            steps=2,
            warmup_steps=0,
            weight_decay=0.0,
            ema_decay=None,
            validation_set=None,
            train_set=TinyImages(8),
        )
        distance[decay] = (stem.detach() - before).norm()
    assert distance[0.01] / distance[1.0] == pytest.approx(0.01, rel=0.3)
