"""The folder of one codebook: every file name in one place, and its small records.

RUN/codebooks/NAME/ holds what `codebooks/__init__.py` lists. Beside the codebooks lie the pictures
they share: the same held-out samples as they are, and as decode(μ) shows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.errors import RunError, unknown_name
from pellucid.run_folder import RunFolder

SCHEMA = 1
_RECORD = "codebook.json"


class CodebookFiles:
    """Know the names inside one codebook's folder; read its small records.

    Args:
        folder: the run.
        name: of the codebook; it need not exist yet.
    """

    def __init__(self, folder: RunFolder, name: str) -> None:
        self.folder, self.name = folder, name
        self.path: Path = folder.codebook(name)

    def inside(self, path: Path) -> CodebookFiles:
        """Return the same names inside another folder, which is to become this one."""
        other = CodebookFiles(self.folder, self.name)
        other.path = path
        return other

    @property
    def record(self) -> Path:
        return self.path / _RECORD

    @property
    def tensors(self) -> Path:
        return self.path / "codebook.safetensors"

    @property
    def codes(self) -> Path:
        return self.path / "codes.safetensors"

    @property
    def decoder(self) -> Path:
        return self.path / "decoder.safetensors"

    @property
    def tuning(self) -> Path:
        return self.path / "tuning.json"

    @property
    def tuning_run(self) -> Path:
        """Where checkpoints lie while the decoder is tuned."""
        return self.path / "tuning"

    @property
    def picture(self) -> Path:
        return self.path / "codes.png"

    @property
    def tuned_picture(self) -> Path:
        return self.path / "tuned.png"

    def read_record(self) -> dict[str, Any]:
        """Return codebook.json.

        Raises:
            PellucidError: when there is none of that name (with the nearest one), or it is of
                another schema.
        """
        if not self.record.is_file():
            known = codebook_names(self.folder)
            if known:
                raise unknown_name("codebook", self.name, known, where=self.folder.codebooks)
            raise RunError(
                "this run has no codebook",
                where=self.folder.path,
                hint=f"pellucid codebook {self.folder.path}",
            )
        record = self.folder.read_json(self.record)
        if record.get("schema") != SCHEMA:
            raise RunError(
                "this codebook is of another version",
                where=self.record,
                expected=SCHEMA,
                found=record.get("schema"),
            )
        return record

    def read_tuning(self) -> dict[str, Any] | None:
        """Return what tuning the decoder won, or None when it was not tuned."""
        return self.folder.read_json(self.tuning) if self.tuning.is_file() else None


def codebook_names(folder: RunFolder) -> list[str]:
    """Return the names of a run's codebooks, in order."""
    return sorted(path.parent.name for path in folder.codebooks.glob(f"[!.]*/{_RECORD}"))


def original_picture(folder: RunFolder) -> Path:
    """Return the picture of the held-out samples that every codebook shows."""
    return folder.codebooks / "original.png"


def mean_picture(folder: RunFolder) -> Path:
    """Return the picture of decode(μ) of those samples."""
    return folder.codebooks / "mean.png"
