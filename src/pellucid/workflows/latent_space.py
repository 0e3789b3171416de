"""Look into a run's latent space and write what is there beside the run, for its page.

Shape letters: N samples, D latent dimensions, C channels, H, W pixels, S steps.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.references.principal import PrincipalAxes

_STEPS = 9
_REACH = 3.0
_AXES = 6
_PAIRS = 4
_QUERIES = 5
_NEAREST = 5
_DRAWN = 18
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Samples of one split, training crops as an epoch draws them but clean, and their latents.

    Args:
        x: (N, C, H, W) in the model's range.
        z: (N, D) flattened posterior means.
        kl: (D,) mean KL of every dimension in nats, or None without a posterior.
        names: of the samples.
        labels: (N,) classes, or None.
    """

    x: Tensor
    z: Tensor
    kl: Tensor | None
    names: list[str]
    labels: Tensor | None


def latent_space(
    run: str | Path | Run,
    *,
    samples: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Interpolate, traverse, look up neighbours, count dead dimensions and sample a mixture.

    Latents are posterior means, decoded as they are: models with codes are shown without
    quantisation. Written to `RUN/latent_space/` (index.json and pictures) and shown by its page.

    Args:
        run: the run or its folder; of pictures with 1 or 3 channels.
        samples: at most so many of the training split, and a quarter as many held-out ones.
        seed: of the choices and of the sampling.
        progress: draw a progress bar.

    Returns:
        The content of index.json.

    Raises:
        DataError: when the run is of something else, or has too few samples.
        RunError: when it has no weights.
        MissingExtraError: without scikit-learn.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.references.principal import principal_axes

    opened = Run.open(run)
    facts = data_facts(opened.recipe)
    if facts.axes != 2 or facts.channels not in (1, 3):
        raise DataError(
            "only pictures can be shown",
            where=opened.path,
            expected="a run of images with 1 or 3 channels",
        )
    model = opened.load()
    data: Any = opened.data()
    with progress_bar("latent space", shown=progress) as report:
        train = _encode(model, data.train, samples)
        report(1, 4)
        held_out = _encode(model, data.test, max(2, samples // 4))
        if len(train.z) < 4 or len(held_out.z) < 2:
            raise DataError(
                "too few samples for a latent space",
                expected="4 of training and 2 held out",
                found=f"{len(train.z)} and {len(held_out.z)}",
            )
        shape = tuple(model.encode(held_out.x[:1]).mean.shape[1:])
        axes = principal_axes(train.z, _AXES)
        draw = _Drawing(opened, model, shape)
        report(2, 4)
        node = _numbers(opened, model, train, held_out, shape)
        node["interpolations"] = _interpolations(draw, held_out, seed)
        node["traversals"] = _traversals(draw, axes, train)
        node["neighbours"] = _neighbours(draw, held_out, train, seed)
        report(3, 4)
        node["mixture"] = _mixture(draw, train, held_out, seed)
        report(4, 4)
    opened.folder.write_json(opened.folder.latent_space / "index.json", node)
    return node


class _Drawing:
    """Decode latents and write strips of pictures into the run."""

    def __init__(self, run: Run, model: Autoencoder, shape: tuple[int, ...]) -> None:
        self.run, self.model, self.shape = run, model, shape

    @torch.no_grad()
    def decode(self, z_ND: Tensor) -> Tensor:
        """Return (N, C, H, W) in the model's range."""
        parts = [self.model.decode(z.unflatten(1, self.shape)) for z in z_ND.split(_BATCH)]
        return torch.cat(parts)

    def strip(self, name: str, x_NCHW: Tensor, *, columns: int | None = None) -> str:
        """Write pictures side by side (in rows of `columns`) and return the file's name."""
        from PIL import Image

        from pellucid.atomic_files import write_atomically

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


@torch.no_grad()
def _encode(model: Autoencoder, split: Any, samples: int) -> Encoded:
    from pellucid.functional.gaussian import kl_nats
    from pellucid.references.samples import spaced

    indices = spaced(len(split), samples)
    x, z, labels, kl = [], [], [], 0.0
    for start in range(0, len(indices), _BATCH):
        batch = split.batch(indices[start : start + _BATCH])
        latent = model.encode(batch["target"])
        x.append(batch["target"])
        z.append(latent.mean.flatten(1).float())
        if latent.logvar is not None:
            kl = kl + kl_nats(latent.mean, latent.logvar).flatten(1).sum(0)
        if "label" in batch:
            labels.append(batch["label"])
    return Encoded(
        torch.cat(x) if x else torch.empty(0),
        torch.cat(z) if z else torch.empty(0, 1),
        kl / len(indices) if isinstance(kl, Tensor) else None,
        [split.name(index) for index in indices],
        torch.cat(labels) if labels else None,
    )


@torch.no_grad()
def _numbers(
    run: Run, model: Autoencoder, train: Encoded, held_out: Encoded, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return active and dead dimensions beside the closed form, and how samples are told apart."""
    from pellucid.evaluation.latent_space.geometry import discrimination, neighbour_accuracy
    from pellucid.metrics.latent import ACTIVE_NATS, ACTIVE_VARIANCE
    from pellucid.references.principal import principal_axes

    variance = train.z.var(0, unbiased=False)
    returned = torch.cat(
        [
            model.encode(model.decode(model.encode(x))).mean.flatten(1)
            for x in held_out.x.split(_BATCH)
        ]
    )
    ahead, first = discrimination(held_out.z, returned)
    spectrum = principal_axes(train.z, 1).eigenvalues
    share = (spectrum.cumsum(0) / spectrum.sum()).tolist() if spectrum.sum() > 0 else []
    evaluation = run.evaluation() or {}
    predicted = (evaluation.get("ladder") or {}).get("R3") or {}
    node: dict[str, Any] = {
        "samples": {"train": len(train.z), "held_out": len(held_out.z)},
        "shape": list(shape),
        "dimensions": train.z.shape[1],
        "active_by_variance": int((variance > ACTIVE_VARIANCE).sum()),
        "active_variance": ACTIVE_VARIANCE,
        "variances": sorted(variance.tolist(), reverse=True),
        "active_by_rate": None if train.kl is None else int((train.kl > ACTIVE_NATS).sum()),
        "active_nats": ACTIVE_NATS,
        "active_closed_form": predicted.get("active"),
        "spectrum_share": share[:256],
        "effective_dimensions": _participation(spectrum),
        "discrimination": ahead,
        "retrieval": first,
        "retrieval_chance": 1 / len(held_out.z),
    }
    if held_out.labels is not None and len(held_out.labels.unique()) > 1:
        own, majority = neighbour_accuracy(held_out.z, held_out.labels)
        pixels, _ = neighbour_accuracy(held_out.x.flatten(1), held_out.labels)
        node["neighbour_labels"] = {"latent": own, "pixels": pixels, "majority": majority}
    return node


def _participation(spectrum: Tensor) -> float | None:
    """Return (Σλ)² / Σλ², how many equal axes would carry as much."""
    total = float(spectrum.square().sum())
    return float(spectrum.sum()) ** 2 / total if total > 0 else None


def _interpolations(draw: _Drawing, held_out: Encoded, seed: int) -> list[dict[str, Any]]:
    """Draw lines between held-out samples: through the latent space, and through pixels."""
    from pellucid.evaluation.latent_space.geometry import interpolate

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


def _traversals(draw: _Drawing, axes: PrincipalAxes, train: Encoded) -> list[dict[str, Any]]:
    """Draw walks along the axes on which latents vary most, through their mean."""
    from pellucid.evaluation.latent_space.geometry import traverse

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


def _neighbours(
    draw: _Drawing, held_out: Encoded, train: Encoded, seed: int
) -> list[dict[str, Any]]:
    """Draw held-out samples, each with its nearest training samples by latent and by pixels."""
    from pellucid.evaluation.latent_space.geometry import neighbours

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


def _mixture(draw: _Drawing, train: Encoded, held_out: Encoded, seed: int) -> dict[str, Any]:
    """Draw from a mixture fitted to the latents; beside it from the prior, where there is one."""
    from pellucid.evaluation.latent_space.mixture import fit_mixture

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
