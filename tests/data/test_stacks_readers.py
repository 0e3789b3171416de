"""Stacks of every format: names travel with values, windows equal the whole, bad files say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from pellucid.data.stacks import UnreadableRegion, is_stacks, open_stacks
from pellucid.data.stacks.hot_pixels import remove_hot_pixels
from pellucid.data.stacks.imc import open_mcd
from pellucid.errors import DataError

NAMES = ("CD3", "CD20", "DNA", "SMA", "Ki67")


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).poisson(2.0, (5, 40, 48)).astype(np.float32)


def _panel(folder: Path, names: tuple[str, ...] = NAMES, keep: str = "11111") -> None:
    rows = [f"T{i},{name},{k}" for i, (name, k) in enumerate(zip(names, keep, strict=True))]
    (folder / "panel.csv").write_text("\n".join(["channel,name,keep", *rows]) + "\n")


def _write(kind: str, folder: Path, stack: np.ndarray) -> Path:
    path = (
        folder
        / {
            "tiff": "r_001.tiff",
            "compressed": "r_001.tif",
            "ome": "r_001.ome.tiff",
            "zarr": "r_001.zarr",
            "ome-zarr": "r_001.zarr",
            "hdf5": "r_001.h5",
            "npy": "r_001.npy",
            "npz": "r_001.npz",
        }[kind]
    )
    if kind in ("tiff", "compressed"):
        zlib = {"compression": "zlib", "rowsperstrip": 7} if kind == "compressed" else {}
        tifffile.imwrite(path, stack, metadata={"axes": "CYX"}, photometric="minisblack", **zlib)
        _panel(folder)
    elif kind == "ome":
        meta = {"axes": "CYX", "Channel": {"Name": list(NAMES)}}
        tifffile.imwrite(path, stack, metadata=meta, photometric="minisblack")
    elif kind == "zarr":
        import zarr

        array = zarr.create_array(str(path), shape=stack.shape, chunks=(1, 16, 16), dtype="f4")
        array[:] = stack
        array.attrs["channels"] = list(NAMES)
    elif kind == "ome-zarr":
        import zarr

        group = zarr.open_group(str(path), mode="w")
        array = group.create_array("0", shape=(1, *stack.shape), chunks=(1, 1, 16, 16), dtype="f4")
        array[:] = stack[None]
        group.attrs["ome"] = {
            "multiscales": [{"datasets": [{"path": "0"}]}],
            "omero": {"channels": [{"label": name} for name in NAMES]},
        }
    elif kind == "hdf5":
        import h5py

        with h5py.File(path, "w") as file:
            file["image"] = stack
            file["channels"] = list(NAMES)
    elif kind == "npy":
        np.save(path, stack)
        _panel(folder)
    else:
        np.savez(path, stack, channels=np.array(NAMES))
    return path


KINDS = ("tiff", "compressed", "ome", "zarr", "ome-zarr", "hdf5", "npy", "npz")


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_names_come_back_and_windows_equal_the_whole(kind, tmp_path, stack):
    _write(kind, tmp_path, stack)
    found = open_stacks(tmp_path)
    region = found.regions[0]
    assert found.channels == region.channels == NAMES
    assert (region.height, region.width) == (40, 48)
    np.testing.assert_array_equal(region.read(), stack)
    window = region.read([4, 1], slice(3, 17), slice(-9, None))
    np.testing.assert_array_equal(window, stack[[4, 1], 3:17, -9:])
    assert is_stacks(tmp_path)


def test_a_panel_drops_what_it_does_not_keep(tmp_path, stack):
    _write("tiff", tmp_path, stack)
    _panel(tmp_path, keep="10110")
    region = open_stacks(tmp_path).regions[0]
    assert region.channels == ("CD3", "DNA", "SMA")
    np.testing.assert_array_equal(region.read(), stack[[0, 2, 3]])


def test_steinbock_images_hold_the_kept_rows_alone(tmp_path, stack):
    (tmp_path / "img").mkdir()
    tifffile.imwrite(tmp_path / "img" / "a_001.tiff", stack[:3], photometric="minisblack")
    _panel(tmp_path, keep="10110")
    found = open_stacks(tmp_path / "img")
    assert found.channels == ("CD3", "DNA", "SMA")
    np.testing.assert_array_equal(found.regions[0].read(), stack[:3])


def test_panel_and_stack_that_do_not_fit_are_an_error(tmp_path, stack):
    _write("tiff", tmp_path, stack[:4])
    with pytest.raises(DataError, match="panel and stack do not fit") as error:
        open_stacks(tmp_path)
    assert "5 channels" in str(error.value)
    assert "4 channels" in str(error.value)


def test_mixed_panels_are_an_error_unless_shared_channels_are_named(tmp_path, stack):
    np.savez(tmp_path / "a.npz", stack, channels=np.array(NAMES))
    other = np.array(["DNA", "CD3", "CD8"])
    np.savez(tmp_path / "b.npz", stack[:3], channels=other)
    with pytest.raises(DataError, match="different panels") as error:
        open_stacks(tmp_path)
    assert "data.channels=[CD3, DNA]" in str(error.value)
    found = open_stacks(tmp_path, channels=["CD3", "DNA"])
    np.testing.assert_array_equal(found.regions[0].read(), stack[[0, 2]])
    np.testing.assert_array_equal(found.regions[1].read(), stack[[1, 0]])
    with pytest.raises(DataError, match="no channel 'CD33'") as error:
        open_stacks(tmp_path, channels=["CD33"])
    assert "did you mean 'CD3'?" in str(error.value)


def test_one_order_of_channels_for_all_regions(tmp_path, stack):
    np.savez(tmp_path / "a.npz", stack, channels=np.array(NAMES))
    np.savez(tmp_path / "b.npz", stack[::-1], channels=np.array(NAMES[::-1]))
    for region in open_stacks(tmp_path).regions:
        np.testing.assert_array_equal(region.read(), stack)


def test_a_damaged_file_is_skipped_and_said_or_refused_when_strict(tmp_path, stack):
    good = _write("ome", tmp_path, stack)
    (tmp_path / "broken.ome.tiff").write_bytes(good.read_bytes()[:200])
    found = open_stacks(tmp_path)
    assert [region.name for region in found.regions] == ["r_001"]
    assert found.skipped[0].reason == "truncated or corrupt TIFF"
    with pytest.raises(DataError, match="cannot be read"):
        open_stacks(tmp_path, strict=True)


def test_a_truncated_mcd_is_named(imc, tmp_path):
    whole = next((imc / "raw").glob("*.mcd")).read_bytes()
    short = tmp_path / "cut.mcd"
    short.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableRegion, match="truncated or corrupt MCD"):
        open_mcd(short)


def test_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as plain numbers"):
        open_stacks(tmp_path)


def test_pictures_are_no_stacks(tmp_path):
    tifffile.imwrite(tmp_path / "photo.tiff", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    assert not is_stacks(tmp_path)


def test_hot_pixels_follow_the_plain_rule():
    values = np.random.default_rng(1).poisson(20, (3, 9, 11)).astype(np.uint8)
    values[1, 4, 5], values[2, 0, 0] = 200, 180
    plain = values.copy()
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="reflect").astype(int)
    for c, y, x in np.ndindex(values.shape):
        around = padded[c, y : y + 3, x : x + 3].copy()
        around[1, 1] = -1
        if int(values[c, y, x]) - around.max() > 15:
            plain[c, y, x] = around.max()
    np.testing.assert_array_equal(remove_hot_pixels(values, 15), plain)


# --- real data ------------------------------------------------------------------------------------


def test_mcd_and_txt_agree_with_what_steinbock_made_of_them(imc):
    """Its TIFFs are the raw counts with hot pixels beyond 50 taken out."""
    raw, made = open_stacks(imc / "raw"), open_stacks(imc / "img")
    assert [r.name for r in raw.regions] == [r.name for r in made.regions]
    for one, other in zip(raw.regions, made.regions, strict=True):
        np.testing.assert_array_equal(remove_hot_pixels(one.read(), 50), other.read())
    text = open_stacks(next((imc / "raw").glob("*Data2_ROI_001*.txt"))).regions[0]
    np.testing.assert_allclose(text.read(), raw.regions[3].read(), atol=2e-3)


def test_one_format_of_several_is_read_and_said(imc):
    found = open_stacks(imc)
    assert found.format == "ome-tiff"
    assert found.channels[2] == "Sm147_Laminin"
    assert {region.slide for region in found.regions} == {
        f"20210305_NE_mockData{n}" for n in (1, 2, 3)
    }
    assert "3 mcd in raw/" in found.remarks[0]
