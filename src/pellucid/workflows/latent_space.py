"""Look into a run's latent space and write what is there beside the run, for its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.errors import DataError
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

_AXES = 6


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
    from pellucid.evaluation.latent_space.encoded import encode
    from pellucid.evaluation.latent_space.numbers import measure
    from pellucid.references.principal import principal_axes
    from pellucid.workflows import latent_pictures as pictures

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
        train = encode(model, data.train, samples)
        report(1, 4)
        held_out = encode(model, data.test, max(2, samples // 4))
        if len(train.z) < 4 or len(held_out.z) < 2:
            raise DataError(
                "too few samples for a latent space",
                expected="4 of training and 2 held out",
                found=f"{len(train.z)} and {len(held_out.z)}",
            )
        shape = tuple(model.encode(held_out.x[:1]).mean.shape[1:])
        axes = principal_axes(train.z, _AXES)
        draw = pictures.Drawing(opened, model, shape)
        report(2, 4)
        node = measure(model, train, held_out, predicted=_predicted(opened))
        node["interpolations"] = pictures.interpolations(draw, held_out, seed)
        node["traversals"] = pictures.traversals(draw, axes, train)
        node["neighbours"] = pictures.nearest(draw, held_out, train, seed)
        report(3, 4)
        node["mixture"] = pictures.mixture(draw, train, held_out, seed)
        report(4, 4)
    opened.folder.write_json(opened.folder.latent_space / "index.json", node)
    return node


def _predicted(run: Run) -> int | None:
    """Return the active dimensions in closed form, where the run was evaluated."""
    ladder = (run.evaluation() or {}).get("ladder") or {}
    return (ladder.get("R3") or {}).get("active")
