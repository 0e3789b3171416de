"""A timm network (DINOv2, ResNet, ConvNeXt, …) as encoder, with staged freezing.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.padding import check_sides
from pellucid.nn.backbone import Backbone


class TimmEncoder(nn.Module):
    """Turn images into the features of a timm network, in that network's own normalisation.

    Depth is counted in blocks: 0 is the stem (patch or first convolutions, position embeddings),
    1 … N the blocks. A frozen block gets no gradient, and its batch norms and dropouts stay in
    evaluation mode, so neither its weights nor its statistics move.

    Args:
        in_channels: channels of x.
        name: timm's name of the network.
        pretrained: False draws weights, True takes timm's from cache or hub, a path takes a
            .safetensors file.
        out: index of the stage that becomes h; −1 is the deepest.
        stride: pixels per position of h along one side; None takes the stage's own. Another one
            resizes the image first: stride 8 with 14-pixel patches shows them enlarged by 14/8.
        frozen: the first so many blocks (and the stem) stay as they are, or "all"; 0 trains all.
        unfreeze_at: optimiser step from which everything trains, or None for never.
        layer_decay: learning rate of block k of N as the ratio layer_decay^(N−k) of the base rate.
        value_range: range of x.

    Raises:
        MissingExtraError: without timm.
        RecipeError: for an unknown network, stage, stride or number of blocks.
        RunError: when the weights are not to be had, or belong to another network.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 3,
        name: str = "vit_small_patch14_dinov2",
        pretrained: bool | str = False,
        out: int = -1,
        stride: int | None = None,
        frozen: int | Literal["all"] = 0,
        unfreeze_at: int | None = None,
        layer_decay: float = 1.0,
        value_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        self.backbone = Backbone(
            name, pretrained=pretrained, in_channels=in_channels, out=out, value_range=value_range
        )
        stages = self.backbone.stages
        self.in_channels, self.channels = in_channels, stages[-1].channels
        self.stride = stages[-1].reduction if stride is None else stride
        self.enlarge = stages[-1].reduction / self.stride if self.stride > 0 else 0.0
        self.intermediates = (*(stage.name for stage in stages[:-1]), "h")
        self._depth = {f"backbone.{k}": depth for k, depth in self.backbone.depths().items()}
        self.blocks = max(self._depth.values())
        self.frozen: int | Literal["all"] = frozen
        self.unfreeze_at, self.layer_decay = unfreeze_at, layer_decay
        self._check()
        self._held: frozenset[str] = frozenset()
        # what thaws later must be known to the optimiser and to DDP, which look once, before step 0
        if unfreeze_at is None:
            self.at_step(0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, channels, H/stride, W/stride).

        Raises:
            PellucidError: when the sides are not multiples of the stride.
        """
        return self.features(x_BCHW)["h"]

    def features(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the map of every stage by the names in `intermediates`; the last is h."""
        check_sides(x_BCHW, self.stride, channels=self.in_channels)
        if self.enlarge != 1:
            sides = [round(side * self.enlarge) for side in x_BCHW.shape[-2:]]
            x_BCHW = F.interpolate(x_BCHW.float(), sides, mode="bicubic", antialias=True)
        return dict(zip(self.intermediates, self.backbone(x_BCHW), strict=True))

    # ---- what trains, and how fast --------------------------------------------------------------

    def at_step(self, step: int) -> None:
        """Freeze and unfreeze what optimiser step `step` asks for; called before every step."""
        held = self.frozen_names(step)
        if held == self._held:
            return
        self._held = held
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in held)
        self.train(self.training)

    def frozen_names(self, step: int) -> frozenset[str]:
        """Return the names of the parameters that stand still in that step."""
        if self.unfreeze_at is not None and step >= self.unfreeze_at:
            return frozenset()
        if self.frozen == "all":
            return frozenset(self._depth)
        if self.frozen == 0:
            return frozenset()
        return frozenset(name for name, depth in self._depth.items() if depth <= self.frozen)

    def frozen_tensors(self, step: int) -> dict[str, Tensor]:
        """Return what must not move in that step: frozen weights, and statistics beside them."""
        names = self.frozen_names(step)
        owners = {name.rpartition(".")[0] for name in names}
        still = {name: p.detach() for name, p in self.named_parameters() if name in names}
        return still | {
            name: b for name, b in self.named_buffers() if name.rpartition(".")[0] in owners
        }

    def learning_rate_scales(self) -> dict[str, float]:
        """Return parameter name → ratio of the base learning rate; without decay, nothing."""
        if self.layer_decay == 1:
            return {}
        return {k: self.layer_decay ** (self.blocks - depth) for k, depth in self._depth.items()}

    def train(self, mode: bool = True) -> TimmEncoder:
        """Set the mode of everything but what is frozen, which stays in evaluation mode."""
        super().train(mode)
        if mode and self._held:
            for prefix, part in self.named_modules():
                names = [f"{prefix}.{name}" for name, _ in part.named_parameters()]
                if prefix and names and self._held.issuperset(names):
                    part.eval()
        return self

    def _check(self) -> None:
        if self.stride < 1:
            raise RecipeError("a stride is positive", where="encoder.stride", found=self.stride)
        if self.frozen != "all" and not 0 <= self.frozen <= self.blocks:
            raise RecipeError(
                f"'{self.backbone.name}' has {self.blocks} blocks",
                where="encoder.frozen",
                expected=f"0 … {self.blocks}, or 'all'",
                found=self.frozen,
            )
        if self.unfreeze_at is not None and (self.frozen == 0 or self.unfreeze_at < 1):
            raise RecipeError(
                "nothing is frozen before this step",
                where="encoder.unfreeze_at",
                expected="frozen > 0 and a step ≥ 1",
                found=f"frozen {self.frozen}, unfreeze_at {self.unfreeze_at}",
            )
        if not 0 < self.layer_decay <= 1:
            raise RecipeError(
                "a layer decay slows shallow layers down",
                where="encoder.layer_decay",
                expected="in (0, 1]",
                found=self.layer_decay,
            )
