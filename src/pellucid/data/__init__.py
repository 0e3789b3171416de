"""Images and waveforms: read once by stated rules, split by group, cropped on demand."""

from pellucid.data.audio import AudioData, inspect_audio
from pellucid.data.images import ImageData
from pellucid.data.inspect import inspect_images
from pellucid.data.order import EpochOrder
from pellucid.data.report import DataReport, Suggestion

DATA: dict[str, type[ImageData] | type[AudioData]] = {"images": ImageData, "audio": AudioData}

__all__ = [
    "DATA",
    "AudioData",
    "DataReport",
    "EpochOrder",
    "ImageData",
    "Suggestion",
    "inspect_audio",
    "inspect_images",
]
