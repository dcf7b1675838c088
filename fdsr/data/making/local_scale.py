"""The local scale of the residual over interpolation: over mountains and coasts it is several times larger than over sea.

    scale(channel, place)² = mean square residual over times and a square of 9 × 9 points, in units of its mean over places,

floored where next to nothing ever happens, and of such a size that the residual divided by it has unit mean square. With it
stands the power of the residual divided by it. Both are measured over the finished store's train block, and may be added to one
that was prepared without them: nothing else in it changes, its fingerprint neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from tqdm import tqdm

from fdsr.data.making.partial import PartialStore
from fdsr.data.making.statistics import Measure, PowerSums, Sums, tile_size
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


def has_local_scale(path: str | Path) -> bool:
    """Whether the pair store knows its local scale; its power is written last."""
    return "power_local" in zarr.open_group(str(path), mode="r")


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
        spec = FieldSpec.from_dataset(ds, dict(group.attrs), str(path))
    measure = Measure(
        spec.high_transforms, spec.low_transforms, spec.base_index, spec.factor, spec.interpolation, spec.periodic, spec.masked
    )  # fmt: skip
    splits: Any = group.attrs["splits"]
    steps = np.arange(*splits["train"])
    if steps.size > STEPS:
        steps = np.sort(np.random.default_rng(0).choice(steps, STEPS, replace=False))
    deviation = (spec.high_std * spec.residual_std).numpy()[:, None, None]

    def residuals(what: str) -> Iterator[Sums]:
        for i in tqdm(steps, desc=what, unit="step", leave=False):
            high, low = (np.asarray(array_of(group, name)[int(i)]) for name in ("high", "low"))
            yield measure.values(high, low)[2] / deviation

    shape = (len(spec.high_channels), *spec.shape)
    local = LocalSums(np.zeros(shape), np.zeros(shape))
    for residual in residuals("local scale"):
        local = local + LocalSums.of(residual)
    scale, tile = local.scale(spec.periodic), tile_size(spec.shape)
    total = PowerSums(*(np.zeros((len(scale), *tile)) for _ in range(3)))
    for residual in residuals("its power"):
        total = total + PowerSums.of(residual / scale, tile)
    # a channel without a coarse counterpart is the field itself, whose scale is 1
    based = (np.array(spec.base_index) >= 0)[:, None, None]
    power = np.where(based, total.power(np.zeros(len(scale))), spec.power_residual.numpy())
    names = ["high_channel", *spec.grid.names]
    attributes: dict[str, Any] = {
        "long_name": "local scale of the residual over interpolation, in its deviations",
        "units": "1",
    }
    group.create_array("local_scale", data=scale.astype(np.float32), dimension_names=names, attributes=attributes)
    group.create_array("power_local", data=power, dimension_names=["high_channel", "wavenumber_lat", "wavenumber_lon"])
    consolidate(str(path))
