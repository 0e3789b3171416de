"""Judging sets of images: what is near, varied, right and copied; feature networks and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.errors import DataError
from pellucid.evaluation.feature_networks import (
    open_feature_network,
    restore_classifier,
    train_classifier,
)
from pellucid.evaluation.generation import ImageSet, judge
from pellucid.models.weights import save_weights
from pellucid.nn.cifar_resnet import CifarResNet


def blobs(count: int, seed: int = 0, *, labels: torch.Tensor | None = None) -> ImageSet:
    """Noisy 16×16 images, dark (class 0) or bright (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2 if labels is None else labels
    level = 60 + 120 * labels[:, None, None, None]
    noise = torch.randn(count, 1, 16, 16, generator=generator) * 20
    return ImageSet((level + noise).clamp(0, 255).to(torch.uint8), labels)


@pytest.fixture(scope="module")
def classifier():
    torch.set_num_threads(1)
    train = blobs(256)
    return train_classifier(train.images, train.labels, classes=2, epochs=3)


def test_a_trained_classifier_knows_its_classes_and_comes_back(classifier, tmp_path):
    held_out = blobs(100, seed=5)
    assert (classifier.labels(held_out.images) == held_out.labels).double().mean() > 0.98
    save_weights(classifier.network, tmp_path / "classifier.safetensors")
    again = restore_classifier(
        tmp_path / "classifier.safetensors", channels=1, classes=2, name=classifier.name
    )
    assert torch.equal(again.features(held_out.images), classifier.features(held_out.images))
    assert "256 real training images" in classifier.name


def test_training_a_classifier_leaves_the_generator_alone():
    state = torch.get_rng_state()
    train_classifier(blobs(64).images, blobs(64).labels, classes=2, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_good_samples_are_told_from_bad_ones(classifier):
    train, held_out = blobs(300), blobs(120, seed=1)
    rebuilt = ImageSet(held_out.images, held_out.labels)
    good = judge(blobs(120, seed=2), train, held_out, rebuilt, classifier, classifier)
    wrong = ImageSet(255 - blobs(120, seed=2).images, blobs(120).labels)
    bad = judge(wrong, train, held_out, rebuilt, classifier, classifier)
    value = {name: (good.metrics[name].value, bad.metrics[name].value) for name in good.metrics}
    assert value["conditional_accuracy"][0] > 0.95
    assert value["conditional_accuracy"][1] < 0.05
    assert value["kernel_samples"][0] < value["kernel_samples"][1]
    assert value["kernel_real"][0] == value["kernel_real"][1]
    assert "refused under 2,048" in good.refused["frechet"]
    assert not any(name.startswith("frechet") for name in good.metrics)
    assert not any("psnr" in name for name in good.metrics)


def test_copies_are_found_out(classifier):
    train, held_out = blobs(300), blobs(120, seed=1)
    copied = judge(train.first(60), train, held_out, held_out, classifier, classifier)
    assert copied.metrics["copies"].value == 1
    assert copied.nearest.tolist()[:60] == list(range(60))
    assert float(copied.nearest_distance.max()) < 0.05
    fresh = judge(blobs(120, seed=2), train, held_out, held_out, classifier, classifier)
    assert fresh.metrics["copies"].value < 0.06
    ratio = [fresh.metrics[f"nearest_training_distance{s}"].value for s in ("", "_reconstructions")]
    assert ratio[0] == pytest.approx(ratio[1], rel=0.1)


def test_frechet_is_measured_on_enough_images(classifier, monkeypatch):
    monkeypatch.setattr("pellucid.evaluation.generation.LEAST_SAMPLES", 200)
    train, held_out = blobs(210), blobs(200, seed=1)
    found = judge(blobs(200, seed=2), train, held_out, held_out, classifier, None)
    assert not found.refused
    samples, real = (found.metrics[f"frechet_{name}"].value for name in ("samples", "real"))
    assert samples == pytest.approx(real, rel=0.5, abs=0.01)
    assert "conditional_accuracy" not in found.metrics


def test_sets_that_cannot_be_judged_are_refused(classifier):
    with pytest.raises(DataError, match="at least 16"):
        judge(blobs(8), blobs(64), blobs(64), blobs(64), classifier, classifier)
    other = ImageSet(torch.zeros(20, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(DataError, match="differ in shape"):
        judge(other, blobs(64), blobs(64), blobs(64), classifier, classifier)
    with pytest.raises(DataError, match="too few images to train"):
        train_classifier(blobs(10).images, blobs(10).labels, classes=2)


def saved_resnet(path: Path, blocks: int = 1) -> CifarResNet:
    torch.manual_seed(0)
    network = CifarResNet(blocks).eval()
    state = {k: v.numpy() for k, v in network.state_dict().items() if "num_batches" not in k}
    np.savez(path, **state)
    return network


def test_a_supplied_network_is_read_and_takes_any_size_and_grey(tmp_path):
    network = saved_resnet(tmp_path / "r.npz")
    found = open_feature_network(tmp_path / "r.npz")
    assert found.name == "ResNet-8 from r.npz"
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(found.features(images), network.features(found.prepare(images)))
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    assert tuple(found.features(grey).shape) == (2, 64)


def test_damaged_networks_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such feature network"):
        open_feature_network(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match="plain numbers"):
        open_feature_network(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="not the weights of a feature network"):
        open_feature_network(tmp_path / "other.npz")
    saved_resnet(tmp_path / "r.npz")
    arrays = dict(np.load(tmp_path / "r.npz"))
    del arrays["layer2.0.conv1.weight"]
    np.savez(tmp_path / "cut.npz", **arrays)
    with pytest.raises(DataError, match=r"missing \['layer2.0.conv1.weight'\]"):
        open_feature_network(tmp_path / "cut.npz")
    np.savez(tmp_path / "pickled.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="plain numbers"):
        open_feature_network(tmp_path / "pickled.npz")


def test_real_weights_name_real_images():
    shared = Path(__file__).parents[3] / "shared" / "datasets"
    weights = shared / "weights" / "resnet_cifar10" / "resnet20-12fca82f.npz"
    if not weights.is_file():
        pytest.skip(f"no {weights}")
    network = open_feature_network(weights)
    with np.load(shared / "cifar10" / "cifar10_shared.npz") as data:
        images = torch.from_numpy(data["images"][:200]).permute(0, 3, 1, 2).contiguous()
        labels = torch.from_numpy(data["labels"][:200]).long()
    assert (network.labels(images) == labels).double().mean() > 0.95
