"""How far a network looks: measured, because padding, strides and kernels add up differently.

Shape letters: B batch, C channels, P positions (one or two axes).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError

_PROBES = (16, 48)  # cells along one side; the larger one only when the reach needs it


def receptive_field(network: nn.Module) -> int | None:
    """Return how far beyond its own cell an output cell depends on the input.

    An encoder's cell is one position of h and its stride × stride pixels of x, and the answer is in
    pixels; a decoder's cell is one position of z and its pixels of x_hat, and the answer is in
    positions. Measured on a copy by the gradient from a cell in the middle. GroupNorms count as
    identity: their statistics reach everywhere, but only as two numbers per group.

    Args:
        network: an encoder or a decoder with `in_channels`, `stride` and `axes`.

    Returns:
        The reach on the farther side; None when it has no end (attention), or one beyond 23 cells.

    Raises:
        PellucidError: when the network changes the grid by something other than its stride.
    """
    probe = _without_norms(copy.deepcopy(network)).double().eval()
    device = next(network.parameters()).device
    for cells in _PROBES:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            reach = _reach(probe, cells, device)
        if reach is not None:
            return reach
    return None


def _reach(network: nn.Module, cells: int, device: torch.device) -> int | None:
    """Return the reach, or None when it goes to the border of a probe of cells × cells."""
    in_channels: int = network.in_channels  # pyright: ignore[reportAssignmentType]
    stride: int = network.stride  # pyright: ignore[reportAssignmentType]
    encodes = hasattr(network, "channels")
    axes: int = network.axes  # pyright: ignore[reportAssignmentType]
    side = cells * stride if encodes else cells
    generator = torch.Generator().manual_seed(0)
    x_BCP = torch.randn(1, in_channels, *[side] * axes, generator=generator, dtype=torch.float64)
    x_BCP = x_BCP.to(device).requires_grad_()
    y_BCP: Tensor = network(x_BCP)
    into, out_of = (stride, 1) if encodes else (1, stride)
    if y_BCP.shape[2:] != (cells * out_of,) * axes:
        raise PellucidError(
            f"{type(network).__name__} does not keep to its stride {stride}",
            expected=" × ".join([str(cells * out_of)] * axes) + f" from sides of {side}",
            found=" × ".join(str(size) for size in y_BCP.shape[2:]),
        )
    middle = cells // 2
    cell = slice(middle * out_of, (middle + 1) * out_of)
    (gradient,) = torch.autograd.grad(y_BCP[(..., *[cell] * axes)].square().sum(), x_BCP)
    touched = gradient.abs().sum((0, 1))
    reach = 0
    for axis in range(axes):
        others = [other for other in range(axes) if other != axis]
        where = (touched.sum(others) if others else touched).nonzero().flatten()
        if where[0] == 0 or where[-1] == side - 1:
            return None
        reach = max(reach, middle * into - int(where[0]), int(where[-1]) - (middle + 1) * into + 1)
    return reach


def _without_norms(network: nn.Module) -> nn.Module:
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(part, name, nn.Identity())
    return network
