"""Checkpoint folders: exact round trips, atomic swaps, refusals."""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import signal
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pellucid.errors import RunError
from pellucid.training import checkpoint
from pellucid.training.checkpoint import clean, read_checkpoint, read_progress, write_checkpoint
from pellucid.training.state_tree import pack, unpack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8]
DTYPES += [torch.int32, torch.bool]


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = (3 * tensor).to(draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()) and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if draw(st.booleans()) and tensor.ndim > 1:
        return tensor.transpose(0, 1)
    return tensor[:1] if tensor.ndim and draw(st.booleans()) else tensor


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | tensors()
keys = st.integers(-3, 3) | st.text(max_size=4) | st.tuples(st.integers(), st.text(max_size=2))
trees = st.recursive(
    leaves,
    lambda node: (
        st.lists(node, max_size=3)
        | st.lists(node, max_size=3).map(tuple)
        | st.dictionaries(keys, node, max_size=4)
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return a == b


@settings(max_examples=150, deadline=None)
@given(trees)
def test_nested_state_round_trips_through_json_text(node):
    tree, parts = pack(node)
    text = json.dumps(tree, allow_nan=False)
    assert same(unpack(json.loads(text), parts), node)


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.text(max_size=4), trees, max_size=4))
def test_nested_state_round_trips_through_a_folder(tmp_path_factory, node):
    path = tmp_path_factory.mktemp("checkpoint") / "last"
    write_checkpoint(node, path)
    assert same(read_checkpoint(path), node)


def test_optimizer_state_round_trips_and_names_its_tensors(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(2, 2, 4, 4)).sum().backward()
    optimizer.step()
    write_checkpoint({"optimizer_states": [optimizer.state_dict()]}, tmp_path / "last")
    assert same(read_checkpoint(tmp_path / "last")["optimizer_states"][0], optimizer.state_dict())
    assert "optimizer_states/0/state/0/exp_avg" in checkpoint.load_file(
        tmp_path / "last/tensors.safetensors"
    )


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", torch.eye(2).to_sparse()])
def test_what_cannot_be_stored_is_named(value):
    with pytest.raises(RunError, match="cannot be stored") as caught:
        pack({"outer": [value]})
    assert "outer/0" in str(caught.value)


def calls_that_can_fail():
    return [("rename", k) for k in range(2)] + [("fsync", k) for k in range(4)]


@pytest.mark.parametrize(("name", "number"), calls_that_can_fail())
def test_a_failing_write_keeps_the_old_checkpoint(tmp_path, monkeypatch, name, number):
    path = tmp_path / "last"
    write_checkpoint({"step": 1}, path)
    real, calls = getattr(os, name), iter(range(100))

    def failing(*arguments):
        if next(calls) == number:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(checkpoint.os, name, failing)
    if (name, number) == ("fsync", 3):  # after the swap
        with pytest.raises(RunError, match="No space left"):
            write_checkpoint({"step": 2}, path)
        assert read_checkpoint(path)["step"] == 2
        return
    with pytest.raises(RunError, match="No space left"):
        write_checkpoint({"step": 2}, path)
    monkeypatch.undo()
    assert read_checkpoint(path)["step"] in (1, 2)
    write_checkpoint({"step": 3}, path)
    assert read_checkpoint(path)["step"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "last"
    write_checkpoint({"weights": torch.zeros(10)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(RunError, match="written before is intact"):
            write_checkpoint({"weights": torch.ones(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.equal(read_checkpoint(path)["weights"], torch.zeros(10))
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_stale_folders_of_a_crash_are_cleaned(tmp_path):
    write_checkpoint({"step": 1}, tmp_path / "last")
    write_checkpoint({"step": 2}, tmp_path / "newer")
    (tmp_path / ".best.writing").mkdir()
    (tmp_path / "last").rename(tmp_path / ".last.previous")
    (tmp_path / "newer").rename(tmp_path / ".last.writing")
    clean(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]
    assert read_checkpoint(tmp_path / "last")["step"] == 2


def test_pickles_and_damage_are_refused(tmp_path):
    path = tmp_path / "last"
    write_checkpoint({"weights": torch.zeros(10), "progress": {"step": 3}}, path)
    assert read_progress(path) == {"step": 3}
    assert read_progress(tmp_path / "absent") is None
    whole = (path / "tensors.safetensors").read_bytes()
    for content in (pickle.dumps({"weights": 1}), whole[:-4], b""):
        (path / "tensors.safetensors").write_bytes(content)
        with pytest.raises(RunError, match="cannot be read"):
            read_checkpoint(path)
    (path / "state.json").write_text('{"version": 99}')
    with pytest.raises(RunError, match="another format"):
        read_checkpoint(path)
    (path / "state.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        read_progress(path)


def test_no_pickle_is_imported_by_the_room():
    sources = Path(checkpoint.__file__).parent.glob("*.py")
    texts = {path.name: path.read_text() for path in sources}
    assert len(texts) > 15
    for name, text in texts.items():
        for word in ("import pickle", "torch.load(", "torch.save(", "object_list("):
            assert word not in text, name
