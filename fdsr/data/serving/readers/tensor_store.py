"""Google's tensorstore: many chunks at once in C++, sharded stores included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from fdsr.data.serving.readers.reader import FloatStep, Reader, UnsuitableStoreError
from fdsr.errors import FdsrError


class TensorStoreReader(Reader):
    """For local stores, where the package `tensorstore` is installed. Its threads do not survive a fork."""

    name = "tensorstore"
    survives_fork = False

    def __init__(self, array: zarr.Array, threads: int) -> None:
        super().__init__(array, threads)
        try:
            import tensorstore
        except ImportError as error:
            raise UnsuitableStoreError(
                "reader 'tensorstore' needs the package tensorstore; install it with: pip install 'fdsr[tensorstore]'"
            ) from error
        if not isinstance(array.store, LocalStore):
            raise UnsuitableStoreError(f"array '{array.store_path}' is not on a local disk; use reader 'zarr'")
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
            reason = " ".join(str(error).split())[:160]
            raise UnsuitableStoreError(
                f"tensorstore cannot open '{array.store_path}' ({reason}); use reader 'zarr'"
            ) from error
        self._steps = opened if opened.dtype.name == "float32" else tensorstore.cast(opened, tensorstore.float32)

    def read_step(self, step: int, out: FloatStep) -> None:
        self._read_steps([step], out[None])

    def _read_steps(self, steps: Sequence[int], out: Sequence[FloatStep] | FloatStep) -> None:
        try:
            if isinstance(out, np.ndarray):
                target = self._library.array(out, copy=False)
                target.write(self._steps[list(steps)]).result()
            else:
                writes = [
                    self._library.array(each, copy=False).write(self._steps[step])
                    for step, each in zip(steps, out, strict=True)
                ]
                for write in writes:
                    write.result()
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise FdsrError(f"'{self.array.store_path}' cannot be read ({reason}); check the store") from error
