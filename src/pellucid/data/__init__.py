"""Images, waveforms, stacks, cells: read once by stated rules, split by group, cut on demand."""

from pellucid.data.audio import AudioData, inspect_audio
from pellucid.data.images import ImageData
from pellucid.data.inspect import inspect_images
from pellucid.data.order import EpochOrder
from pellucid.data.report import DataReport, Suggestion
from pellucid.data.stacks.cell_data import CellData
from pellucid.data.stacks.stack_data import StackData

DATA: dict[str, type[ImageData] | type[AudioData] | type[StackData] | type[CellData]] = {
    "images": ImageData,
    "audio": AudioData,
    "stacks": StackData,
    "cells": CellData,
}

__all__ = [
    "DATA",
    "AudioData",
    "CellData",
    "DataReport",
    "EpochOrder",
    "ImageData",
    "StackData",
    "Suggestion",
    "inspect_audio",
    "inspect_images",
]
