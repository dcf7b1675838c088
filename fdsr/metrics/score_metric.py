"""What every metric of fields is: sums that add up, and a declaration of what it gives, for which fields, and of what."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.metrics.sum_metric import SumMetric, working_dtype
from fdsr.scores import Score

# dimensions, values and attributes, as xarray takes them
Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What is to be scored.

    grid: of truth and prediction.
    names: the C variables, in the order of the tensors' channels.
    factor: rows and columns of fine cells in a coarse one (or one number for both); None: there is no coarse input.
    low_names: variables of the low-resolution input, in order, if they are not `names`.
    members: M; None where it is not known beforehand, and then there are no rank histograms.
    seed: of the draws that break ties in ranks.
    thresholds: variable → thresholds in its unit, for the variables that want scores of events (precipitation).
    scales: km, of the fractions skill score; None: 3, 9 and 27 rows.
    """

    grid: Grid
    names: Sequence[str]
    factor: int | tuple[int, int] | None = None
    low_names: Sequence[str] | None = None
    members: int | None = None
    seed: int = 0
    thresholds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    scales: Sequence[float] | None = None

    @property
    def weights(self) -> Tensor:
        """Area of the cells, (H,) or (H, W), in an arbitrary unit."""
        return torch.from_numpy(self.grid.cell_areas)


@dataclass(frozen=True)
class Sample:
    """Times to add: prediction (B, M, C, H, W), truth (B, C, H, W) and coarse input (B, C_low, h, w), physical units.

    time: (B,) seconds since 1970, or positions where times have no dates.
    """

    prediction: Tensor
    truth: Tensor
    low: Tensor | None = None
    time: Tensor | None = None

    @cached_property
    def mean(self) -> Tensor:
        """The ensemble mean (B, 1, C, H, W) in float64."""
        return sum_of_members(self.prediction)[:, None] / self.prediction.shape[1]


class ScoreMetric(SumMetric):
    """A metric that says what it gives.

    A subclass declares `scores`, computes them by `update` and `compute`, and is then known wherever metrics are named: in
    `fdsr test`, `evaluate`, training, tables, pages and W&B. `compute` gives a tensor (C,), or a dictionary of such by the
    scores' names. `for_task`, `take` and `compute` are all that `FieldMetrics` asks of it.

    A cell whose truth is NaN is masked: whatever is predicted there, it has no weight. NaN in a prediction elsewhere gives
    NaN (`fdsr.metrics.missing` finds the place).

    Attributes:
        scores: what it gives, a number a variable each.
        name: what a list of metrics calls it; by default as its first score.
        on_demand: whether it is left out where no metrics are named.
        dims: of a dataset, beside `variable`, where a score is more than a number a variable.
    """

    scores: ClassVar[tuple[Score, ...]] = ()
    name: ClassVar[str]
    on_demand: ClassVar[bool] = False
    dims: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__ and "scores" in cls.__dict__:
            cls.name = cls.scores[0].name

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """The metric of these fields; None where it has no meaning for them."""
        return cls(len(task.names))

    def take(self, sample: Sample) -> None:
        """Add times. Overridden by what wants the ensemble mean or the coarse input."""
        self.update(sample.prediction, sample.truth)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of what `compute` gives under that name; torchmetrics squeezes what has one element."""
        return (self.n_variables,)

    def values(self) -> dict[str, np.ndarray]:
        """`compute` as arrays (C, …), of all processes together; NaN before any update. Every process has to call it."""
        with warnings.catch_warnings():
            # torchmetrics warns of a metric never updated; its NaN says so here
            warnings.simplefilter("ignore", UserWarning)
            found = self.compute()
        named = {self.scores[0].name if self.scores else self.name: found} if isinstance(found, Tensor) else found
        return {name: value.cpu().double().numpy().reshape(self.shape_of(name)) for name, value in named.items()}

    def lines(self, names: Sequence[str]) -> Iterator[tuple[Score, str, str, float]]:
        """The lines of a table: score, its label there, variable of `names`, value. Collective like `values`."""
        values = self.values()
        for score in self.scores:
            for name, value in zip(names, values[score.name].tolist(), strict=True):
                yield score, score.name, name, value

    def arrays(self) -> dict[str, Variable]:
        """The variables of a dataset, the first dimension `variable`; the scores and what else there is. Collective."""
        dims, values = ("variable", *self.dims), self.values()
        return {s.name: (dims[: values[s.name].ndim], values[s.name], s.attributes()) for s in self.scores}

    def coordinates(self) -> dict[str, Variable]:
        """The coordinates of those variables."""
        return {}

    def _check(self, prediction: Tensor, truth: Tensor) -> None:
        """One-line errors for shapes other than (B, M, C, H, W) and (B, C, H, W), M ≥ 1."""
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
        if prediction.shape[1] == 0:
            raise FdsrError("the prediction has no members")


def sum_of_members(block: Tensor) -> Tensor:
    """Σ over the members of (B, M, C, H, W) in float64: (B, C, H, W). Several times as fast as a converting `sum`."""
    total = torch.zeros(block[:, 0].shape, dtype=working_dtype(block.device), device=block.device)
    for m in range(block.shape[1]):
        total += block[:, m]
    return total
