"""Codes as bytes: a small checked container, bit packing and optional entropy coding."""

from pellucid.bitstream.container import Stream, pack, payload_of, unpack
from pellucid.bitstream.contexts import ContextTables
from pellucid.bitstream.fingerprint import fingerprint

__all__ = ["ContextTables", "Stream", "fingerprint", "pack", "payload_of", "unpack"]
