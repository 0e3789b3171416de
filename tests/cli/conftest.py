"""A folder of real photograph crops and one tiny trained run for every command to work on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import TINY


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Twenty-four 48×40 crops of a photograph bundled with scikit-image."""
    from skimage.data import astronaut

    photograph = astronaut()
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(24):
        top, left = rng.integers(0, 440, size=2)
        Image.fromarray(photograph[top : top + 40, left : left + 48]).save(folder / f"{index}.png")
    return folder


class Command:
    """Run `pellucid …` in this process as the console script would."""

    def __init__(self, monkeypatch, capfd) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        from pellucid.cli import main

        self._monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        self._monkeypatch.delenv("PELLUCID_DEBUG", raising=False)
        self._capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = self._capfd.readouterr()
        return code, out, err


@pytest.fixture
def pellucid(monkeypatch, capfd) -> Command:
    monkeypatch.setenv("COLUMNS", "200")
    return Command(monkeypatch, capfd)


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory) -> Path:
    """A run of `photos-vq` shrunk until it trains in seconds."""
    from pellucid.workflows.train import train

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train("photos-vq", overrides=[f"data.path={photos}", *TINY], out=out, progress=False)
    return out
