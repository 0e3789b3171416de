"""Checkpoints as folders: `tensors.safetensors` and `state.json`, replaced as a whole.

A checkpoint `last` is written to `.last.writing`, flushed to the disk, and swapped in:
`last` → `.last.previous`, `.last.writing` → `last`, delete `.last.previous`. A crash leaves either
`last`, or `.last.previous` (the old one, whole), which `recover` renames back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pellucid.errors import RunError
from pellucid.training.state_tree import pack, unpack

VERSION = 1
_TENSORS, _STATE = "tensors.safetensors", "state.json"


class FolderCheckpointIO(CheckpointIO):
    """Let Lightning write and read checkpoint folders instead of pickled files."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint atomically; see `write_checkpoint`."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU; see `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint folder."""
        shutil.rmtree(path)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write nested state so that a reader finds the old checkpoint or the new one, never half.

    Args:
        state: nested dicts, lists, tuples, numbers, texts and tensors.
        path: the checkpoint folder, e.g. `checkpoints/last`.

    Raises:
        RunError: when it cannot be written (disk full, no permission); the old one is intact.
    """
    tree, tensors = pack(state)
    writing, previous = _writing(path), _previous(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        save_file(tensors, writing / _TENSORS)
        text = json.dumps({"version": VERSION, "state": tree}, allow_nan=False)
        (writing / _STATE).write_text(text, encoding="utf-8")
        for entry in (writing / _TENSORS, writing / _STATE, writing):
            _flush(entry)
        if path.exists():
            os.rename(path, previous)
        os.rename(writing, path)
        _flush(path.parent)
        shutil.rmtree(previous, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        recover(path)
        shutil.rmtree(writing, ignore_errors=True)
        raise RunError(
            "cannot write a checkpoint",
            where=path,
            found=getattr(error, "strerror", None) or error,
            hint="check permissions and free space; the checkpoint written before is intact",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, onto the CPU, in fresh memory.

    Raises:
        RunError: when there is none, or it is damaged, of another version, or not ours.
    """
    recover(path)
    tree = _read_tree(path)
    try:
        # a clone, because tensors mapped from a file may be unaligned, which can change the
        # order of vectorised sums
        tensors = {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in load_file(path / _TENSORS).items()
        }
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    return unpack(tree, tensors)


def read_progress(path: Path) -> dict[str, Any] | None:
    """Return the "progress" entry of a checkpoint without reading its tensors.

    Returns:
        the entry, or None when there is no checkpoint.

    Raises:
        RunError: when the checkpoint is damaged.
    """
    if not path.exists():
        return None
    pairs = _read_tree(path)["dict"]
    progress = [unpack(value, {}) for key, value in pairs if key == "progress"]
    if not progress:
        raise RunError("this checkpoint does not say how far it got", where=path)
    return progress[0]


def recover(path: Path) -> None:
    """Undo a swap that a crash interrupted, so that `path` is the newest whole checkpoint."""
    writing, previous = _writing(path), _previous(path)
    if previous.is_dir() and not path.exists():
        # the crash fell between the two renames: the new folder was already whole and flushed
        os.rename(writing if writing.is_dir() else previous, path)
    shutil.rmtree(previous, ignore_errors=True)


def clean(folder: Path) -> None:
    """Finish interrupted swaps in a folder of checkpoints and delete half-written ones."""
    for previous in folder.glob(".*.previous"):
        recover(folder / previous.name[1 : -len(".previous")])
    for writing in folder.glob(".*.writing"):
        shutil.rmtree(writing, ignore_errors=True)


def _read_tree(path: Path) -> Any:
    try:
        node = json.loads((path / _STATE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(node, dict) or node.get("version") != VERSION:
        raise RunError("this checkpoint has another format", where=path, expected=VERSION)
    return node["state"]


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(
        "this checkpoint cannot be read",
        where=path,
        expected=f"{_TENSORS} (safetensors) and {_STATE} (JSON); pickles are never read",
        found=error,
    )


def _writing(path: Path) -> Path:
    return path.with_name(f".{path.name}.writing")


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
