"""A window of what another reader reads."""

from __future__ import annotations

import numpy as np

from fdsr.data.serving.readers.reader import FloatStep, Reader
from fdsr.data.windows import Window


class WindowReader(Reader):
    """Time steps of `reader`, cut to a window: what is kept of them in memory is no larger."""

    name = "window"

    def __init__(self, reader: Reader, window: Window) -> None:
        super().__init__(reader.array, reader.threads)
        self.reader, self.window = reader, window
        self.shape = (*reader.shape[:2], *window.shape)

    def read_step(self, step: int, out: FloatStep) -> None:
        whole = np.empty(self.reader.shape[1:], np.float32)
        self.reader.read([step], whole[None])
        out[...] = self.window.cut(whole)
