"""A timm network as a source of feature maps, fed as it was trained to be fed.

Shape letters: B batch, C channels, H height, W width, h × w a coarser grid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import RecipeError, RunError, first_line, require
from pellucid.functional.value_range import ValueRange
from pellucid.weight_files import read_tensors

_PURPOSE = "a timm network"
_PRETRAINING_ONLY = ("mask_token",)  # of DINOv2: in its files, in no network


@dataclasses.dataclass(frozen=True)
class Stage:
    """One feature map: timm's name of the module it comes from, its channels, pixels per cell."""

    name: str
    channels: int
    reduction: int


class Backbone(nn.Module):
    """Return the feature maps of a timm network up to one of its stages; the rest is cut off.

    Images are mapped from `value_range` to [0, 1] and then normalised with the mean and standard
    deviation the network was trained with (their average where the image has one channel).

    Args:
        name: timm's name, e.g. "vit_small_patch14_dinov2", "resnet50", "convnext_tiny".
        pretrained: False draws weights, True takes them from the library's cache or its hub, a
            path takes a .safetensors file of that network, its classifier included or not.
        in_channels: image channels; timm adapts the first convolution.
        out: index of the last stage, counted as timm's `out_indices`; −1 is the deepest.
        value_range: range of the images it is given.

    Raises:
        MissingExtraError: without timm.
        RecipeError: when there is no such network or stage, or it gives no feature maps.
        RunError: when the weights are not to be had, or belong to another network.
    """

    network: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool | str = False,
        in_channels: int = 3,
        out: int = -1,
        value_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        self.name = name
        self.in_channels = in_channels
        self.value_range = ValueRange(*value_range)
        network = _create(name, pretrained, in_channels)
        stages = [
            Stage(info["module"], info["num_chs"], info["reduction"])
            for info in network.feature_info
        ]
        if not -len(stages) <= out < len(stages):
            raise RecipeError(
                f"'{name}' has no stage {out}",
                where="out",
                expected=f"0 … {len(stages) - 1}, or −1 for the last: "
                + ", ".join(stage.name for stage in stages),
                found=out,
            )
        last = out % len(stages)
        # what lies behind the last stage would be parameters without a gradient
        network.prune_intermediate_layers([last], prune_norm=False, prune_head=True)
        self.network = network
        self.stages = tuple(stages[: last + 1])
        self._norms = hasattr(network, "norm") and last == len(stages) - 1
        if not self._norms and isinstance(getattr(network, "norm", None), nn.Module):
            network.norm = nn.Identity()
        for buffer in ("mean", "std"):
            values = torch.tensor(network.pretrained_cfg[buffer])
            values = values if in_channels == len(values) else values.mean().expand(in_channels)
            self.register_buffer(buffer, values.clone().view(1, -1, 1, 1), persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return (B, C, h, w) of every stage, the deepest last; tokens of a transformer as a grid.

        The deepest map of a network that ends in a norm is normalised, as its users read it.

        Raises:
            RecipeError: when the network cannot see images of this size.
        """
        x = (self.value_range.to_unit(x_BCHW) - self.mean) / self.std
        try:
            return self.network.forward_intermediates(
                x,
                indices=list(range(len(self.stages))),
                norm=self._norms,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        except (AssertionError, RuntimeError) as error:
            raise RecipeError(
                f"'{self.name}' cannot see images of this size",
                where="encoder.name",
                expected="a size that its stages divide, or a network of any size",
                found=f"{tuple(x_BCHW.shape[-2:])}: {first_line(error)}",
            ) from error

    def depths(self) -> dict[str, int]:
        """Return parameter name → depth: 0 the stem, 1 … the blocks in order, then what follows."""
        manipulate = require("timm.models._manipulate", extra="image", purpose=_PURPOSE)
        found = manipulate.group_with_matcher(
            self.network.named_parameters(), self.network.group_matcher(coarse=False), reverse=True
        )
        order = {depth: rank for rank, depth in enumerate(sorted(set(found.values())))}
        return {f"network.{name}": order[depth] for name, depth in found.items()}


def _create(name: str, pretrained: bool | str, in_channels: int) -> Any:
    timm = require("timm", extra="image", purpose=_PURPOSE)
    if not timm.is_model(name):
        raise _unknown(name, timm.list_models())
    keywords: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0}
    if pretrained is not False:
        file = _cached(name, timm) if pretrained is True else _checked(name, Path(pretrained), timm)
        keywords |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    with _told_apart(name, pretrained):
        try:
            network = timm.create_model(name, dynamic_img_size=True, **keywords)
        except TypeError:  # convolutions see any size anyway
            network = timm.create_model(name, **keywords)
    if not all(
        hasattr(network, part)
        for part in ("forward_intermediates", "prune_intermediate_layers", "feature_info")
    ):
        raise RecipeError(
            f"'{name}' of timm gives no feature maps",
            where="encoder.name",
            expected="a network with intermediate features",
            hint=_close(name, timm.list_models()),
        )
    return network


@contextlib.contextmanager
def _told_apart(name: str, pretrained: bool | str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, KeyError) as error:
        if pretrained is False:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise RunError(
            f"these weights do not fit '{name}'",
            where=pretrained if isinstance(pretrained, str) else "the library's cache",
            expected=f"the tensors of timm's '{name}'",
            found="\n    ".join(lines[:4]),
            hint="name the network the weights were trained as",
        ) from error


def _checked(name: str, path: Path, timm: Any) -> Path:
    """Refuse a file before timm sees it, which also reads pickles and ignores what is too much."""
    path = path.expanduser()
    if path.suffix != ".safetensors":
        raise RunError(
            f"weights of '{name}' are read from safetensors only",
            where=path,
            expected="a file ending in .safetensors",
            hint="pickled checkpoints can run code when opened and are never read; convert it: "
            "safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'x.safetensors')",
        )
    tensors = read_tensors(path)
    with torch.device("meta"):
        known = timm.create_model(name).state_dict()
    foreign = [key for key in tensors if key not in known and key not in _PRETRAINING_ONLY]
    if foreign:
        raise RunError(
            f"these weights do not fit '{name}'",
            where=path,
            expected=f"the {len(known)} tensors of timm's '{name}'",
            found=f"{len(foreign)} others: {', '.join(foreign[:3])}",
            hint="name the network the weights were trained as",
        )
    return path


def _cached(name: str, timm: Any) -> str:
    """Return the file of the network's own weights, from the hub's cache or downloaded into it."""
    hub = require("huggingface_hub", extra="image", purpose="pretrained weights")
    known = timm.models.get_pretrained_cfg(name)
    repository = None if known is None else known.hf_hub_id
    if not repository:
        raise RecipeError(
            f"timm has no weights for '{name}'",
            where="pretrained",
            expected="false, or a path of a .safetensors file",
            hint=_close(name, timm.list_pretrained()),
        )
    file = str(getattr(known, "hf_hub_filename", None) or "model.safetensors")
    if not file.endswith(".safetensors"):
        file = "model.safetensors"
    try:
        return hub.hf_hub_download(repository, file)
    except Exception as error:  # the hub raises a dozen kinds, its own and its transport's
        place = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        raise RunError(
            f"the weights of '{name}' are not in the cache and cannot be downloaded",
            where=place,
            expected=f"{file} of '{repository}'",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint=f"put that file somewhere and say pretrained=PATH/{file}, or pretrained=false "
            "for weights drawn at random",
        ) from error


def _unknown(name: str, valid: list[str]) -> RecipeError:
    return RecipeError(
        f"timm has no network '{name}'",
        where="encoder.name",
        expected=f"one of the {len(valid)} names of timm.list_models()",
        hint=_close(name, valid),
    )


def _close(name: str, valid: list[str]) -> str | None:
    close = difflib.get_close_matches(name.split(".")[0].lower(), valid, n=3, cutoff=0.4)
    return f"the nearest names: {', '.join(close)}" if close else None
