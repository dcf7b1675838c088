"""Google's tensorstore: many chunks at once in C++, sharded stores included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from fdsr.data.serving.readers.reader import FloatStep, Reader, UnsuitableStoreError
from fdsr.errors import FdsrError, one_line


class TensorStoreReader(Reader):
    """For local stores, where the package `tensorstore` is installed. Its threads do not survive a fork."""

    name = "tensorstore"
    survives_fork = False

    def __init__(self, array: zarr.Array, threads: int) -> None:
        super().__init__(array, threads)
        try:
            import tensorstore
        except ImportError as error:
            raise UnsuitableStoreError(array, "needs tensorstore: pip install 'fdsr[tensorstore]'") from error
        if not isinstance(array.store, LocalStore):
            raise UnsuitableStoreError(array, "is not on a local disk; use reader 'zarr'")
        self._library: Any = tensorstore
        driver = {2: "zarr", 3: "zarr3"}[array.metadata.zarr_format]
        path = Path(array.store.root) / array.path
        try:
            opened = tensorstore.open(
                {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.resolve()}/"}},
                open=True,
                read=True,
                context=tensorstore.Context({"data_copy_concurrency": {"limit": threads}}),
            ).result()
        except ValueError as error:
            why = f"cannot be opened by tensorstore ({one_line(error)}); use reader 'zarr'"
            raise UnsuitableStoreError(array, why) from error
        self._steps = opened if opened.dtype.name == "float32" else tensorstore.cast(opened, tensorstore.float32)

    def read_step(self, step: int, out: FloatStep) -> None:
        self._read_steps([step], out[None])

    def _read_steps(self, steps: Sequence[int], out: Sequence[FloatStep] | FloatStep) -> None:
        try:
            if isinstance(out, np.ndarray):
                target = self._library.array(out, copy=False)
                target.write(self._steps[list(steps)]).result()
            else:
                targets = [self._library.array(each, copy=False) for each in out]
                for write in [t.write(self._steps[step]) for step, t in zip(steps, targets, strict=True)]:
                    write.result()
        except ValueError as error:
            raise FdsrError(f"'{self.array.store_path}' cannot be read ({one_line(error)}); check the store") from error
