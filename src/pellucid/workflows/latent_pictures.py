"""Pictures of a latent space: lines, walks, neighbours and draws, decoded and written into the run.

Shape letters: N samples, D latent dimensions, C channels, H, W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.atomic_files import write_atomically
from pellucid.evaluation.latent_space.encoded import BATCH, Encoded
from pellucid.evaluation.latent_space.geometry import interpolate, neighbours, traverse
from pellucid.evaluation.latent_space.mixture import fit_mixture
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.principal import PrincipalAxes
from pellucid.workflows.run import Run

_STEPS = 9
_REACH = 3.0
_PAIRS = 4
_QUERIES = 5
_NEAREST = 5
_DRAWN = 18


class Drawing:
    """Decode latents and write strips of pictures into the run."""

    def __init__(self, run: Run, model: Autoencoder, shape: tuple[int, ...]) -> None:
        self.run, self.model, self.shape = run, model, shape

    @torch.no_grad()
    def decode(self, z_ND: Tensor) -> Tensor:
        """Return (N, C, H, W) in the model's range."""
        parts = [self.model.decode(z.unflatten(1, self.shape)) for z in z_ND.split(BATCH)]
        return torch.cat(parts)

    def strip(self, name: str, x_NCHW: Tensor, *, columns: int | None = None) -> str:
        """Write pictures side by side (in rows of `columns`) and return the file's name."""

        value_range = self.run.value_range
        assert value_range is not None  # only runs of pictures come here
        pixels = value_range.to_uint8(x_NCHW).permute(0, 2, 3, 1).numpy()
        count = columns or len(pixels)
        rows = [
            np.concatenate(list(pixels[i : i + count]), axis=1)
            for i in range(0, len(pixels) // count * count, count)
        ]
        whole = np.concatenate(rows, axis=0)
        buffer = io.BytesIO()
        Image.fromarray(whole[..., 0] if whole.shape[-1] == 1 else whole).save(buffer, "PNG")
        write_atomically(self.run.folder.latent_space / f"{name}.png", buffer.getvalue())
        return f"{name}.png"


def interpolations(draw: Drawing, held_out: Encoded, seed: int) -> list[dict[str, Any]]:
    """Draw lines between held-out samples: through the latent space, and through pixels."""
    order = np.random.default_rng(seed).permutation(len(held_out.z)).tolist()
    told = []
    for number, (a, b) in enumerate(zip(order[0::2][:_PAIRS], order[1::2], strict=False)):
        line = draw.decode(interpolate(held_out.z[a], held_out.z[b], _STEPS))
        fade = interpolate(held_out.x[a].flatten(), held_out.x[b].flatten(), _STEPS)
        fade = fade.unflatten(1, held_out.x.shape[1:])
        told.append(
            {
                "from": held_out.names[a],
                "to": held_out.names[b],
                "latent": draw.strip(f"line-{number}", line),
                "pixels": draw.strip(f"fade-{number}", fade),
            }
        )
    return told


def traversals(draw: Drawing, axes: PrincipalAxes, train: Encoded) -> list[dict[str, Any]]:
    """Draw walks along the axes on which latents vary most, through their mean."""
    total = float(axes.eigenvalues.sum())
    return [
        {
            "axis": axis,
            "reach": _REACH,
            "share": float(axes.eigenvalues[axis]) / total,
            "file": draw.strip(
                f"axis-{axis}", draw.decode(traverse(axes, axis, reach=_REACH, steps=_STEPS))
            ),
        }
        for axis in range(len(axes.axes))
    ]


def nearest(draw: Drawing, held_out: Encoded, train: Encoded, seed: int) -> list[dict[str, Any]]:
    """Draw held-out samples, each with its nearest training samples by latent and by pixels."""
    rng = np.random.default_rng(seed + 1)
    chosen = sorted(rng.permutation(len(held_out.z))[:_QUERIES].tolist())
    told = []
    by: dict[str, Callable[[Encoded], Tensor]] = {
        "latent": lambda split: split.z,
        "pixels": lambda split: split.x.flatten(1),
    }
    for number, query in enumerate(chosen):
        entry: dict[str, Any] = {"name": held_out.names[query]}
        for space, of in by.items():
            indices, _ = neighbours(of(held_out)[query : query + 1], of(train), _NEAREST)
            pictures = torch.cat([held_out.x[query : query + 1], train.x[indices[0]]])
            entry[space] = draw.strip(f"near-{number}-{space}", pictures)
        told.append(entry)
    return told


def mixture(draw: Drawing, train: Encoded, held_out: Encoded, seed: int) -> dict[str, Any]:
    """Draw from a mixture fitted to the latents; beside it from the prior, where there is one."""
    mixture = fit_mixture(train.z, held_out.z, seed=seed)
    node: dict[str, Any] = {
        "components": mixture.components,
        "axes": len(mixture.axes.axes),
        "variance_kept": mixture.kept,
        "likelihoods": {str(k): value for k, value in mixture.likelihoods.items()},
        "file": draw.strip("mixture", draw.decode(mixture.sample(_DRAWN, seed=seed)), columns=9),
        "prior": None,
    }
    if train.kl is not None:
        generator = torch.Generator().manual_seed(seed)
        prior = torch.randn(_DRAWN, train.z.shape[1], generator=generator)
        node["prior"] = draw.strip("prior", draw.decode(prior), columns=9)
    return node
