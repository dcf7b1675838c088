"""What a network is told of places and times besides the coarse fields: static fields, position, season and hour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from fdsr.data.field_spec import TIME_CHANNELS, FieldSpec
from fdsr.grids.dates import year_and_day


class Conditions:
    """The conditioning channels of a grid at some times.

    Args:
        spec: the grid, its static fields, and whether there are time channels.
        times: (n,) datetimes, of our calendar or another.

    Raises FdsrError where time channels are asked for and times have no dates.
    """

    def __init__(self, spec: FieldSpec, times: NDArray) -> None:
        self.static: NDArray[np.float32] = spec.conditioning().numpy()
        self._angles = 2 * np.pi * year_and_day(times) if spec.time_channels else None

    def __len__(self) -> int:
        """Number of channels."""
        return len(self.static)

    def fields(self, times: Sequence[int]) -> Tensor:
        """Whole fields (B, channels, H, W) at positions in the times; not to be written into."""
        if self._angles is None:
            return from_numpy(self.static).expand(len(times), -1, -1, -1)
        out = np.repeat(self.static[None], len(times), axis=0)
        for place, i in zip(out, times, strict=True):
            self.tell_time(place, i)
        return from_numpy(out)

    def tell_time(self, channels: NDArray[np.float32], time: int) -> None:
        """Complete a cut of `static` (channels, h, w) in place for the time at a position."""
        if self._angles is None:
            return
        year, day = self._angles[time]
        season, sun = channels[-TIME_CHANNELS:-2], channels[-2:]
        season[0], season[1] = np.sin(year), np.cos(year)
        sin, cos = sun.copy()  # of the longitude; the sum of both angles is local solar time
        sun[0], sun[1] = sin * np.cos(day) + cos * np.sin(day), cos * np.cos(day) - sin * np.sin(day)
