"""What every metric of fields shares: float64 sums that add up over batches, processes and merges, and area weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    any arithmetic, outside autocast. A cell whose truth is NaN is masked: whatever is predicted there, it has no weight. NaN in
    a prediction elsewhere gives NaN (`fdsr.metrics.missing` finds the place).

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

    Subclasses implement `_accumulate`, which sees one time and a block of rows, and `_reduce_stream` where the members
    need not be held together.
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

    def update(self, prediction: Tensor | Iterable[Tensor], truth: Tensor) -> None:
        """Add times. Shapes (B, M, C, H, W) and (B, C, H, W), physical units; B may be anything, also 0.

        The prediction may also be an iterable of members (B, C, H, W), which are then held one at a time.

        Raises:
            FdsrError: shapes do not match, or the metric needs all members together and got an iterable.
        """
        if not isinstance(prediction, Tensor):
            self._reduce_stream(prediction, truth)
            return
        self._check(prediction, truth)
        self._check_grid(truth)
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y, w in self._blocks(prediction, truth):
                self.area = self.area + area_of(w, y)
                self._accumulate(p, y, w)

    def _reduce_stream(self, members: Iterable[Tensor], truth: Tensor) -> None:
        """Add times whose members come one by one."""
        raise FdsrError(f"{type(self).__name__} compares the members with each other: give them as one tensor")

    def _accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        """Add one block without NaN in truth: members (M, C, h, W), truth (C, h, W), weights (h, 1), (h, W) or (C, h, W)."""
        raise NotImplementedError

    def _check_grid(self, field: Tensor) -> None:
        height, width = self.weights.shape
        if field.shape[-2] != height or width not in (1, field.shape[-1]):
            raise FdsrError(f"fields of {tuple(field.shape[-2:])} cells, but weights of {(height, width)}")

    def _blocks(self, prediction: Tensor, truth: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One time and a few rows at a time, in float64; masked cells are 0 in both and have weight 0."""
        dtype = working_dtype(prediction.device)
        n_times, members, variables, height, width = prediction.shape
        rows = max(1, BLOCK_ELEMENTS // max(1, members * variables * width))
        for b in range(n_times):
            for start in range(0, height, rows):
                block = slice(start, start + rows)
                yield masked(prediction[b, :, :, block].to(dtype), truth[b, :, block].to(dtype), self.weights[block])


def masked(p: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Members (M, C, h, W), truth (C, h, W) and weights, with the cells whose truth is NaN set to 0 in all three."""
    valid = ~y.isnan()
    if bool(valid.all()):
        return p, y, w
    return torch.where(valid, p, 0.0), torch.where(valid, y, 0.0), w * valid


def area_of(w: Tensor, y: Tensor) -> Tensor:
    """Area of the cells of y (C, h, W) under weights (h, 1), (h, W) or (C, h, W); a number or (C,)."""
    if w.ndim == 2:
        return w.sum() * (y.shape[-1] / w.shape[-1])
    return w.sum((-2, -1))


def weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Σ over cells of w · values: values (..., h, W), weights (h, 1), (h, W) or (..., h, W); gives (...)."""
    if weights.shape[-1] == 1:
        return (values.sum(-1) * weights[..., 0]).sum(-1)
    return (values * weights).sum((-2, -1))


def member_blocks(prediction: Tensor | Iterable[Tensor], truth: Tensor) -> Iterator[Tensor]:
    """The members as blocks (B, m, C, H, W): a tensor is one block, an iterable gives one member (B, C, H, W) a block.

    Raises FdsrError when a member of an iterable does not have the shape of the truth.
    """
    if isinstance(prediction, Tensor):
        yield prediction
        return
    for member in prediction:
        if member.shape != truth.shape:
            raise FdsrError(f"member {tuple(member.shape)} and truth {tuple(truth.shape)} do not match")
        yield member[:, None]


def sum_of_members(block: Tensor) -> Tensor:
    """Σ over the members of (B, m, C, H, W) in float64: (B, C, H, W). Several times as fast as a converting `sum`."""
    total = torch.zeros(block[:, 0].shape, dtype=working_dtype(block.device), device=block.device)
    for m in range(block.shape[1]):
        total += block[:, m]
    return total


def mean_of_members(members: Tensor | Iterable[Tensor], truth: Tensor) -> Tensor:
    """Mean (B, 1, C, H, W) in float64 of members (B, M, C, H, W), or (B, C, H, W) one by one. FdsrError when none comes."""
    total, count = torch.zeros(truth.shape, dtype=working_dtype(truth.device), device=truth.device), 0
    for block in member_blocks(members, truth):
        total += sum_of_members(block)
        count += block.shape[1]
    if count == 0:
        raise FdsrError("the prediction has no members")
    return (total / count)[:, None]
