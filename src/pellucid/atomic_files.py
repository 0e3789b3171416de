"""Writes that a reader sees whole or not at all: small files, large files, folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pellucid.errors import RunError


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never half.

    Raises:
        RunError: when the folder cannot be written or the disk is full; `path` is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise _cannot_write(path, error) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces `path` only when the block ends without an error.

    A reader sees the old folder, the new one, or (between two renames) none; never a half.

    Raises:
        RunError: when it cannot be written; `path` is as it was.
    """
    writing, previous = (path.with_name(f".{path.name}.{word}") for word in ("writing", "previous"))
    try:
        if previous.is_dir() and not path.exists():
            os.rename(previous, path)  # a crash fell between the two renames below
        for left_over in (writing, previous):
            shutil.rmtree(left_over, ignore_errors=True)
        writing.mkdir(parents=True)
        yield writing
        if path.exists():
            os.rename(path, previous)
        os.rename(writing, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        for left_over in (writing, previous):
            shutil.rmtree(left_over, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a large file under; it replaces `path` when all went well.

    Raises:
        RunError: when it cannot be written; `path` is as it was.
    """
    writing = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield writing
        os.replace(writing, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        writing.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path.name}",
        where=path.parent,
        found=error.strerror or str(error),
        hint="check permissions and free space; what was written before is intact",
    )
