"""Metrics that are functions of float64 sums, which add up over batches, processes and merges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fdsr.errors import FdsrError


def working_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has none (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


class SumMetric(Metric):
    """A metric whose states are float64 sums, so that any split of the same data gives the same value.

    The sums keep their precision when the module that holds them is cast (`.to(bfloat16)`), leave no trace in a
    checkpoint, and are added over processes by `compute()`. Input of any floating dtype is converted to float64 before
    any arithmetic, outside autocast.

    Subclasses register their sums by `add_sum` and add to them by `add`.
    """

    full_state_update = False
    is_differentiable = False

    if TYPE_CHECKING:  # sums and buffers, which torch finds by the names that they were added under

        def __getattr__(self, name: str) -> Tensor: ...

    def __init__(self, n_variables: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n_variables < 1:
            raise FdsrError(f"a metric needs at least one variable, got n_variables={n_variables}")
        self.n_variables = n_variables

    def add_sum(self, name: str, *shape: int) -> None:
        """Register the sum `name` of the given shape, added over processes."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, **values: Tensor | float) -> None:
        """Add to sums, out of place: a state reset under `torch.inference_mode` must not be written to in place outside it."""
        for name, value in values.items():
            setattr(self, name, getattr(self, name) + value)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> SumMetric:
        """Move to the device that `fn` moves to, never to another precision."""

        def move(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return fn(tensor)
            device = fn(torch.empty(0, dtype=torch.float32, device=tensor.device)).device
            return tensor.to(device, working_dtype(device))

        super()._apply(move, *args, **kwargs)
        return self
