"""The model that comes with the package, used where no run is named."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pellucid.errors import RunError
from pellucid.workflows.run import Run

NAME = "speech-codec"


def shipped_folder() -> Path:
    """Return where the shipped model lies: a run folder of recipe, weights, code tables and card.

    It need not exist: a package built without one has none.
    """
    return Path(str(resources.files("pellucid") / "shipped" / NAME))


def default_model() -> Run:
    """Open the shipped model.

    Raises:
        RunError: when this package has none.
    """
    folder = shipped_folder()
    if not folder.is_dir():
        raise RunError(
            "this package comes without a trained model, so a run must be named",
            where=folder,
            expected="--model RUN",
            hint="train one: pellucid train speech-codec-tiny data.path=speech/",
        )
    return Run.open(folder)
