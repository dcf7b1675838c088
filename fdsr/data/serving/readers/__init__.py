"""Readers of time steps, one small interface: see `Reader`."""

from fdsr.data.serving.readers.reader import Reader, UnsuitableStoreError
from fdsr.data.serving.readers.registry import READERS, available_readers, open_reader

__all__ = ["READERS", "Reader", "UnsuitableStoreError", "available_readers", "open_reader"]
