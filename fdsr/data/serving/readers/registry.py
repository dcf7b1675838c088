"""Readers by name, and the choice between them."""

from __future__ import annotations

from contextlib import suppress

import zarr
from zarr.storage import LocalStore

from fdsr.data.serving.readers.direct import DirectReader
from fdsr.data.serving.readers.reader import Reader, UnsuitableStoreError
from fdsr.data.serving.readers.tensor_store import TensorStoreReader
from fdsr.data.serving.readers.threads import REMOTE_THREADS, default_threads
from fdsr.data.serving.readers.zarr_python import ZarrReader
from fdsr.errors import FdsrError

READERS: dict[str, type[Reader]] = {r.name: r for r in (DirectReader, TensorStoreReader, ZarrReader)}


def open_reader(array: zarr.Array, name: str = "auto", threads: int | None = None) -> Reader:
    """The reader `name` on `array`; `auto` is the fastest that can read it.

    Raises FdsrError if the name is unknown, UnsuitableStoreError if that reader cannot read the array.
    """
    if threads is None:
        threads = default_threads() if isinstance(array.store, LocalStore) else REMOTE_THREADS
    if name in READERS:
        return READERS[name](array, threads)
    if name != "auto":
        raise FdsrError(f"reader '{name}' is unknown; choose one of auto, {', '.join(READERS)}")
    # not tensorstore, whose threads are its own and which may not be installed
    with suppress(UnsuitableStoreError):
        return DirectReader(array, threads)
    return ZarrReader(array, threads)


def available_readers(array: zarr.Array) -> list[str]:
    """Names of the readers that can read `array`."""
    fit = []
    for name, reader in READERS.items():
        with suppress(UnsuitableStoreError):
            reader(array, 1)
            fit.append(name)
    return fit
