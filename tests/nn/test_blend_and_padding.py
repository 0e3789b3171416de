"""Blending windows sum to one; padding and cropping undo each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.functional.blend import blend_ramp, blend_window, overlap_add
from pellucid.functional.padding import check_sides, crop_to, pad_to_multiple


def slow_overlap_add(patches, grid, stride, overlap):
    """Add window · patch at every place, one patch after the other."""
    rows, columns = grid
    side = stride + 2 * overlap
    batch = patches.shape[0]
    patches = patches.reshape(batch, rows, columns, -1, side, side)
    down, across = blend_window(rows, stride, overlap), blend_window(columns, stride, overlap)
    canvas = torch.zeros(
        batch, patches.shape[3], rows * stride + 2 * overlap, columns * stride + 2 * overlap
    )
    for row in range(rows):
        for column in range(columns):
            window = down[row][:, None] * across[column]
            canvas[
                ...,
                row * stride : row * stride + side,
                column * stride : column * stride + side,
            ] += window * patches[:, row, column]
    return canvas[..., overlap : overlap + rows * stride, overlap : overlap + columns * stride]


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), stride=st.integers(1, 9), data=st.data())
def test_overlap_add_matches_the_slow_version_and_windows_sum_to_one(rows, columns, stride, data):
    overlap = data.draw(st.integers(0, stride // 2))
    side = stride + 2 * overlap
    patches = torch.randn(2, rows * columns, 3 * side * side)
    fast = overlap_add(patches, grid=(rows, columns), stride=stride, overlap=overlap)
    torch.testing.assert_close(fast, slow_overlap_add(patches, (rows, columns), stride, overlap))
    ones = torch.ones(1, rows * columns, side * side)
    whole = overlap_add(ones, grid=(rows, columns), stride=stride, overlap=overlap)
    torch.testing.assert_close(whole, torch.ones(1, 1, rows * stride, columns * stride))


def test_patches_cut_from_one_image_give_it_back():
    image = torch.randn(1, 3, 4 * 8 + 4, 5 * 8 + 4)
    cut = image.unfold(2, 12, 8).unfold(3, 12, 8)  # B, C, rows, columns, S, S
    patches = cut.permute(0, 2, 3, 1, 4, 5).reshape(1, 20, -1)
    blended = overlap_add(patches, grid=(4, 5), stride=8, overlap=2)
    torch.testing.assert_close(blended, image[..., 2:-2, 2:-2])


@pytest.mark.parametrize(("overlap", "steepest"), [(0, 1.0), (1, 0.71), (2, 0.39), (4, 0.20)])
def test_two_disagreeing_patches_fade_without_a_seam(overlap, steepest):
    """A black beside a white patch: the largest step between neighbouring pixels shrinks."""
    side = 8 + 2 * overlap
    patches = torch.stack([torch.zeros(side * side), torch.ones(side * side)])[None]
    row = overlap_add(patches, grid=(1, 2), stride=8, overlap=overlap)[0, 0, 0]
    steps = row.diff()
    assert steps.min() >= 0
    assert steps.max() <= steepest
    assert row[0] == 0
    assert row[-1] == 1


def test_ramp_and_its_mirror_sum_to_one():
    ramp = blend_ramp(7)
    torch.testing.assert_close(ramp + ramp.flip(0), torch.ones(7))
    assert (ramp.diff() > 0).all()


def test_overlap_beyond_half_a_patch_is_refused():
    with pytest.raises(PellucidError, match=r"0 … 4"):
        overlap_add(torch.zeros(1, 4, 18 * 18), grid=(2, 2), stride=8, overlap=5)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.integers(1, 17))
def test_padding_reaches_the_multiple_and_cropping_undoes_it(height, width, multiple):
    x = torch.randn(1, 2, height, width)
    padded = pad_to_multiple(x, multiple)
    check_sides(padded, multiple)
    assert padded.shape[-2] - height < multiple
    assert padded.shape[-1] - width < multiple
    assert torch.equal(crop_to(padded, height, width), x)


def test_padding_mirrors_without_repeating_the_edge():
    x = torch.arange(5.0).reshape(1, 1, 1, 5)
    assert pad_to_multiple(x, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


def test_batches_of_another_rank_are_refused():
    with pytest.raises(PellucidError, match="3 axes"):
        check_sides(torch.zeros(3, 8, 8), 8)
    with pytest.raises(PellucidError, match="0 × 8"):
        check_sides(torch.zeros(1, 3, 0, 8), 8)
