"""VGG16's convolutional features, as perceptual distances read them.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import PellucidError, RecipeError, RunError, require
from pellucid.weight_files import read_tensors, refuse_differences

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on unit values
_DEPTHS = (2, 2, 3, 3, 3)  # convolutions per layer
_GROWTH = (1, 2, 4, 8, 8)
_FULL_WIDTH = 64


class VGGFeatures(nn.Module):
    """Return the activations relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of images in [0, 1].

    Parameters are named as torchvision names them (`features.0.weight` …).

    Args:
        pretrained: True reads torchvision's weights from its cache (or lets it download them), a
            path a .safetensors file with those names; False draws them.
        layers: how many of the five.
        width: channels of the first; weights exist for 64.

    Raises:
        MissingExtraError: without torchvision, where its weights are asked for.
        RecipeError: for sizes that VGG16 does not have.
        RunError: when the weights are not to be had, or belong to another network.

    Source: Simonyan & Zisserman 2014, configuration D.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, pretrained: bool | str = True, layers: int = 5, width: int = _FULL_WIDTH
    ) -> None:
        super().__init__()
        if not 1 <= layers <= len(_DEPTHS):
            raise RecipeError("VGG16 has five layers", expected="1 … 5", found=layers)
        if pretrained is True and width != _FULL_WIDTH:
            raise RecipeError("VGG16's weights are 64 wide", where="width", found=width)
        self.channels = [width * growth for growth in _GROWTH[:layers]]
        parts: list[nn.Module] = []
        self._ends: list[int] = []
        before = 3
        with torch.device("meta" if pretrained is not False else "cpu"):
            for level, channels in enumerate(self.channels):
                if level:
                    parts.append(nn.MaxPool2d(2))
                for _ in range(_DEPTHS[level]):
                    parts += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                    before = channels
                self._ends.append(len(parts) - 1)
            self.features = nn.ModuleList(parts)
        if pretrained is not False:
            self._load(_torchvision() if pretrained is True else None, pretrained)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the activations, the finest first.

        Raises:
            PellucidError: when an image is too small for the deepest layer.
        """
        smallest = 2 ** (len(self.channels) - 1)
        if min(x_BCHW.shape[-2:]) < smallest:
            raise PellucidError(
                "the images are too small",
                where=f"VGG16 with {len(self.channels)} layers",
                expected=f"at least {smallest}×{smallest} pixels",
                found="×".join(map(str, x_BCHW.shape[-2:])),
                hint="fewer layers halve less often",
            )
        y = (x_BCHW - self.mean) / self.std
        found = []
        for place, part in enumerate(self.features):
            y = F.relu(y) if isinstance(part, nn.ReLU) else part(y)
            if place in self._ends:
                found.append(y)
        return found

    def _load(self, state: dict[str, Any] | None, source: bool | str) -> None:
        where: object = "torchvision's cache"
        if state is None:
            where = Path(str(source)).expanduser()
            state = dict(read_tensors(Path(where)))
        wanted = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        last = max(int(name.split(".")[1]) for name in wanted)
        known = {  # deeper layers and the classifier may be in the file too
            name: value
            for name, value in state.items()
            if not name.startswith("classifier.")
            and not (name.startswith("features.") and int(name.split(".")[1]) > last)
        }
        refuse_differences(
            wanted,
            {name: tuple(value.shape) for name, value in known.items()},
            where,
            hint="the features of torchvision's vgg16 are wanted",
        )
        self.load_state_dict(known, assign=True)


def read_linear(path: str, channels: list[int]) -> list[Tensor]:
    """Return LPIPS's non-negative channel weights, one (C,) per layer.

    Raises:
        RunError: when the file is not safetensors or has other layers.
    """
    place = Path(path).expanduser()
    tensors = read_tensors(place)
    names = [f"lin{level}.model.1.weight" for level in range(len(channels))]
    refuse_differences(
        {name: (1, count, 1, 1) for name, count in zip(names, channels, strict=True)},
        {name: tuple(value.shape) for name, value in tensors.items()},
        place,
        hint="the five 1×1 convolutions of LPIPS's VGG are wanted",
    )
    return [tensors[name].flatten() for name in names]


def _torchvision() -> dict[str, Any]:
    models = require("torchvision.models", extra="image", purpose="the term 'lpips'")
    weights = models.VGG16_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        file = weights.url.rsplit("/", 1)[-1]
        place = Path(torch.hub.get_dir()) / "checkpoints"
        raise RunError(
            "the weights of VGG16 are not in the cache and cannot be downloaded",
            where=place,
            expected=file,
            found=(str(error).splitlines() or [type(error).__name__])[0],
            hint=f"put {file} there, give a .safetensors file as pretrained=PATH, or use the term "
            "'perceptual', which needs no weights",
        ) from error
