"""What a reader is: whole time steps of one array, many at once, into memory that the caller owns."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import zarr
from numpy.typing import NDArray

from fdsr.data.serving.readers.threads import spread
from fdsr.errors import FdsrError

FloatStep = NDArray[np.float32]


class UnsuitableStoreError(FdsrError):
    """A reader cannot read this array; `why` says what is in the way, and names another reader."""

    def __init__(self, array: zarr.Array, why: str) -> None:
        super().__init__(f"array '{array.store_path}' {why}")


class Reader(ABC):
    """Reads time steps of one Zarr array (time, channel, rows, columns) as float32.

    A subclass opens `array` in its constructor, raising UnsuitableStoreError where it cannot, and implements `read_step`,
    or overrides `_read_steps` where its library reads many steps better than one by one.

    Args:
        array: opened by zarr-python, which has understood its metadata.
        threads: steps read at the same time; files and decoders release Python's lock.
    """

    name: ClassVar[str]
    survives_fork: ClassVar[bool] = True

    def __init__(self, array: zarr.Array, threads: int) -> None:
        if array.ndim != 4:
            raise UnsuitableStoreError(array, f"has {array.ndim} dimensions instead of four")
        self.array, self.threads = array, threads
        self.shape = tuple(int(n) for n in array.shape)
        self._process = os.getpid()

    @abstractmethod
    def read_step(self, step: int, out: FloatStep) -> None:
        """Fill `out` (C, H, W), C-contiguous float32, with time step `step`. Called from several threads."""

    def read(self, steps: Sequence[int], out: Sequence[FloatStep] | FloatStep) -> None:
        """Fill out[j] (C, H, W) with time step steps[j]; `out` is one array (n, C, H, W) or n separate ones.

        Raises FdsrError for a step outside the store, a damaged chunk, or in a forked process that the library
        underneath would crash or hang in.
        """
        if not self.survives_fork and os.getpid() != self._process:
            raise FdsrError(f"reader '{self.name}' cannot be used in a forked process; start it by forkserver or spawn")
        for step in steps:
            if not 0 <= step < self.shape[0]:
                raise FdsrError(f"array '{self.array.store_path}' has no time step {step}; it has {self.shape[0]}")
        self._read_steps(steps, out)

    def _read_steps(self, steps: Sequence[int], out: Sequence[FloatStep] | FloatStep) -> None:
        spread(lambda j: self.read_step(steps[j], out[j]), len(steps), self.threads)
