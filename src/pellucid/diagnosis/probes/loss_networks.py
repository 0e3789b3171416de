"""What a loss network is fed, whether its weights were ever trained, and how it answers to noise.

Shape letters: B batch, C channels, P positions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.outputs import (
    gradient_at,
    loss_mode,
    output_layer,
    replaced_output,
)

NOISES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_LPIPS_SHIFT = (-0.030, -0.088, -0.188)


@dataclasses.dataclass(frozen=True)
class Fed:
    """One loss network as the loss uses it.

    Args:
        called: whether loss_terms ran it at all.
        low, high: extremes of what it was given.
        expected: the range it declares or its normalisation implies, or None.
        shifted: how far the input of its first batch norm lies from the statistics it was trained
            with, in their standard deviations; NaN without one.
        untrained: share of its layers whose weights still look drawn by an initialiser.
        layers: layers looked at.
        updated: whether an optimiser moves its parameters.
        response: its term's value with x_hat = x plus growing noise, or () when that cannot be set.
        identical: its term with x_hat = x, beside its value on real reconstructions; NaN unknown.
    """

    called: bool
    low: float
    high: float
    expected: tuple[float, float] | None
    shifted: float
    untrained: float
    layers: int
    updated: bool
    response: tuple[float, ...]
    identical: float

    @property
    def monotone(self) -> float:
        """Rank correlation of the response with the noise; 1 is monotone, NaN unknown."""
        if len(self.response) < 3:
            return math.nan
        ranks = torch.tensor(self.response).argsort().argsort().double()
        steps = torch.arange(len(ranks)).double()
        a, b = ranks - ranks.mean(), steps - steps.mean()
        return float((a * b).sum() / (a.norm() * b.norm()))


def fed(case: Case) -> dict[str, Fed]:
    """Watch every loss network during the loss, and try it on known noise."""
    return {name: _fed(case, name, net) for name, net in case.subject.loss_networks.items()}


def _fed(case: Case, name: str, network: nn.Module) -> Fed:
    inputs, norms, outputs = _watch(case, network)
    low = min((float(t.min()) for t in inputs), default=math.nan)
    high = max((float(t.max()) for t in inputs), default=math.nan)
    shares = [drawn_by_initialiser(m) for m in network.modules() if isinstance(m, _LAYERS)]
    known = [s for s in shares if s is not None]
    owned = {id(p) for o in case.subject.optimizers for g in o.param_groups for p in g["params"]}
    response, identical = _response(case, network)
    return Fed(
        called=bool(inputs) or bool(outputs),
        low=low,
        high=high,
        expected=expected_range(case, name, network),
        shifted=norms,
        untrained=sum(known) / len(known) if known else 0.0,
        layers=len(known),
        updated=any(id(p) in owned for p in network.parameters()),
        response=response,
        identical=identical,
    )


def _watch(case: Case, network: nn.Module) -> tuple[list[Tensor], float, list[Tensor]]:
    """Return what the network is given in a loss, how far off its first batch norm is, outputs."""
    losses = case.subject.loss_terms
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    shifts: list[float] = []

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.extend(
            t.detach() for t in (*given, *named.values())
            if isinstance(t, Tensor) and t.is_floating_point()
        )  # fmt: skip

    def after(_: nn.Module, __: Any, out: Any) -> None:
        outputs.extend(t for t in (out if isinstance(out, (list, tuple)) else [out]))

    def norm(m: Any, given: tuple[Any, ...]) -> None:
        x = given[0].detach().float()
        axes = [i for i in range(x.ndim) if i != 1]
        if m.running_mean is not None and x.ndim >= 2:
            off = (x.mean(axes) - m.running_mean).abs() / m.running_var.sqrt().clamp_min(1e-6)
            shifts.append(float(off.mean()))

    handles = [
        network.register_forward_pre_hook(before, with_kwargs=True),
        network.register_forward_hook(after),
    ]
    first = next((m for m in network.modules() if isinstance(m, _NORMS)), None)
    if first is not None:
        handles.append(first.register_forward_pre_hook(norm))
    try:
        if losses is not None:
            with loss_mode(case), torch.no_grad():
                losses(case.batch_of(case.fit))
    finally:
        for handle in handles:
            handle.remove()
    return inputs, max(shifts, default=math.nan), outputs


def expected_range(case: Case, name: str, network: nn.Module) -> tuple[float, float] | None:
    """Return the range a network is meant for: declared, or implied by what it normalises with."""
    recipe = case.subject.recipe or {}
    for value in (
        recipe.get(f"{name}_range"),
        getattr(network, "input_range", None),
        getattr(network, "value_range", None),
    ):
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return float(value[0]), float(value[1])
    for tensor in _constants(network):
        values = tuple(round(v, 3) for v in tensor.flatten().tolist())
        if values == _IMAGENET_MEAN:
            return 0.0, 1.0
        if values == _LPIPS_SHIFT:
            return -1.0, 1.0
    return None


def _constants(network: nn.Module) -> list[Tensor]:
    """Return three-valued tensors anywhere in a network: what images are normalised with."""
    found = [b for b in network.buffers() if b.numel() == 3]
    for module in network.modules():
        plain = [v for v in vars(module).values() if isinstance(v, Tensor) and v.numel() == 3]
        listed = [
            torch.tensor(v)
            for v in vars(module).values()
            if isinstance(v, (list, tuple)) and len(v) == 3
            and all(isinstance(e, float) for e in v)
        ]  # fmt: skip
        found += plain + listed
    return found


def drawn_by_initialiser(layer: Any) -> bool | None:
    """Say whether a layer's weights still look as an initialiser draws them; None if too few.

    Uniform draws end sharply at a bound of 1/√fan (torch's default) or √(6/fan) (He, Glorot);
    normal ones have a spread of √(2/fan) or √(2/(in+out)) and biases of exactly zero. Training
    keeps neither: it fattens the tails and moves the biases.
    """
    w = layer.weight.detach().float()
    if w.numel() < 100:
        return None
    per = w[0].numel()
    out = w.shape[0] * (w[0][0].numel() if w.ndim > 2 else 1)
    std, top = float(w.std()), float(w.abs().max())
    slack = 0.02 + 2 / math.sqrt(w.numel())
    flatness = float(w.pow(4).mean() / w.pow(2).mean().square().clamp_min(1e-30))
    bounds = (1 / per**0.5, (6 / per) ** 0.5, (6 / out) ** 0.5, (6 / (per + out)) ** 0.5)
    uniform = abs(flatness - 1.8) < 0.1 + 4 / math.sqrt(w.numel()) and any(
        top <= b * 1.001 and abs(std * 3**0.5 / b - 1) < slack for b in bounds
    )
    spreads = (
        (2 / per) ** 0.5,
        (2 / out) ** 0.5,
        (2 / (per + out)) ** 0.5,
        1 / per**0.5,
        0.02,
        0.01,
    )
    unmoved = layer.bias is None or not bool(layer.bias.detach().any())
    normal = (
        unmoved
        and abs(flatness - 3) < 0.2 + 10 / math.sqrt(w.numel())
        and any(abs(std / s - 1) < slack for s in spreads)
    )
    return uniform or normal


def _response(case: Case, network: nn.Module) -> tuple[tuple[float, ...], float]:
    """Return the network's term for x_hat = x + noise, and at no noise beside real x_hat."""
    losses, layer = case.subject.loss_terms, case.measure(output_layer)
    if losses is None or layer is None:
        return (), math.nan
    names = _terms_of(case, network)
    if not names:
        return (), math.nan
    x = case.batch_of(case.fit)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x) * x.std()

    def value(x_hat: Tensor | None) -> tuple[float, Tensor | None]:
        given: list[Tensor] = []

        def swap(out: Tensor) -> Tensor:
            if x_hat is None or out.numel() != x_hat.numel():
                return out
            given.append(out)
            return x_hat.reshape(out.shape)

        with loss_mode(case), torch.no_grad(), replaced_output(layer.module, swap):
            torch.manual_seed(0)
            terms = losses(x)
        return sum(float(terms[n]) for n in names), given[0] if given else None

    real, _ = value(None)
    curve = tuple(value(x + scale * noise)[0] for scale in NOISES)
    return curve, curve[0] / real if abs(real) > 1e-20 else math.nan


def _terms_of(case: Case, network: nn.Module) -> list[str]:
    """Return the terms whose gradient passes through the network."""
    losses = case.subject.loss_terms
    assert losses is not None
    live: list[Tensor] = []

    def keep(_: nn.Module, __: Any, out: Any) -> None:
        parts = out if isinstance(out, (list, tuple)) else [out]
        live.extend(t for t in parts if isinstance(t, Tensor) and t.requires_grad)

    handles = [m.register_forward_hook(keep) for m in network.modules()]
    try:
        with loss_mode(case):
            terms = losses(case.batch_of(case.fit))
            return [n for n, v in terms.items() if any(g is not None for g in gradient_at(v, live))]
    finally:
        for handle in handles:
            handle.remove()
