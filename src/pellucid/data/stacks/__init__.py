"""Multiplexed tissue: C×H×W stacks of named channels, their masks and their cells."""

from pellucid.data.stacks.cells import CellTable, cell_table, concatenate, measure_cells
from pellucid.data.stacks.listing import Skip, Stacks, is_stacks, open_stacks
from pellucid.data.stacks.masks import find_masks, read_mask
from pellucid.data.stacks.regions import InMemory, Region, UnreadableRegion

__all__ = [
    "CellTable",
    "InMemory",
    "Region",
    "Skip",
    "Stacks",
    "UnreadableRegion",
    "cell_table",
    "concatenate",
    "find_masks",
    "is_stacks",
    "measure_cells",
    "open_stacks",
    "read_mask",
]
