"""What a batch is, and the data sets that fill one: patches, whole fields, coarse fields alone.

`__getitems__` fills one preallocated batch, in page-locked memory where there is a GPU to copy it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from fdsr.data.coarsen import coarsen
from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO, add_halo
from fdsr.data.serving.augment import mirror_signs
from fdsr.data.serving.cache import Step
from fdsr.data.serving.conditions import Conditions
from fdsr.data.serving.context import Surroundings
from fdsr.data.serving.patches import PatchKey
from fdsr.data.serving.store import PairStore


class WeatherBatch(TypedDict, total=False):
    """Physical units, float32; whole fields have the grid's own (H, W). Patches say where on it their cells are."""

    low: Tensor  # (B, D, h + 2·HALO, w + 2·HALO)
    high: Tensor  # (B, C, H, W), absent when predicting from coarse fields alone
    conditioning: Tensor  # (B, S + 3, H, W), standardised static fields, position and more; see FieldSpec.conditioning
    time: Tensor  # (B,) int64 seconds since 1970
    index: Tensor  # (B,) int64 position in the store
    rows: Tensor  # (B, H) int64, of patches alone: the grid's row that each of their rows is of
    columns: Tensor  # (B, W) int64, likewise
    inner_rows: Tensor  # (B, h) int64, of patches with surroundings alone: those of their rows that a loss counts
    inner_columns: Tensor  # (B, w) int64, likewise


class PatchDataset(Dataset[WeatherBatch]):
    """Patches of (high, low) addressed by PatchKey, each in its `surroundings` where there are any.

    Every cell keeps the static values and the position of the place that it came from: where a patch is rolled or
    mirrored, these channels are rolled and mirrored with it, their values unchanged. Wind components that a mirror
    reverses change sign, see `mirror_signs`.
    """

    def __init__(self, store: PairStore, patch: tuple[int, int], surroundings: Surroundings | None = None) -> None:
        self.store, self.surroundings = store, surroundings
        self.patch = surroundings.size if surroundings else patch
        self.conditions = Conditions(store.spec, store.times)
        channels, about = (store.spec.high_channels, store.spec.low_channels), store.spec.attributes
        self._signs = {
            flips: tuple(mirror_signs(names, about, *flips) for names in channels)
            for flips in product((False, True), repeat=2)  # of rows and of columns
        }

    def __getitem__(self, key: PatchKey) -> WeatherBatch:
        return _first(self.__getitems__([key]))

    def __getitems__(self, keys: Sequence[PatchKey]) -> WeatherBatch:
        spec, (h, w), (fy, fx) = self.store.spec, self.patch, self.store.spec.factor
        steps, inner = self.store.steps([key.time for key in keys]), {}
        if self.surroundings:
            keys, rows, columns = zip(*map(self.surroundings.around, keys), strict=True)
            inner = {
                f"inner_{axis}": torch.from_numpy(np.stack(places))
                for axis, places in (("rows", rows), ("columns", columns))
            }
        high = _empty(len(keys), len(spec.high_channels), h, w)
        low = _empty(len(keys), len(spec.low_channels), h // fy + 2 * HALO, w // fx + 2 * HALO)
        conditioning = _empty(len(keys), len(self.conditions), h, w)
        for j, key in enumerate(keys):
            self._fill(key, steps[key.time], high[j].numpy(), low[j].numpy(), conditioning[j].numpy())
        places = (torch.from_numpy(np.stack(axis)) for axis in zip(*map(self._places, keys), strict=True))
        batch: Any = {"low": low, "high": high, "conditioning": conditioning}
        batch |= zip(("rows", "columns"), places, strict=True)
        return batch | inner | _stamps(self.store.times, [key.time for key in keys])

    def _places(self, key: PatchKey) -> tuple[NDArray, NDArray]:
        """Rows (h,) and columns (w,) of the grid that a patch's cells are of, in the patch's own order."""
        (h, w), columns = self.patch, self.store.spec.shape[1]
        row, column = np.arange(h) + key.row + key.row_shift, np.arange(w) + key.column + key.column_shift
        return row[:: -1 if key.flip_rows else 1], (column % columns)[:: -1 if key.flip_columns else 1]

    def _fill(self, key: PatchKey, step: Step, high: NDArray, low: NDArray, conditioning: NDArray) -> None:
        spec = self.store.spec
        row, column = key.row + key.row_shift, (key.column + key.column_shift) % spec.shape[1]
        # reversed views of the destination: the copy itself mirrors
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in (key.flip_rows, key.flip_columns))
        mirror = (slice(None), rows, columns)
        _copy_patch(step.high, row, column, high[mirror])
        _copy_patch(self.conditions.static, row, column, conditioning[mirror])
        self.conditions.tell_time(conditioning, key.time)
        low[mirror] = self._coarse(key, step)
        if key.flip_rows or key.flip_columns:
            for out, signs in zip((high, low), self._signs[key.flip_rows, key.flip_columns], strict=True):
                out *= signs

    def _coarse(self, key: PatchKey, step: Step) -> NDArray[np.float32]:
        """Coarse cells under the patch and its halo: rows beyond the poles repeat the last, columns wrap or repeat."""
        spec, (h, w), (fy, fx) = self.store.spec, self.patch, self.store.spec.factor
        rows = np.arange(key.row // fy - HALO, (key.row + h) // fy + HALO)
        columns = np.arange(key.column // fx - HALO, (key.column + w) // fx + HALO)
        rows = rows.clip(0, (spec.shape[0] - key.row_shift) // fy - 1)
        whole = spec.shape[1] // fx if spec.periodic else (spec.shape[1] - key.column_shift) // fx
        columns = columns % whole if spec.periodic else columns.clip(0, whole - 1)
        if not (key.row_shift or key.column_shift):
            return step.low[:, rows[:, None], columns]
        fine_rows = (rows[:, None] * fy + key.row_shift + np.arange(fy)).ravel()
        fine_columns = (columns[:, None] * fx + key.column_shift + np.arange(fx)).ravel() % spec.shape[1]
        fine = step.high[:, fine_rows[:, None], fine_columns]
        return coarsen(fine, spec.grid.row_areas[fine_rows], spec.factor)


class WholeFields(Dataset[WeatherBatch]):
    """Whole fields at the times `times` (n,), of `members` forecasts each, one after the other."""

    times: NDArray
    members = 1
    spec: FieldSpec
    attributes: dict[str, Any]  # of the store or the source
    conditions: Conditions

    def __len__(self) -> int:
        return int(self.times.size) * self.members

    def __getitem__(self, i: int) -> WeatherBatch:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return _first(self.__getitems__([i]))

    def __getitems__(self, items: Sequence[int]) -> WeatherBatch:
        raise NotImplementedError

    def _batch(self, low: Tensor, times: NDArray, steps: Sequence[int], **more: Tensor) -> Any:
        """Of coarse fields without their halo, at `steps` of `times`."""
        shared = {"low": add_halo(low, self.spec.periodic), "conditioning": self.conditions.fields(steps)}
        return shared | more | _stamps(times, steps)


class FieldDataset(WholeFields):
    """Whole fields of a block of time steps, `every` n-th of them, with the conditions of `spec` (default: the store's own)."""

    def __init__(self, store: PairStore, block: tuple[int, int], every: int = 1, spec: FieldSpec | None = None) -> None:
        self.store, self.steps = store, range(*block, every)
        self.times = store.times[slice(*block, every)]
        self.spec, self.attributes = spec or store.spec, dict(store.group.attrs)
        self.conditions = Conditions(self.spec, store.times)

    def __getitems__(self, items: Sequence[int]) -> WeatherBatch:
        steps = [self.steps[i] for i in items]
        high = _empty(len(steps), *self.store.high.shape[1:])
        low = torch.empty(len(steps), *self.store.low.shape[1:])
        self.store.read_fields(steps, high.numpy(), low.numpy())
        return self._batch(low, self.store.times, steps, high=high)


def _empty(*shape: int) -> Tensor:
    # workers must not wake the GPU; what they hand over is copied once more
    return torch.empty(shape, pin_memory=torch.cuda.is_available() and get_worker_info() is None)


def _first(batch: WeatherBatch) -> WeatherBatch:
    return {name: value[0] for name, value in batch.items()}  # type: ignore[return-value, index]


def _stamps(times: NDArray, steps: Sequence[int]) -> Any:
    chosen = times[np.asarray(steps, dtype=np.int64)]
    # of times without a date fractions count too: by these numbers noise is drawn
    fractions = times.dtype.kind == "f" and bool((times % 1).any())
    seconds = np.asarray(steps, dtype=np.int64) if fractions else chosen.astype("datetime64[s]").astype(np.int64)
    return {"time": torch.from_numpy(seconds), "index": torch.tensor(list(steps), dtype=torch.int64)}


def _copy_patch(field: NDArray, row: int, column: int, out: NDArray) -> None:
    """Copy out's rows and columns of `field` (C, H, W) from (row, column) on; columns run on past the last to the first."""
    h, w = out.shape[1:]
    first = min(w, field.shape[2] - column)
    out[..., :first] = field[:, row : row + h, column : column + first]
    if first < w:
        out[..., first:] = field[:, row : row + h, : w - first]
