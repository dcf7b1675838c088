"""What every metric of fields shares: float64 sums that add up over batches, processes and merges, and area weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fdsr.errors import FdsrError

# elements of one float64 working block: small enough for the cache, so that memory does not grow with members or grid
BLOCK_ELEMENTS = 2**18


def working_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has none (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


class SumMetric(Metric):
    """A metric whose states are float64 sums, so that any split of the same data gives the same value.

    The sums keep their precision when the module that holds them is cast (`.to(bfloat16)`), leave no trace in a
    checkpoint, and are added over processes by `compute()`. Input of any floating dtype is converted to float64 before
    any arithmetic, outside autocast. NaN in, NaN out.

    Subclasses add out of place (`self.s = self.s + x`), because a state reset under `torch.inference_mode` must not be
    written to in place outside it.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, n_variables: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n_variables < 1:
            raise FdsrError(f"a metric needs at least one variable, got n_variables={n_variables}")
        self.n_variables = n_variables

    def add_sum(self, name: str, *shape: int) -> None:
        """Register the sum `name` of the given shape, added over processes."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> SumMetric:
        """Move to the device that `fn` moves to, never to another precision."""

        def move(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return fn(tensor)
            device = fn(torch.empty(0, dtype=torch.float32, device=tensor.device)).device
            return tensor.to(device, working_dtype(device))

        super()._apply(move, *args, **kwargs)
        return self

    def _check(self, prediction: Tensor, truth: Tensor) -> None:
        """One-line errors for shapes other than (B, M, C, H, W) and (B, C, H, W)."""
        if prediction.ndim != 5 or truth.ndim != 4:
            raise FdsrError(
                f"{type(self).__name__} takes a prediction (time, member, variable, lat, lon) and a truth "
                f"(time, variable, lat, lon), got {tuple(prediction.shape)} and {tuple(truth.shape)}"
            )
        expected = (prediction.shape[0], *prediction.shape[2:])
        if expected != tuple(truth.shape):
            raise FdsrError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} do not match")
        if truth.shape[1] != self.n_variables:
            raise FdsrError(f"{type(self).__name__} was built for {self.n_variables} variables, got {truth.shape[1]}")


class FieldMetric(SumMetric):
    """A metric that is a function of area-weighted sums over cells; `compute()` gives one value a variable, (C,).

    A metric of a single variable gives a 0-d tensor, as torchmetrics squeezes what has one element.

    Args:
        weights: area of the cells, (H,) for rows of equal longitudes or (H, W), in any unit
            (`fdsr.geometry.latitude_weights`).
        n_variables: C.

    Subclasses implement `_accumulate`, which sees one time and a block of rows.
    """

    weights: Tensor
    area: Tensor

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(n_variables, **kwargs)
        w = torch.as_tensor(weights, dtype=torch.float64)
        if w.ndim not in (1, 2) or not bool((w >= 0).all()) or not bool(w.sum() > 0):
            raise FdsrError(
                f"area weights must be (H,) or (H, W), none negative and not all zero, got {tuple(w.shape)}"
            )
        self.register_buffer("weights", w[:, None] if w.ndim == 1 else w, persistent=False)
        self.add_sum("area", n_variables)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times. Shapes (B, M, C, H, W) and (B, C, H, W), physical units; B may be anything, also 0."""
        self._check(prediction, truth)
        self._check_grid(truth)
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y, w in self._blocks(prediction, truth):
                self.area = self.area + w.sum() * (y.shape[-1] / w.shape[-1])
                self._accumulate(p, y, w)

    def _accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        """Add one block: members (M, C, h, W), truth (C, h, W), weights (h, 1) or (h, W)."""
        raise NotImplementedError

    def _check_grid(self, field: Tensor) -> None:
        height, width = self.weights.shape
        if field.shape[-2] != height or width not in (1, field.shape[-1]):
            raise FdsrError(f"fields of {tuple(field.shape[-2:])} cells, but weights of {(height, width)}")

    def _blocks(self, prediction: Tensor, truth: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One time and a few rows at a time, in float64."""
        dtype = working_dtype(prediction.device)
        n_times, members, variables, height, width = prediction.shape
        rows = max(1, BLOCK_ELEMENTS // max(1, members * variables * width))
        for b in range(n_times):
            for start in range(0, height, rows):
                block = slice(start, start + rows)
                yield prediction[b, :, :, block].to(dtype), truth[b, :, block].to(dtype), self.weights[block]


def weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Σ over cells of w · values: values (..., h, W), weights (h, 1) or (h, W); gives (...)."""
    if weights.shape[-1] == 1:
        return (values.sum(-1) * weights[:, 0]).sum(-1)
    return (values * weights).sum((-2, -1))
