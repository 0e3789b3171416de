"""panel.csv: which channels a stack holds, what they are called, which ones are kept.

Columns as steinbock writes them: `channel` (the metal tag), `name`, `keep` (1, 0 or empty). Without
`name` the column `channel` (or marker, target, label) is the name; without `keep` all are kept.

Source: Windhager et al., "An end-to-end workflow for multiplexed image processing and analysis",
Nature Protocols 2023.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from pellucid.data.stacks.regions import unique_names
from pellucid.errors import DataError, nearest

_NAMES = ("name", "channel", "marker", "target", "label", "channel_name")
_DROPPED = ("0", "0.0", "false", "no")


@dataclasses.dataclass(frozen=True)
class Panel:
    """The rows of a panel.

    Args:
        path: the file.
        tags: metal tag per row ("Yb172"), or the name where the panel has no tags.
        names: marker per row.
        keep: whether it is kept.
    """

    path: Path
    tags: tuple[str, ...]
    names: tuple[str, ...]
    keep: tuple[bool, ...]

    def select(self, count: int, where: object) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return which of `count` channels of a stack are used, and their names.

        A stack holds either the kept rows alone (as steinbock's images do) or every row.

        Raises:
            DataError: when the stack has another number of channels.
        """
        kept = [row for row, keep in enumerate(self.keep) if keep]
        if count == len(kept):
            return tuple(range(count)), tuple(self.names[row] for row in kept)
        if count == len(self.names):
            return tuple(kept), tuple(self.names[row] for row in kept)
        raise DataError(
            "panel and stack do not fit",
            where=where,
            expected=f"{len(kept)} channels (rows kept in {self.path.name})"
            + (f" or {len(self.names)} (all of its rows)" if len(kept) < len(self.names) else ""),
            found=f"{count} channels",
        )

    def select_tags(self, tags: tuple[str, ...], where: object) -> tuple[list[int], list[str]]:
        """Return the places of the kept rows among a file's metal tags, and their names.

        Raises:
            DataError: when the file lacks a tag.
        """
        places, names = [], []
        for tag, name, keep in zip(self.tags, self.names, self.keep, strict=True):
            if not keep:
                continue
            if tag not in tags:
                guess = nearest(tag, tags)
                raise DataError(
                    f"the panel keeps '{tag}', which the file does not hold",
                    where=where,
                    expected=f"the tags of {self.path.name}",
                    found=", ".join(tags),
                    hint=f"did you mean '{guess}'?" if guess else None,
                )
            places.append(tags.index(tag))
            names.append(name)
        return places, names


def read_panel(path: Path) -> Panel:
    """Read a panel.

    Raises:
        DataError: when it cannot be read, names nothing, or keeps nothing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot read the panel", where=path, found=error) from error
    columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
    column = next((columns[name] for name in _NAMES if name in columns), None)
    if column is None:
        raise DataError(
            "the panel does not name its channels",
            where=path,
            expected="a column `name` or `channel`, one row per channel",
            found=f"columns {', '.join(columns) or 'none'}",
        )
    tag = columns.get("channel", column)
    kept = [
        (row.get(columns.get("keep", "")) or "1").strip().lower() not in _DROPPED for row in rows
    ]
    if not any(kept):
        raise DataError("the panel keeps no channel", where=path, expected="keep = 1 somewhere")
    tags = tuple((row[tag] or "").strip() for row in rows)
    names = [(row[column] or "").strip() or tags[number] for number, row in enumerate(rows)]
    return Panel(path, tags, unique_names(names), tuple(kept))


def find_panel(file: Path, root: Path) -> Panel | None:
    """Return the panel of a stack: beside it or in a folder above, up to the folder of `root`.

    Looked for as `<stem>_channels.csv`, `<stem>.csv`, `panel.csv`, `channels.csv`.
    """
    stem = file.name.split(".")[0]
    highest = root if root.is_dir() else root.parent
    for folder in (file.parent, *file.parent.parents):
        for name in (f"{stem}_channels.csv", f"{stem}.csv", "panel.csv", "channels.csv"):
            if (folder / name).is_file():
                return read_panel(folder / name)
        if folder in (highest.parent, folder.parent):
            break
    return None
