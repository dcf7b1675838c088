"""Reading a block of paired time steps from the sources of a pair store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.data.coarsen import coarsen
from fdsr.data.making.missing_values import require_straight_rows, settle
from fdsr.data.making.pair_grid import PairGrid
from fdsr.data.making.regrid import Regridding
from fdsr.data.making.sources import Channel, patiently, resolve
from fdsr.errors import FdsrError
from fdsr.scores import read_thresholds
from fdsr.units import Conversion, conversions


@dataclass(frozen=True)
class _Read:
    """One variable of a source, and the levels of it that are channels."""

    variable: str
    axis: str | None
    levels: list[int]
    channels: list[int]  # positions among the channels


@dataclass
class ChannelReader:
    """Channels of one normalised source at given times. Opens nothing: it can be sent to another process."""

    ds: xr.Dataset
    channels: list[Channel]
    steps: NDArray[np.int64]  # positions on the source's time axis
    where: str
    missing: str = "error"
    periodic: bool = False
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    _conversions: dict[str, Conversion] = field(default_factory=dict)
    _reads: list[_Read] = field(default_factory=list)

    def __post_init__(self) -> None:
        reads: dict[str, _Read] = {}
        for i, channel in enumerate(self.channels):
            variable, axis, index = resolve(self.ds, channel, self.where)
            if "time" not in self.ds[variable].dims:
                raise FdsrError(
                    f"'{self.where}': variable '{variable}' has no time axis; list it among the static fields instead"
                )
            # a chunk holds all levels as a rule: they are read together
            read = reads.setdefault(variable, _Read(variable, axis, [], []))
            read.levels.append(index or 0)
            read.channels.append(i)
            attributes = dict(self.ds[variable].attrs)
            if isinstance(attributes.get("units"), list | tuple):  # of all channels of an array
                del attributes["units"]
            self.attributes[channel.name] = {
                k: str(v) for k, v in attributes.items() if k in ("units", "standard_name", "long_name", "thresholds")
            }
        self._reads = list(reads.values())
        # only what is read is kept, so that little is sent to other processes
        self.ds = self.ds[list(reads)]

    @property
    def units(self) -> dict[str, str | None]:
        """channel → unit, None where the source says none."""
        return {name: attributes.get("units") for name, attributes in self.attributes.items()}

    def convert(self, units: Mapping[str, str | None], other: str) -> None:
        """Read what `other` has too in its `units`, and say so. Raises FdsrError where a unit cannot be converted."""
        self._conversions = conversions(self.units, units, f"'{self.where}'", other)
        for name, unit in units.items():
            if name in self.attributes and unit:
                self.attributes[name]["units"] = str(unit)
        for name, line in self._conversions.items():
            if asked := self.attributes[name].get("thresholds"):
                self.attributes[name]["thresholds"] = ", ".join(f"{line(t):.6g}" for t in read_thresholds(asked))

    def bytes_per_step(self) -> int:
        """Memory that decoding one time step takes, all levels that share a chunk included."""
        return sum(self.ds[r.variable].isel(time=0).nbytes for r in self._reads)

    def chunk_steps(self) -> int:
        """Time steps that the source keeps in one chunk; 1 where it does not say."""
        lengths = [1]
        for read in self._reads:
            array = self.ds[read.variable]
            chunks = array.encoding.get("preferred_chunks") or {}
            length = chunks.get("time", 1)
            lengths.append(int(length[0] if isinstance(length, Sequence) else length))
        return max(lengths)

    def read(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(fields (n, C, H, W) of steps first…last − 1, missing values filled a channel (C,))."""
        steps = self.steps[first:last]
        following = bool((np.diff(steps) == 1).all())
        positions = slice(int(steps[0]), int(steps[-1]) + 1) if following else steps
        out = np.empty((len(steps), len(self.channels), self.ds.sizes["row"], self.ds.sizes["column"]), np.float32)
        for read in self._reads:
            loaded = patiently(partial(self._load, read, positions), self.where)
            order = sorted(set(read.levels))
            for level, channel in zip(read.levels, read.channels, strict=True):
                out[:, channel] = loaded[:, order.index(level)]
        times = self.ds.time.values[steps]
        filled = []
        for i, c in enumerate(self.channels):
            fields = out[:, i]
            filled.append(
                settle(self.missing, fields, c.name, lambda k: _time_text(times[k]), self.where, self.periodic)
            )
            # one of a block: rows are read one way in a whole file as a rule
            require_straight_rows(fields[0], c.name, _time_text(times[0]), self.where)
            if c.name in self._conversions:
                out[:, i] = self._conversions[c.name](fields.astype(np.float64))
        return out, np.array(filled, dtype=np.int64)

    def _load(self, read: _Read, positions: slice | NDArray) -> NDArray:
        """Values (n, levels, H, W) of one variable, only the levels that are channels."""
        array = self.ds[read.variable].isel(time=positions)
        if read.axis is not None:
            array = array.isel({read.axis: sorted(set(read.levels))})
        array = array.transpose("time", ..., "row", "column")
        # another thread pool inside this one's thread would only contend for the same cores
        values = np.asarray(array.compute(scheduler="synchronous").values)
        return values.reshape(len(values), -1, *values.shape[-2:])


def _time_text(time: np.generic) -> str:
    return np.datetime_as_string(time, unit="m") if isinstance(time, np.datetime64) else f"time {time}"


@dataclass
class PairReader:
    """Blocks of (fine, coarse) fields: the coarse ones are block means, or come from an archive of their own."""

    grid: PairGrid
    high: ChannelReader
    low: ChannelReader | None = None
    to_low: Regridding | None = None

    def read(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """(high (n, C, H, W), low (n, D, h, w), missing values filled per channel of both (C + D,)) of a block."""
        high, filled = self.high.read(first, last)
        if self.low is None or self.to_low is None:
            # a step at a time: the sums are in float64
            low = np.stack([coarsen(step, self.grid.fine.row_areas, self.grid.factor) for step in high])
            return high, low, np.concatenate([filled, np.zeros_like(filled)])
        coarse, filled_low = self.low.read(first, last)
        return high, np.stack([self.to_low(step) for step in coarse]), np.concatenate([filled, filled_low])
