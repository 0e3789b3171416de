"""Report what is in a data source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.workflows.progress import progress_bar


def inspect(path: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Return counts, sizes, ranges, duplicates, broken files and the recipe that would fit.

    Args:
        path: a folder of images or clips, a .npy/.npz file, boxes or landmarks of images, a
            manifest of clips, a clip, or the name of a named set.
        progress: draw a progress bar.

    Raises:
        DataError: when there is nothing to read.
    """
    from pellucid.data.annotations import holds_annotations
    from pellucid.data.audio import inspect_audio, is_audio
    from pellucid.data.inspect import inspect_images

    with progress_bar("reading", shown=progress) as report_progress:
        boxed = Path(path).is_file() and holds_annotations(Path(path))
        if is_audio(path) and not boxed:
            return inspect_audio(path, progress=report_progress).to_json()
        return inspect_images(str(path), progress=report_progress).to_json()
