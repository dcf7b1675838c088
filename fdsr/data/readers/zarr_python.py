"""Whatever zarr-python opens."""

from __future__ import annotations

import zarr

from fdsr.data.readers.base import FloatStep, Reader
from fdsr.errors import FdsrError


class ZarrReader(Reader):
    """Reads any store that zarr-python knows: sharded, remote, odd codecs. The slowest on a local disk."""

    name = "zarr"

    def __init__(self, array: zarr.Array, threads: int) -> None:
        super().__init__(array, threads)

    def read_step(self, step: int, out: FloatStep) -> None:
        try:
            out[...] = self.array[step]
        except FdsrError:
            raise
        except Exception as error:  # every store and codec has exceptions of its own
            raise FdsrError(
                f"time step {step} of '{self.array.store_path}' cannot be read ({_line(error)}); check the store"
            ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
