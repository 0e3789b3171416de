"""Weights: exact round trips; anything else is refused, and nothing in a file is executed."""

import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from pellucid.bottlenecks import VQ
from pellucid.errors import RunError
from pellucid.models import load_weights, save_weights
from pellucid.models.weights import derived_names


class Explosive:
    """Pickles to a call, as a hostile checkpoint would."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_parameters_buffers_and_dtypes_round_trip(tmp_path):
    model = small()
    model(torch.randn(8, 3))  # moves the running statistics
    model[2].half()
    save_weights(model, tmp_path / "model.safetensors")
    other = small()
    other[2].half()
    load_weights(other, tmp_path / "model.safetensors")
    assert same(state(model), state(other))
    assert other[2].weight.dtype == torch.float16
    assert other[1].num_batches_tracked.dtype == torch.int64


def test_tied_and_channels_last_tensors_round_trip(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Conv2d(3, 4, 3))
        model[1].weight = model[0].weight
        return model.to(memory_format=torch.channels_last)

    model, other = tied(), tied()
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    assert same(state(model), state(other))
    assert other[1].weight is other[0].weight


def test_saving_over_a_file_replaces_it_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(small(), path)
    second = small()
    save_weights(second, path)
    third = small()
    load_weights(third, path)
    assert same(state(second), state(third))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def refused(model, path, *messages):
    before = state(model)
    with pytest.raises(RunError) as caught:
        load_weights(model, path)
    for message in messages:
        assert message in str(caught.value)
    assert same(before, state(model))


def test_a_pickle_under_the_name_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "model.safetensors", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Explosive(trace)))
    refused(small(), path, "cannot be read", "a Python pickle", "never read")
    torch.save(small().state_dict(), path)
    refused(small(), path, "cannot be read", "zip archive")
    assert not trace.exists()


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "model.safetensors"
    save_weights(small(), path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(small(), path, "cannot be read", "a whole safetensors file")


def test_a_missing_file_is_named(tmp_path):
    refused(small(), tmp_path / "model.safetensors", "there are no weights", str(tmp_path))


def test_another_shape_is_refused_with_both_shapes(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)), path)
    refused(small(), path, "another model", "2.weight: model (2, 4), file (5, 4)")


def test_missing_and_unexpected_tensors_are_listed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(
        nn.Sequential(nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2), nn.Linear(1, 1)), path
    )
    refused(
        small(),
        path,
        "1.weight: model (4,), not in the file",
        "… and 2 more",
        "expected: 9 tensors",
        "6 tensors",
    )
    save_weights(nn.Sequential(*small(), nn.Linear(1, 1)), path)
    refused(small(), path, "3.weight: file (1, 1), not in the model")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write model"):
        save_weights(small(), tmp_path / "file" / "model.safetensors")


def test_only_what_the_others_tell_may_be_missing(tmp_path):
    model = VQ(4, codes=8)
    model(torch.randn(2, 4, 30))  # starts the codebook and its averages
    model.codebook.ema_counts.uniform_(1, 9)
    whole = state(model)
    assert derived_names(model) == {"codebook.ema_sums"}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(
        {n: v for n, v in whole.items() if n not in derived_names(model)}, path
    )
    other = VQ(4, codes=8)
    load_weights(other, path)
    found = state(other)
    sums = found.pop("codebook.ema_sums")
    assert same(found, {n: v for n, v in whole.items() if n != "codebook.ema_sums"})
    torch.testing.assert_close(
        sums / found["codebook.ema_counts"][:, None], found["codebook.vectors"]
    )
    safetensors.torch.save_file({n: v for n, v in whole.items() if n != "codebook.vectors"}, path)
    with pytest.raises(RunError, match=r"codebook\.vectors: model"):
        load_weights(VQ(4, codes=8), path)
