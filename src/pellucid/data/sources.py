"""What every origin of images offers: names, groups, labels, and a reader of image i.

A source holds no pixels of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol

from pellucid.data.reading import Picture

Grouping = Literal["file", "folder", "stem"]


class Reader(Protocol):
    """Read image `index`; `memory_mapped` says that reading costs no more than a cache would."""

    memory_mapped: bool

    def read(self, index: int, short_side: int | None = None) -> Picture: ...

    def digest(self, index: int) -> str: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """Name, group and read the images of one origin.

    Args:
        where: what messages call it.
        names: unique name per image: the path below the folder, or the row of an array.
        groups: name of each image's group; a group is never divided between splits.
        reader: reads image i.
        labels: class index per image, or None.
        classes: names of the classes.
        official_test: indices of a test set that the origin itself defines, or None.
        ignored: files of other types per extension, for the report.
    """

    where: str
    names: tuple[str, ...]
    groups: tuple[str, ...]
    reader: Reader
    labels: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    official_test: frozenset[int] | None = None
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)
