"""Reading a pair store: its specification, its splits and its time steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.finished import open_finished
from fdsr.data.making.sources.remote import is_remote, patiently
from fdsr.data.serving.cache import Step, StepCache
from fdsr.data.serving.readers import Reader, open_reader
from fdsr.data.serving.readers.window import WindowReader
from fdsr.data.windows import Window
from fdsr.data.zarr_groups import array_of
from fdsr.grids.dates import year_and_day

T = TypeVar("T")
RESIDENT_BYTES = 2**30  # a store that decodes to no more is kept in memory whole, once it has been read


class PairStore:
    """One pair store, opened for reading.

    `spec` is what a model needs of it, `times` (n,) are datetimes, `splits` map a name to (first, one past last), `windows` to a part
    of the grid where blocks are regions. Of such a store, opened for one of its splits, all fields are cut to that part. May be
    sent to another process, which opens it anew with an empty cache.

    Args:
        path: folder of the store, or an address that fsspec knows (s3://, gs://, https://).
        cached_steps: decoded time steps kept in memory; all of them where they take less than `resident_bytes`.
        reader: auto, direct, tensorstore or zarr, see fdsr.data.serving.readers.
        threads: time steps read at the same time; default by the processor's cores.
        storage_options: what fsspec needs for an address: credentials, endpoint.
        time_channels: whether a network is to be told day of year and local solar time.
        position: whether it is to be told where on the sphere it is.
        split: the block whose region fields are cut to, where the store is split by region; default: whole fields.

    Raises FdsrError if the store is missing, unfinished or of another version, the reader cannot read it, or its times have no
    dates to tell.
    """

    def __init__(
        self,
        path: str | Path,
        cached_steps: int = 64,
        reader: str = "auto",
        threads: int | None = None,
        resident_bytes: int = RESIDENT_BYTES,
        storage_options: Mapping[str, Any] | None = None,
        time_channels: bool = False,
        position: bool = True,
        split: str | None = None,
    ) -> None:
        self.path = str(path) if is_remote(str(path)) else str(Path(path).expanduser())
        storage_options = storage_options if is_remote(self.path) else None  # which may be those of the source
        self._arguments = (
            self.path, cached_steps, reader, threads, resident_bytes, storage_options, time_channels, position, split
        )  # fmt: skip
        self.group = self._patiently(lambda: open_finished(self.path, storage_options))
        # the one document that changes in one step when times are appended; stores of early versions lack it
        consolidated = self.group.metadata.consolidated_metadata is not None
        how: dict[str, Any] = {"chunks": None, "consolidated": consolidated, "storage_options": storage_options}
        ds = self._patiently(lambda: xr.open_zarr(self.path, **how).drop_vars(["high", "low"]).load())
        self.times: NDArray = ds.time.values
        self.spec = FieldSpec.from_dataset(ds, dict(self.group.attrs), self.path, split)
        self.windows = Window.of_splits(self.group.attrs)
        if time_channels:
            year_and_day(self.times[:1])  # times without dates are refused now, not at the first batch
        self.spec = replace(self.spec, time_channels=time_channels, position=position)
        self.splits: dict[str, tuple[int, int]] = {k: (v[0], v[1]) for k, v in self.group.attrs["splits"].items()}  # type: ignore
        self.high: Reader = open_reader(array_of(self.group, "high"), reader, threads)
        self.low: Reader = open_reader(array_of(self.group, "low"), reader, threads)
        if window := self.windows.get(split or ""):
            self.high = WindowReader(self.high, window)
            self.low = WindowReader(self.low, window.coarse(self.spec.factor))
        n = self.high.shape[0]
        self.step_bytes = 4 * (math.prod(self.high.shape[1:]) + math.prod(self.low.shape[1:]))
        self.resident = n <= cached_steps or n * self.step_bytes <= resident_bytes
        self.cached_steps = n if self.resident else cached_steps
        self._cache = StepCache(self.high, self.low, self.cached_steps)

    def _patiently(self, read: Callable[[], T]) -> T:
        """`read`, tried again after failures on the way to an address."""
        return patiently(read, self.path, "pair store") if is_remote(self.path) else read()

    def of_split(self, split: str) -> PairStore:
        """The store as it is opened for one of its splits; itself where that makes no difference."""
        if self._arguments[-1] == split or split not in self.windows:
            return self
        return PairStore(*self._arguments[:-1], split)

    def __reduce__(self) -> tuple[type[PairStore], tuple]:
        return PairStore, self._arguments

    def read(self, i: int) -> tuple[Tensor, Tensor]:
        """(high (C, H, W), low (D, h, w)) of time step i in physical units, float32; copies."""
        step = self.steps([i])[i]
        return torch.from_numpy(step.high.copy()), torch.from_numpy(step.low.copy())

    def steps(self, steps: Sequence[int]) -> dict[int, Step]:
        """Decoded steps (shared: read only), missing ones read together and kept for later."""
        return self._cache.get(steps)

    def read_fields(self, steps: Sequence[int], high: NDArray | None, low: NDArray | None) -> None:
        """Fill high (n, C, H, W) and low (n, D, h, w) with whole fields; None: not needed.

        What is in memory is copied; a store too large to be kept is read straight into place, and leaves the steps that
        patches are drawn from where they are.
        """
        decoded = self.steps(steps) if self.resident else self._cache.kept(steps)
        for reader, out, part in ((self.high, high, 0), (self.low, low, 1)):
            if out is None:
                continue
            for j, i in enumerate(steps):
                if i in decoded:
                    out[j] = decoded[i][part]
            missing = [j for j, i in enumerate(steps) if i not in decoded]
            if len(missing) == len(steps):
                reader.read(steps, out)
            elif missing:
                reader.read([steps[j] for j in missing], [out[j] for j in missing])
