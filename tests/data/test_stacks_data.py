"""Stacks for training: splits that do not touch, lazily read windows, channels and regions that
are not fed and said so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.build.stacks import build_normaliser
from pellucid.data.splits import Fractions
from pellucid.data.stacks import open_stacks
from pellucid.data.stacks.blocks import cut, interleave
from pellucid.data.stacks.chunked import ChunkedPixels
from pellucid.data.stacks.stack_data import StackData
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import survey
from pellucid.errors import DataError


def tissue(seed: int, height: int = 96, width: int = 96, channels: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rate = np.kron(rng.random((channels, 8, 8)), np.ones((1, height // 8, width // 8)))
    scale = np.logspace(0, 2, channels)[:, None, None]
    return rng.poisson(scale * rate**2).astype(np.float32)


def write(folder: Path, *stacks: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    names = np.array([f"M{i}" for i in range(len(stacks[0]))])
    for number, stack in enumerate(stacks):
        np.savez(folder / f"s{number}_{number:03d}.npz", stack, channels=names)
    return folder


def data(path: Path, **keywords) -> StackData:
    settings = {"size": 16, "block": 32, "margin": 4, "split": "blocks", "test": 0.2}
    return StackData(str(path), normaliser=build_normaliser(None), **{**settings, **keywords})


# --- splits ---------------------------------------------------------------------------------------


def test_blocks_cover_the_region_and_interleave():
    blocks = cut(0, 200, 300, 50)
    covered = np.zeros((200, 300), int)
    for b in blocks:
        covered[b.top : b.top + b.height, b.left : b.left + b.width] += 1
    assert (covered == 1).all()
    split = interleave(blocks, Fractions(0.1, 0.2), 0, "here")
    assert split.count("test") == round(0.2 * len(blocks))
    assert split.count("validation") == round(0.1 * len(blocks))
    rows = {b.top for b, s in zip(blocks, split, strict=True) if s == "test"}
    columns = {b.left for b, s in zip(blocks, split, strict=True) if s == "test"}
    assert len(rows) >= 3, "held-out blocks are spread over the rows"
    assert len(columns) >= 3


def test_held_out_tiles_keep_the_margin_from_training_pixels(tmp_path):
    found = data(write(tmp_path, tissue(0)))
    used = np.zeros((96, 96), bool)
    for block in found.train.blocks:
        used[block.top : block.top + block.height, block.left : block.left + block.width] = True
    for split in (found.validation, found.test):
        assert len(split)
        for _, top, left in split.places.tolist():
            assert not used[top - 4 : top + 20, left - 4 : left + 20].any()


def test_training_tiles_stay_in_their_block_and_are_a_function_of_seed_epoch_index(tmp_path):
    found, again = (data(write(tmp_path, tissue(0)), seed=3) for _ in range(2))
    addresses = [(i, e) for i in range(len(found.train)) for e in range(3)]
    one, other = found.train.batch(addresses), again.train.batch(addresses)
    torch.testing.assert_close(one["x"], other["x"])
    assert one["x"].shape[1:] == (4, 16, 16)
    assert not torch.equal(found.train[0, 0]["x"], found.train[0, 1]["x"])
    torch.testing.assert_close(found.test[0]["x"], found.test[0]["target"])


def test_slides_are_never_divided_and_patients_win_over_them(tmp_path):
    for n in range(6):
        np.save(tmp_path / f"slide{n // 3}_{n:03d}.npy", tissue(n))
    rows = "\n".join(f"{r.name},p{i // 2}" for i, r in enumerate(open_stacks(tmp_path).regions))
    (tmp_path / "images.csv").write_text("image,patient\n" + rows + "\n")
    found = data(tmp_path, split="auto")
    assert found.report.split_by == "patient"
    assert [len(side) for side in found.splits["items"].values()] == [2, 2, 2]


def test_written_splits_are_kept_and_changed_files_refused(tmp_path):
    write(tmp_path, tissue(0), tissue(1))
    first = data(tmp_path, seed=1)
    again = data(tmp_path, seed=99, splits=first.splits)
    np.testing.assert_array_equal(first.test.places, again.test.places)
    write(tmp_path, tissue(5), tissue(1))
    with pytest.raises(DataError, match="not those that were split"):
        data(tmp_path, splits=first.splits)


def test_statistics_come_from_the_training_part_alone(tmp_path):
    stack = tissue(0)
    first = data(write(tmp_path, stack))
    changed = stack.copy()
    for block in (*first.test.blocks, *first.validation.blocks):
        changed[:, block.top : block.top + block.height, block.left : block.left + block.width] *= 9
    write(tmp_path, changed)
    again = data(tmp_path)
    for (_, one), (_, other) in zip(first.normaliser.steps, again.normaliser.steps, strict=True):
        for key, value in one.state().items():
            torch.testing.assert_close(value, other.state()[key])


# --- what is not fed ------------------------------------------------------------------------------


def test_dead_and_near_constant_channels_are_left_out_and_said(tmp_path):
    stack = tissue(0, channels=6)
    stack[1] = 0
    stack[2] = 3
    stack[4] = 0
    stack[4, 0, 0] = 1
    found = data(write(tmp_path, stack))
    assert found.names == ("M0", "M3", "M5")
    states = {node["name"]: node["state"] for node in found.report.channels}
    assert states["M1"] == "all zero"
    assert states["M2"] == "constant at 3"
    assert "near-constant" in states["M4"] or "all zero" in states["M4"]
    assert "3 channels are not fed" in found.report.remarks[-1]
    json.dumps(found.report.to_json(), allow_nan=False)


def test_a_channel_that_is_constant_in_train_only_is_not_fed(tmp_path):
    stack = tissue(0)
    probe = data(write(tmp_path, stack))
    alive = np.zeros((96, 96), bool)
    for block in probe.test.blocks:
        alive[block.top : block.top + block.height, block.left : block.left + block.width] = True
    stack[2] *= alive
    found = data(write(tmp_path, stack))
    assert "M2" not in found.names
    node = next(node for node in found.report.channels if node["name"] == "M2")
    assert node["state"] == "all zero in the training part"
    with pytest.raises(DataError, match="channel 'M2' cannot be learned"):
        data(tmp_path, channels=["M0", "M2"])


def test_nan_regions_are_skipped_and_nan_channels_left_out(tmp_path):
    stacks = [tissue(seed) for seed in range(4)]
    stacks[1][0, 5, 5] = np.nan
    for stack in stacks:
        stack[3] = np.nan
    found = data(write(tmp_path, *stacks), split="region")
    assert found.names == ("M0", "M1", "M2")
    assert found.report.skipped["NaN or infinite values"]["count"] == 1
    assert "1 pixels of M0" in found.report.skipped["NaN or infinite values"]["examples"][0]
    assert torch.isfinite(found.train.batch([0])["x"]).all()


def test_the_empty_region_is_found_and_dead_channels_counted(imc):
    found = data(imc, split="region")
    assert found.report.skipped["empty region"]["examples"][0].startswith(
        "20210305_NE_mockData1_001"
    )
    silver = found.report.channels[0]
    assert len(silver["silent"]) == 7
    assert found.report.masks == 9
    everything = data(imc, split="region", keep_empty=True)
    assert sum(map(len, everything.splits["items"].values())) == 9
    assert sum(map(len, found.splits["items"].values())) == 8


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"block": 20}, "holds no tile"),
        ({"size": 200, "block": 300}, "none of the regions can be used"),
        ({"mask_channels": 1.0}, "share of channels"),
        ({"split": "patient"}, "not every region has a patient"),
        ({"channels": ["M9"]}, "no channel 'M9'"),
    ],
)
def test_wrong_settings_say_what_would_do(keywords, said, tmp_path):
    with pytest.raises(DataError, match=said):
        data(write(tmp_path, tissue(0)), **keywords)


def test_held_out_blocks_that_hold_no_tile_are_an_error(tmp_path):
    folder = write(tmp_path, *(tissue(seed) for seed in range(4)))
    with pytest.raises(DataError, match="split holds a tile"):
        data(folder, size=30, block=200, margin=40)


# --- reading --------------------------------------------------------------------------------------


def test_windows_are_those_of_the_filtered_whole_whether_held_or_not(tmp_path):
    stack = tissue(0)
    stack[3, 40, 40], stack[1, 0, 50] = 5000, 700
    regions = open_stacks(write(tmp_path, stack)).regions
    held, read = (Store(regions, [3, 1], hot_pixels=20, cache_bytes=size) for size in (10**9, 0))
    whole = held.window(0)
    assert whole.max() < 700
    for rows, columns in ((slice(30, 60), slice(33, 47)), (slice(0, 9), slice(44, None))):
        np.testing.assert_array_equal(read.window(0, rows, columns), whole[:, rows, columns])
    joined = np.concatenate([band for _, band in read.bands(0)], 1)
    np.testing.assert_array_equal(joined, whole)


def test_a_survey_by_bands_is_that_of_the_whole(tmp_path, monkeypatch):
    stack = tissue(0)
    stack[2, 3, 3] = np.inf
    store = Store(open_stacks(write(tmp_path, stack)).regions, range(4))
    monkeypatch.setattr("pellucid.data.stacks.store.BAND_BYTES", 4 * 4 * 96 * 7)
    found = survey(store)
    finite = np.where(np.isfinite(stack), stack, np.nan).reshape(4, -1)
    np.testing.assert_allclose(found.mean_RC[0], np.nanmean(finite, 1), rtol=1e-6)
    np.testing.assert_allclose(found.std_RC[0], np.nanstd(finite, 1), rtol=1e-5)
    np.testing.assert_allclose(found.high_RC[0], np.nanmax(finite, 1))
    np.testing.assert_allclose(found.zero_RC[0], (finite == 0).mean(1), atol=2e-4)
    assert found.bad_RC[0].tolist() == [0, 0, 1, 0]
    top = (finite == np.nanmax(finite, 1)[:, None]).mean(1)
    np.testing.assert_allclose(found.top_RC[0], top, atol=2e-4)


def test_what_is_larger_than_memory_is_never_read_whole(tmp_path, monkeypatch):
    import zarr

    stack = tissue(0)
    array = zarr.create_array(
        str(tmp_path / "s.zarr"), shape=stack.shape, chunks=(1, 16, 16), dtype="f4"
    )
    array[:] = stack
    largest = []
    read = ChunkedPixels.read

    def watched(self, channels, rows, columns):
        window = read(self, channels, rows, columns)
        largest.append(window[0].size)
        return window

    monkeypatch.setattr(ChunkedPixels, "read", watched)
    monkeypatch.setattr("pellucid.data.stacks.store.BAND_BYTES", 4 * 4 * 96 * 8)
    streamed = data(tmp_path, cache_megabytes=0)
    x = streamed.train.batch([(i, 0) for i in range(4)])["x"]
    assert max(largest) <= 96 * 8
    held = data(write(tmp_path / "held", stack))
    torch.testing.assert_close(x, held.train.batch([(i, 0) for i in range(4)])["x"])


def test_hidden_channels_are_zero_in_x_and_whole_in_the_target(tmp_path):
    found = data(write(tmp_path, tissue(0)), mask_channels=0.5)
    batch = found.train.batch([(i, 0) for i in range(8)])
    hidden = (batch["x"] == 0).all(3).all(2)
    assert 0.2 < hidden.float().mean() < 0.8
    shown = ~hidden[:, :, None, None]
    torch.testing.assert_close(batch["x"], batch["target"] * shown)
    assert not (found.test.batch([0])["x"] == 0).all(3).all(2).any()
