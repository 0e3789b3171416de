"""What leaves a run for other tools: feature files, bound to the exact model that made them."""

from pellucid.export.files import FORMATS, Format, load_table, write_table
from pellucid.export.table import FeatureTable, Ragged

__all__ = ["FORMATS", "FeatureTable", "Format", "Ragged", "load_table", "write_table"]
