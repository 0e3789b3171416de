"""Stacks that a user names, opened with a run's channels and read as the run reads its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import RunError

if TYPE_CHECKING:
    from pellucid.data.stacks import Stacks
    from pellucid.data.stacks.normalisers import Chain
    from pellucid.data.stacks.store import Store
    from pellucid.workflows.run import Run


@dataclasses.dataclass(frozen=True)
class UserStacks:
    """Regions to be sent through a model.

    Args:
        listed: the regions, and what could not be used.
        chain: what stands between their values and the model.
        store: their windows, with the model's channels.
    """

    listed: Stacks
    chain: Chain
    store: Store

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Names and reasons of what could not be used."""
        return [(skip.name, f"{skip.reason} ({skip.detail})") for skip in self.listed.skipped]


def open_user_stacks(run: Run, path: str | Path) -> UserStacks:
    """Open a file or folder of stacks.

    Args:
        run: of stacks.
        path: stacks that have the run's channels.

    Raises:
        DataError: when there is nothing to read, or a channel is missing.
        RunError: when the run has no normaliser.
    """
    from pellucid.data.stacks import open_stacks
    from pellucid.data.stacks.store import Store

    chain = run.normaliser()
    if chain is None:
        raise RunError("this run has no normaliser", where=run.folder.normaliser)
    listed = open_stacks(path, channels=chain.channels)
    store = Store(
        listed.regions, range(len(chain.channels)), hot_pixels=run.recipe.data.get("hot_pixels")
    )
    return UserStacks(listed, chain, store)
