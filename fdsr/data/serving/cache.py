"""Decoded time steps kept in memory, so that several patches of a step cost one decoding."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdsr.data.serving.readers import Reader


class Step(NamedTuple):
    """One decoded time step in physical units. Shared: don't write into it."""

    high: NDArray[np.float32]  # (C, H, W)
    low: NDArray[np.float32]  # (D, h, w)


class StepCache:
    """The `capacity` time steps used last, of two readers. Several threads may ask at once."""

    def __init__(self, high: Reader, low: Reader, capacity: int) -> None:
        self.high, self.low, self.capacity = high, low, max(1, capacity)
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, steps: Iterable[int]) -> dict[int, Step]:
        """The steps asked for; those that are missing are decoded together and kept."""
        wanted = list(dict.fromkeys(steps))
        decoded = self.kept(wanted)
        missing = [i for i in wanted if i not in decoded]
        if missing:
            shapes = (self.high.shape[1:], self.low.shape[1:])
            read = [Step(*(np.empty(shape, np.float32) for shape in shapes)) for _ in missing]
            self.high.read(missing, [step.high for step in read])
            self.low.read(missing, [step.low for step in read])
            for step in read:
                step.high.flags.writeable = step.low.flags.writeable = False
            new = dict(zip(missing, read, strict=True))
            decoded |= new
            with self._lock:
                self._steps.update(new)
                while len(self._steps) > self.capacity:
                    self._steps.popitem(last=False)
        return decoded

    def kept(self, steps: Iterable[int]) -> dict[int, Step]:
        """Those of `steps` that are in memory already."""
        with self._lock:
            decoded = {i: self._steps[i] for i in steps if i in self._steps}
            for i in decoded:
                self._steps.move_to_end(i)
        return decoded
