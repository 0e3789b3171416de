"""Stages that run once: skipped while what they read and what they were told is what it was.

A stage is up to date when the digest of its inputs (the bytes of the files it reads, its settings)
is the one noted when it last finished, and everything it makes is there. The note is written after
the stage, so an interrupted stage is run again; what it had begun is its own workflow's to continue
or replace.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pellucid.errors import RunError
from pellucid.run_folder import RunFolder

State = Literal["done", "up to date"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Args:
        name: unique in its pipeline.
        reads: files whose bytes decide whether it has to run.
        settings: what it is told, as plain data.
        makes: files that must be there afterwards.
        run: does it.
    """

    name: str
    reads: tuple[Path, ...]
    settings: Mapping[str, Any]
    makes: tuple[Path, ...]
    run: Callable[[], object]

    def digest(self) -> str:
        """Return what tells these inputs from others.

        Raises:
            RunError: when a file it reads is not there.
        """
        found = hashlib.sha256(json.dumps([self.name, self.settings], sort_keys=True).encode())
        for path in self.reads:
            try:
                with path.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise RunError(
                    f"the stage '{self.name}' lacks what it reads",
                    where=path,
                    found=error.strerror,
                ) from error
        return found.hexdigest()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a stage came out: whether it ran, and the seconds it took when it last did."""

    name: str
    state: State
    seconds: float


class Ledger:
    """Remember which stages finished, with which inputs, in one JSON file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = RunFolder(path.parent)
        self.stages: dict[str, Any] = {}
        if path.is_file():
            self.stages = dict(self.folder.read_json(path)["stages"])

    def perform(self, stage: Stage) -> Outcome:
        """Run a stage unless it is up to date.

        Raises:
            RunError: when it finished without leaving what it makes.
        """
        digest = stage.digest()
        noted = self.stages.get(stage.name, {})
        if noted.get("inputs") == digest and all(path.exists() for path in stage.makes):
            return Outcome(stage.name, "up to date", float(noted["seconds"]))
        self._note(stage.name, None)  # until it is finished, nothing says that it is
        started = time.perf_counter()
        stage.run()
        missing = [path for path in stage.makes if not path.exists()]
        if missing:
            raise RunError(f"the stage '{stage.name}' left nothing", where=missing[0])
        seconds = time.perf_counter() - started
        self._note(stage.name, {"inputs": digest, "seconds": seconds})
        return Outcome(stage.name, "done", seconds)

    def _note(self, name: str, note: dict[str, Any] | None) -> None:
        known = name in self.stages
        self.stages.pop(name, None)
        if note is not None:
            self.stages[name] = note
        if known or note is not None:
            self.folder.write_json(self.path, {"stages": self.stages})
