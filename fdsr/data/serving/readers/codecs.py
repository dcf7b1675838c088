"""From a chunk file's bytes to float32: the codecs that the direct reader knows, for Zarr formats 2 and 3."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from numcodecs import blosc, zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from fdsr.data.serving.readers.reader import FloatStep, UnsuitableStoreError

Decompress = Callable[[memoryview], Any]

_BLOSC_SIZES = struct.Struct("<4xI4xI")  # of a blosc frame: bytes when decompressed, and its own length


def _blosc(data: memoryview, out: FloatStep | None = None) -> Any:
    """Decompress one whole frame, into `out` if given.

    numcodecs believes the header: it would read past the end of a frame that is cut short, and leave what a frame smaller
    than its destination does not fill as it was.
    """
    sizes = _BLOSC_SIZES.unpack_from(data) if data.nbytes >= _BLOSC_SIZES.size else (0, 0)
    if sizes[1] != data.nbytes or (out is not None and sizes[0] != out.nbytes):
        raise ValueError(f"{data.nbytes} bytes of a frame that says it has {sizes[1]} and decodes to {sizes[0]}")
    return blosc.decompress(data, out)


_DECOMPRESS: dict[str, Decompress] = {
    "blosc": _blosc,
    "zstd": zstd.decompress,
    "gzip": gzip.decompress,
    "zlib": zlib.decompress,
}


class ChunkDecoder:
    """Decodes one chunk of `array` into a float32 step. Raises UnsuitableStoreError for codecs it does not know.

    Attributes: nbytes, the decoded chunk's size; plain, whether the file holds little-endian float32 as it is.
    """

    def __init__(self, array: zarr.Array) -> None:
        self.compressor, self.dtype = _pipeline(array)
        self.shape = tuple(array.chunks[1:])
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        native = self.dtype == np.dtype("<f4")
        self.plain = native and self.compressor is None
        self._in_place = native and self.compressor == "blosc"

    def decode(self, data: NDArray[np.uint8], out: FloatStep) -> None:
        """Fill `out` from a chunk file's content. Raises ValueError if the content is damaged."""
        try:
            if self._in_place:
                _blosc(data.data, out)
                return
            decoded = data if self.compressor is None else _DECOMPRESS[self.compressor](data.data)
        except (RuntimeError, OSError, EOFError, zlib.error) as error:
            raise ValueError(str(error)) from error
        values = np.frombuffer(decoded, dtype=np.uint8)
        if values.nbytes != self.nbytes:
            raise ValueError(f"it holds {values.nbytes} bytes, not {self.nbytes}")
        out[...] = values.view(self.dtype).reshape(self.shape)


def _pipeline(array: zarr.Array) -> tuple[str | None, np.dtype]:
    """(compressor or None, stored type) if decoding is decompression and nothing else."""
    metadata: Any = array.metadata.to_dict()
    if metadata["zarr_format"] == 2:
        if metadata.get("filters") or metadata.get("order", "C") != "C":
            raise UnsuitableStoreError(array, "has filters or columns first; use reader 'zarr'")
        compressor, dtype = metadata.get("compressor"), np.dtype(metadata["dtype"])
        names = [compressor["id"]] if compressor else []
    else:
        names = [codec["name"] for codec in metadata["codecs"]]
        if names[:1] != ["bytes"]:
            raise UnsuitableStoreError(array, f"has codec '{names[0]}' first; use reader 'zarr'")
        endian = metadata["codecs"][0].get("configuration", {}).get("endian", "little")
        dtype, names = np.dtype(array.dtype).newbyteorder("<" if endian == "little" else ">"), names[1:]
    if len(names) > 1 or any(name not in _DECOMPRESS for name in names):
        why = f"has codecs {', '.join(names)}, not one of {', '.join(_DECOMPRESS)}; use reader 'zarr'"
        raise UnsuitableStoreError(array, why)
    if dtype.kind not in "fiu":
        raise UnsuitableStoreError(array, f"holds {dtype}, not numbers")
    return (names[0] if names else None), dtype
