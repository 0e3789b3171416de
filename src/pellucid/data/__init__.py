"""Images: read once by stated rules, split by group, cropped on demand."""

from pellucid.data.images import ImageData
from pellucid.data.inspect import inspect_images
from pellucid.data.order import EpochOrder
from pellucid.data.report import DataReport, Suggestion

DATA = {"images": ImageData}

__all__ = ["DATA", "DataReport", "EpochOrder", "ImageData", "Suggestion", "inspect_images"]
