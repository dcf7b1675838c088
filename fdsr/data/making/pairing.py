"""From a configuration to a plan: grids, paired times, readers, all checked before anything is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.data.attribution import owed
from fdsr.data.making.config import PrepareConfig
from fdsr.data.making.pair_grid import PairGrid, pair_grid
from fdsr.data.making.periods import chosen_times, times_of
from fdsr.data.making.reading import ChannelReader, PairReader
from fdsr.data.making.regions import split_windows
from fdsr.data.making.regrid import regridding
from fdsr.data.making.sources import Channel, View, open_source, parse_channels
from fdsr.data.making.static import static_fields
from fdsr.data.making.statistics import Measure
from fdsr.data.windows import Window
from fdsr.errors import FdsrError
from fdsr.grids.axes import crop_region, grid_of

log = logging.getLogger(__name__)

BLOCK_BYTES = 32 * 2**20  # what a block of time steps should take in memory
CHUNK_BYTES = 256 * 2**20  # what it may take where the source's chunks hold many steps, so that none is read twice


@dataclass
class Pairs:
    """Everything about a pair store but its values, and the reader that yields these."""

    grid: PairGrid
    times: NDArray
    reader: PairReader
    static: dict[str, NDArray]
    attributes: dict[str, dict[str, str]]
    owed: dict[str, str]  # to those who made the sources
    windows: dict[str, Window]  # of the split, where it is one by region

    @property
    def high_channels(self) -> list[str]:
        return [c.name for c in self.reader.high.channels]

    @property
    def low_channels(self) -> list[str]:
        return [c.name for c in (self.reader.low or self.reader.high).channels]

    @property
    def train(self) -> Window:
        """What statistics are of."""
        return self.windows.get("train", Window.whole(self.grid.fine.shape))

    def keep(self, positions: NDArray[np.int64]) -> None:
        """Leave out all times but those at `positions`."""
        self.times = self.times[positions]
        for reader in (self.reader.high, self.reader.low):
            if reader is not None:
                reader.steps = reader.steps[positions]

    def measure(self, config: PrepareConfig) -> Measure:
        low = self.low_channels
        return Measure(
            config.transforms_of(self.high_channels),
            config.transforms_of(low),
            [low.index(n) if n in low else -1 for n in self.high_channels],
            self.grid.factor,
            config.interpolation,
            self.train.part(self.grid.fine).periodic,
            masked=config.missing == "mask",
            window=self.windows.get("train"),
            independent=self.reader.low is not None,
        )

    def block_length(self) -> int:
        """Time steps read at once: bounded in memory, whole chunks of the source where these are not too large."""
        fields = 4 * math.prod(self.grid.fine.shape) * len(self.high_channels)
        per_step = max(self.reader.high.bytes_per_step(), fields)
        length = max(1, min(64, BLOCK_BYTES // per_step))
        chunk = self.reader.high.chunk_steps()
        return max(chunk, length // chunk * chunk) if chunk * per_step <= CHUNK_BYTES else length


def plan_pairs(config: PrepareConfig, units: Mapping[str, str | None] | None = None) -> Pairs:
    """Open and check the sources of `config`. Raises FdsrError for whatever makes a pair store impossible.

    units: channel → the unit to read it in; by default the coarse archive is read in those of the fine one.
    """
    view = View(config.axes, config.select)
    static = list(config.static)
    own_static = [] if config.static_source else parse_channels(static)
    source = _open(config.source, config, view, [*config.channels, *own_static])
    low = _open(config.low_source, config, view, config.low_channels) if config.low_source else None
    statics = _open(config.static_source, config, view, parse_channels(static)) if config.static_source else None
    view.require_met()
    source = crop_region(source, config.crop)
    if "time" not in source.dims and config.channels:
        raise FdsrError(
            f"'{config.source}' has no time axis, which '{config.channels[0].variable}' needs; say which it is: --axes time=NAME"
        )
    grid = pair_grid(grid_of(source), config.factors, config.source, config.trim)
    windows = split_windows(grid, config.split, config.apart, config.source)
    source = source.isel(row=slice(grid.fine.shape[0]), column=slice(grid.fine.shape[1]))
    steps = chosen_times(source, config.source, config.time_range)
    to_low, low_steps = None, steps
    if low is not None and config.low_source:
        to_low = regridding(grid_of(low), grid.low, config.low_source)
        steps, low_steps = _paired(source, low, steps, config)
    high_reader = ChannelReader(source, config.channels, steps, config.source, config.missing, grid.fine.periodic)
    low_reader = None
    if low is not None:
        where, periodic = str(config.low_source), grid.fine.periodic
        low_reader = ChannelReader(low, config.low_channels, low_steps, where, config.missing, periodic)
        _say_unmatched(config)
    if units is not None:
        for reader in filter(None, (high_reader, low_reader)):
            reader.convert(units, "the pair store")
    else:
        high_reader.convert(config.units, "the pair store")
        if low_reader is not None:
            low_reader.convert({**config.units, **high_reader.units}, f"'{config.source}'")
    fixed, static_attributes = static_fields(
        source if statics is None else statics, static, grid.fine, config.static_source or config.source, config.missing
    )
    attributes = (low_reader.attributes if low_reader else {}) | high_reader.attributes | static_attributes
    for name, thresholds in config.thresholds.items():
        attributes[name] = attributes[name] | {"thresholds": ", ".join(f"{t:g}" for t in thresholds)}
    times = source.time.values[steps] if "time" in source.coords else steps
    makers = {k: v for ds in (statics, low, source) if ds is not None for k, v in owed(ds.attrs).items()}
    return Pairs(grid, times, PairReader(grid, high_reader, low_reader, to_low), fixed, attributes, makers, windows)


def _say_unmatched(config: PrepareConfig) -> None:
    """Say which fine channels have no coarse one of their name, and which coarse ones no fine one: often a name forgotten."""
    high, low = ([c.name for c in channels] for channels in (config.channels, config.low_channels))
    bare, more = [n for n in high if n not in low], [n for n in low if n not in high]
    if bare and more:
        log.warning(
            "%s has no coarse field of its name and is predicted from the others; %s is a predictor alone (the coarse field of %s "
            "under another name is written %s=%s)",
            ", ".join(bare), ", ".join(more), bare[0], bare[0], more[0],
        )  # fmt: skip


def _open(path: str, config: PrepareConfig, view: View, channels: list[Channel]) -> xr.Dataset:
    return open_source(path, config.storage_options, channels, view)


def _paired(
    high: xr.Dataset, low: xr.Dataset, steps: NDArray[np.int64], config: PrepareConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in both archives of the times that both hold."""
    low_steps = chosen_times(low, str(config.low_source))
    high_times, low_times = times_of(high), times_of(low)
    if high_times.dtype.kind != low_times.dtype.kind:
        raise FdsrError(f"'{config.source}' and '{config.low_source}' do not both have dates to be paired by")
    _, a, b = np.intersect1d(high_times[steps], low_times[low_steps], return_indices=True)
    if a.size == 0:
        first = " and ".join(f"{times[:1]}".strip("[]'") for times in (high_times, low_times))
        raise FdsrError(
            f"'{config.source}' and '{config.low_source}' have no time in common, and begin at {first}; shift or average one of "
            "them to the times of the other first (cdo shifttime, daymean)"
        )
    return steps[a], low_steps[b]
