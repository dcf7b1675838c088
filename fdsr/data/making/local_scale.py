"""The local scale of the residual over interpolation: over mountains and coasts it is several times larger than over sea.

    scale(channel, place)² = mean square residual over times and a square of 9 × 9 points, in units of its mean over places,

floored where next to nothing ever happens, and of such a size that the residual divided by it has unit mean square. With it
stands the power of the residual divided by it. Both are measured over the finished store's train block, and may be added to one
that was prepared without them: nothing else in it changes, its fingerprint neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from tqdm import tqdm

from fdsr.data.making.finished import open_finished
from fdsr.data.making.partial import PartialStore
from fdsr.data.making.statistics import Measure, PowerSums, Sums, tile_size
from fdsr.data.windows import Window
from fdsr.data.zarr_groups import array_of, consolidate

SIDE = 9  # points of the square that the mean square is smoothed over
FLOOR = 0.14  # of its mean over places: the least scale
STEPS = 512  # of a longer train block so many steps are measured, drawn at random: strides could meet one hour of the day alone


@dataclass
class LocalSums:
    """Sum of squares and count of the values present at each place, (C, H, W) in float64; `+` merges two of them."""

    square: Sums
    count: Sums

    @classmethod
    def of(cls, x: NDArray) -> LocalSums:
        """Of one field x (C, H, W), without its missing values (NaN)."""
        present = ~np.isnan(x)
        return cls(np.where(present, x, 0.0).astype(np.float64) ** 2, present.astype(np.float64))

    def __add__(self, other: LocalSums) -> LocalSums:
        return LocalSums(self.square + other.square, self.count + other.count)

    def scale(self, periodic: bool) -> Sums:
        """The local scale (C, H, W), by which the values summed have unit mean square; 1 where a channel is 0 everywhere."""
        modes = ("nearest", "nearest", "wrap" if periodic else "nearest")
        square, count = (uniform_filter(x, (1, SIDE, SIDE), mode=modes) for x in (self.square, self.count))
        known = count > 0.5 / SIDE**2  # a sum over the square of at least one value, whatever rounding adds
        rms = np.sqrt(np.where(known, square.clip(min=0.0) / np.where(known, count, 1.0), 0.0))
        mean = rms.sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True).clip(min=1)
        scale = np.where(mean > 0, np.maximum(rms, FLOOR * mean), 1.0)
        unit = (self.square / scale**2).sum((1, 2)) / self.count.sum((1, 2)).clip(min=1)
        return np.asarray(scale * np.sqrt(np.where(unit > 0, unit, 1.0))[:, None, None])


def representative(count: int) -> list[int]:
    """Positions of the steps that stand for a block of `count`: all, or STEPS of them, always the same."""
    if count <= STEPS:
        return list(range(count))
    return sorted(np.random.default_rng(0).choice(count, STEPS, replace=False).tolist())


class LocalScale(NamedTuple):
    """As a pair store holds it."""

    scale: NDArray[np.float32]  # (C, H, W), missing outside the train block
    power: Sums  # (C, K_y, K_x)


def has_local_scale(path: str | Path) -> bool:
    """Whether the pair store knows its local scale; its power is written last."""
    return "power_local" in open_finished(str(path))


def require_local_scale(path: str | Path) -> None:
    """Measure the local scale of a finished store that lacks it: once, whatever processes ask for it.

    Raises FdsrError where the store cannot be written.
    """
    from fdsr.data.making.prepare import write_errors_in_one_line  # which measures one as well

    if has_local_scale(path):
        return
    partial = PartialStore(Path(path))
    with write_errors_in_one_line(Path(path)), partial.locked():
        if not has_local_scale(path):
            add_local_scale(Path(path))
        if not (partial.folder / "plan.json").exists():  # of times that are being appended
            partial.discard()


def add_local_scale(path: Path) -> None:
    """Measure the local scale of the store at `path` and add it; readers see it when its metadata are consolidated."""
    from fdsr.data.field_spec import FieldSpec  # torch, which what plans a store does without

    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    for name in {"local_scale", "power_local"} & set(group):  # what a process that was killed has left
        del group[name]
    with xr.open_zarr(path, chunks=None, consolidated=False) as ds:
        spec = FieldSpec.from_dataset(ds, dict(group.attrs), str(path), "train")
    measure = Measure(
        spec.high_transforms, spec.low_transforms, spec.base_index, spec.factor, spec.interpolation, spec.periodic, spec.masked,
        Window.of_splits(group.attrs).get("train"), spec.independent_low,
    )  # fmt: skip
    statistics = {n: getattr(spec, n).numpy() for n in ("high_std", "residual_std", "power_residual")}
    splits: Any = group.attrs["splits"]
    write_local_scale(group, measure_local_scale(group, measure, splits["train"], statistics), spec.grid.names)
    consolidate(str(path))


def measure_local_scale(
    group: zarr.Group, measure: Measure, train: Sequence[int], statistics: Mapping[str, NDArray]
) -> LocalScale:
    """Of the train block (first, one past last) of a store whose fields are written, with the other `statistics` of it."""
    high, low = array_of(group, "high"), array_of(group, "low")
    steps = [train[0] + i for i in representative(train[1] - train[0])]
    deviation = (statistics["high_std"] * statistics["residual_std"])[:, None, None]

    def residuals(what: str) -> Iterator[Sums]:
        for i in tqdm(steps, desc=what, unit="step", leave=False):
            yield measure.values(np.asarray(high[i]), np.asarray(low[i]))[2] / deviation

    local = reduce(LocalSums.__add__, map(LocalSums.of, residuals("local scale")))
    scale = local.scale(measure.periodic)
    tile = tile_size(scale.shape[1:])
    total = reduce(PowerSums.__add__, (PowerSums.of(x / scale, tile) for x in residuals("power over local scale")))
    # a channel without a coarse counterpart is the field itself, whose scale is 1
    based = (np.array(measure.base_index) >= 0)[:, None, None]
    whole, window = (high.shape[2], high.shape[3]), measure.window
    return LocalScale(
        (scale if window is None else window.placed(scale, whole)).astype(np.float32),
        np.where(based, total.power(np.zeros(len(scale))), statistics["power_residual"]),
    )


def write_local_scale(group: zarr.Group, local: LocalScale, axes: Sequence[str]) -> None:
    """Add it to a store whose fine axes are named `axes`."""
    about: dict[str, Any] = {
        "long_name": "local scale of the residual over interpolation, in its deviations",
        "units": "1",
    }
    for name, data, names, attributes in (
        ("local_scale", local.scale, axes, about),
        ("power_local", local.power, ("wavenumber_lat", "wavenumber_lon"), {}),
    ):
        names = ["high_channel", *names]
        group.create_array(name, data=data, dimension_names=names, attributes=attributes, overwrite=True)
