"""Between data in their own units and the tensors that networks see: what weather fields and images have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fdsr.backbones import Tiler
from fdsr.diffusion import Spectrum, Transform
from fdsr.diffusion.losses.loss import everything
from fdsr.modules.first_stage import FirstStage

# a WeatherBatch or an ImageBatch; only its codec looks inside, and `index` (B,) is in both
Batch = Any
# cuts fields (n·B, C, H, W), n copies of a batch, to the points (n·B, C, h, w) that a loss counts
Cut = Callable[[Tensor], Tensor]


class Encoded(NamedTuple):
    """What is known of a batch without its truth. Without a condition D + S + 3 is 0 and the base is zero."""

    base: Tensor  # (B, C, H, W) interpolated coarse field in standardised units of the high channels; 0 where none
    condition: (
        Tensor  # (B, D + S + 3, H, W) what a network is given: interpolated coarse channels, static fields, position
    )
    scale: Tensor  # what x_0 is counted in, in standardised units: (B, C, H, W), or 1 in place of dimensions along which it is one
    idle: Tensor | None = None  # (B, C, H, W) bool, where x_0 is 0 by definition; None: nowhere

    def take(self, samples: Tensor) -> Encoded:
        """That of `samples` (N,), each a position in this batch."""

        def taken(x: Tensor) -> Tensor:
            return x[samples] if len(x) > 1 else x[torch.zeros_like(samples)]

        idle = None if self.idle is None else taken(self.idle)
        return Encoded(taken(self.base), taken(self.condition), taken(self.scale), idle)


class Codec(nn.Module):
    """Turns a batch into a target x_0 and a condition, and x_0 back into data.

    Everything a codec needs travels in the checkpoint's spec: it has no state of its own.
    """

    spec: Any
    channels: int  # C, of the target
    condition_channels: int
    stage: FirstStage | None = None  # the regression that the target is counted from, where there is one
    tiler: Tiler = Tiler()  # how that is evaluated on whole fields

    def wraps(self, x: Tensor) -> bool:
        """Whether the last axis of x is a closed circle."""
        return False

    def encode(self, batch: Batch) -> Encoded:
        """Base and condition of a batch."""
        raise NotImplementedError

    def truth(self, batch: Batch) -> Tensor:
        """The data themselves (B, C, H, W), in their own units."""
        raise NotImplementedError

    def present(self, batch: Batch) -> Tensor | None:
        """Where the data are (B, C, H, W), bool; None: everywhere. Elsewhere x_0 is 0, and no loss counts it."""
        return None

    def counted(self, batch: Batch) -> Cut:
        """What cuts a batch's fields to what a loss counts: patches have surroundings that it does not."""
        return everything

    def to_target(self, truth: Tensor, encoded: Encoded) -> Tensor:
        """Data to x_0 (B, C, H, W), given what `encode` says of the same batch."""
        raise NotImplementedError

    def from_target(self, x_0: Tensor, encoded: Encoded) -> Tensor:
        """x_0 to data."""
        raise NotImplementedError

    def squash(self, x: Tensor) -> Tensor:
        """A network's output smoothly into the range of x_0, where it has one."""
        return x

    def clip(self, x_0: Tensor) -> Tensor:
        """An estimate of x_0 cut to its range, where it has one."""
        return x_0

    def spectrum(self, transform: Transform) -> Spectrum:
        """What is known of the target: the basis `transform`, fitted to this grid, and here no power."""
        return Spectrum(transform)
