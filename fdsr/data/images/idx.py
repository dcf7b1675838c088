"""IDX files: the format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8


def read_unpacked(path: str | Path) -> bytes:
    """The bytes of a file, unpacked if gzip wrote them."""
    try:
        data = Path(path).read_bytes()
        return gzip.decompress(data) if data[:2] == _GZIP_MAGIC else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FdsrError(f"'{path}' cannot be read: {reason}; fetch it again") from error


def parse_idx(data: bytes, where: str | Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file: magic 0, 0, type, rank; the sizes, big-endian; then the values in C order.

    `where` names the file in errors. Raises FdsrError for another format, another element type and a wrong length.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE or not 1 <= data[3] <= 8:
        raise FdsrError(f"'{where}' is not an IDX file of unsigned bytes; fetch it again")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise FdsrError(f"'{where}' ends within its header; fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    if len(data) - header != int(np.prod(shape, dtype=np.int64)):
        raise FdsrError(f"'{where}' has {len(data) - header} values where its header says {shape}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
