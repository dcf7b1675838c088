"""Whatever zarr-python opens."""

from __future__ import annotations

from typing import Any

import zarr
from zarr.storage import LocalStore

from fdsr.data.making.sources.remote import patiently
from fdsr.data.serving.readers.reader import FloatStep, Reader
from fdsr.errors import FdsrError, one_line


class ZarrReader(Reader):
    """Reads any store that zarr-python knows: sharded, remote, odd codecs. The slowest on a local disk.

    From a bucket a step that fails is asked for again, a few times and with growing pauses.
    """

    name = "zarr"

    def __init__(self, array: zarr.Array, threads: int) -> None:
        super().__init__(array, threads)
        self._remote = not isinstance(array.store, LocalStore)

    def read_step(self, step: int, out: FloatStep) -> None:
        def read() -> Any:
            return self.array[step]

        try:
            out[...] = patiently(read, str(self.array.store_path), "pair store") if self._remote else read()
        except FdsrError:
            raise
        except Exception as error:  # every store and codec has exceptions of its own
            raise FdsrError(
                f"time step {step} of '{self.array.store_path}' cannot be read ({one_line(error)}); check the store"
            ) from error
