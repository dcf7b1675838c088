"""Chunk files of a local store, read and decompressed without any layer between."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from fdsr.data.serving.readers.codecs import ChunkDecoder
from fdsr.data.serving.readers.reader import FloatStep, Reader, UnsuitableStoreError
from fdsr.errors import FdsrError


class DirectReader(Reader):
    """For local, unsharded stores with one time step a chunk: one `open`, one `read`, one decompression into place.

    An uncompressed chunk is read straight into the destination. A chunk without a file has the fill value.
    """

    name = "direct"

    def __init__(self, array: zarr.Array, threads: int) -> None:
        super().__init__(array, threads)
        if not isinstance(array.store, LocalStore):
            raise UnsuitableStoreError(array, "is not on a local disk; use reader 'zarr'")
        if getattr(array, "shards", None):
            raise UnsuitableStoreError(array, "is sharded; use reader 'zarr' or 'tensorstore'")
        if array.chunks != (1, *self.shape[1:]):
            raise UnsuitableStoreError(array, f"has chunks {array.chunks}, not of a time step each; use reader 'zarr'")
        self._decoder = ChunkDecoder(array)
        self._fill = array.fill_value if array.fill_value is not None else 0
        # of every chunk's path but its number: zarr-python would put each together anew
        mark = "987654321"
        key = array.metadata.encode_chunk_key((int(mark), 0, 0, 0))
        self._before, self._after = f"{Path(array.store.root) / array.path}{os.sep}{key}".rsplit(mark, 1)
        self._local = threading.local()

    def read_step(self, step: int, out: FloatStep) -> None:
        path = f"{self._before}{step}{self._after}"
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            out[...] = self._fill
            return
        except OSError as error:
            raise FdsrError(f"chunk '{path}' cannot be read: {error.strerror}; check disk and rights") from error
        try:
            size = os.fstat(handle).st_size
            if self._decoder.plain:
                if size != self._decoder.nbytes:
                    raise ValueError(f"it holds {size} bytes, not {self._decoder.nbytes}")
                _read_exactly(handle, out.data.cast("B"))
            else:
                data = self._scratch(size)
                _read_exactly(handle, data.data)
                self._decoder.decode(data, out)
        except ValueError as error:
            raise FdsrError(f"chunk '{path}' is damaged ({error}); copy or prepare the store anew") from error
        except OSError as error:
            raise FdsrError(f"chunk '{path}' cannot be read: {error.strerror}; check the disk") from error
        finally:
            os.close(handle)

    def _scratch(self, size: int) -> NDArray[np.uint8]:
        """The calling thread's own buffer, grown as needed: a fresh one would cost its page faults each time."""
        buffer: NDArray[np.uint8] | None = getattr(self._local, "buffer", None)
        if buffer is None or buffer.size < size:
            buffer = self._local.buffer = np.empty(size + size // 4, np.uint8)
        return buffer[:size]


def _read_exactly(handle: int, out: memoryview) -> None:
    """Fill `out` from the file's start; a read may return less than it was asked for."""
    done = 0
    while done < len(out):
        count = os.readv(handle, [out[done:]])
        if count == 0:
            raise ValueError("it ends early")
        done += count
