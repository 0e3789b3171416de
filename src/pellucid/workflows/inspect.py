"""Report what is in a data source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.errors import DataError
from pellucid.workflows.progress import progress_bar


def inspect(
    path: str | Path, *, out: str | Path | None = None, progress: bool = True
) -> dict[str, Any]:
    """Return counts, sizes, ranges, duplicates, broken files and the recipe that would fit.

    Args:
        path: a folder of images, clips or stacks, one such file, a .npy/.npz file, boxes or
            landmarks of images, a manifest of clips, or the name of a named set.
        out: also write a page there, with a picture of every channel; stacks only.
        progress: draw a progress bar.

    Raises:
        DataError: when there is nothing to read, or a page is asked for something else than stacks.
    """
    from pellucid.data.annotations import holds_annotations
    from pellucid.data.audio import inspect_audio, is_audio
    from pellucid.data.inspect import inspect_images
    from pellucid.data.stacks import is_stacks

    stacks = is_stacks(path)
    if out is not None and not stacks:
        raise DataError("only stacks have a page of their own", where=path, hint="leave -o out")
    with progress_bar("reading", shown=progress) as report_progress:
        if stacks:
            from pellucid.data.stacks.inspect import inspect_stacks
            from pellucid.report.stack_page import write_stack_page

            report, pictures = inspect_stacks(path, progress=report_progress)
            node = report.to_json()
            if out is not None:
                write_stack_page(node, pictures, Path(out))
            return node
        boxed = Path(path).is_file() and holds_annotations(Path(path))
        if is_audio(path) and not boxed:
            return inspect_audio(path, progress=report_progress).to_json()
        return inspect_images(str(path), progress=report_progress).to_json()
