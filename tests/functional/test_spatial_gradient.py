"""Spatial gradients: exact on ramps, not blind to the finest pattern."""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.spatial_gradient import spatial_gradient


def test_ramps_give_their_slope():
    i = torch.arange(6.0)
    down, across = spatial_gradient((3 * i[:, None] - 2 * i).expand(2, 3, 6, 6))
    assert down.shape == (2, 3, 5, 6)
    assert across.shape == (2, 3, 6, 5)
    assert (down == 3).all()
    assert (across == -2).all()


def test_a_checkerboard_is_seen_in_full():
    i = torch.arange(8)
    board = ((i[:, None] + i) % 2).float().expand(1, 1, 8, 8)
    down, across = spatial_gradient(board)
    assert (down.abs() == 1).all()
    assert (across.abs() == 1).all()


def test_one_pixel_has_no_gradient():
    with pytest.raises(PellucidError, match="too small"):
        spatial_gradient(torch.rand(1, 1, 1, 5))
