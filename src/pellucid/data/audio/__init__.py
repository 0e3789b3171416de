"""Waveforms: read once by stated rules, split by speaker or file, cropped on demand."""

from pellucid.data.audio.inspect import inspect_audio, is_audio
from pellucid.data.audio.waves import AudioData

__all__ = ["AudioData", "inspect_audio", "is_audio"]
