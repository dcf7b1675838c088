"""How often an event happens where so many members have it: what a reliability diagram shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.field_metric import FieldMetric
from fdsr.metrics.score_metric import Task, Variable


class Reliability(FieldMetric):
    """Of the event x ≥ threshold: for each number 0 … M of members in which it happens the area-weighted share of such cells, and how
    often it happens in the truth there. A calibrated ensemble has the event in k/M of the cells that k members foretell.

    Args:
        weights: area of the cells.
        members: M.
        thresholds: of each variable, in its unit; none where it has no events.
    """

    name = "reliability"

    def __init__(self, weights: Tensor, members: int, thresholds: Sequence[Sequence[float]], **kwargs: Any) -> None:
        super().__init__(weights, len(thresholds), **kwargs)
        self.members, self.thresholds = members, tuple(tuple(map(float, own)) for own in thresholds)
        for name in ("cells", "events"):
            self.add_sum(name, len(thresholds), max(map(len, self.thresholds)), members + 1)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None of a single member, and where no variable has thresholds."""
        thresholds = [task.thresholds.get(name, ()) for name in task.names]
        if task.members is None or task.members < 2 or not any(len(own) for own in thresholds):
            return None
        return cls(task.weights, task.members, thresholds)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times: (B, M, C, H, W) and (B, C, H, W), M as given at construction."""
        self._check(prediction, truth)
        if prediction.shape[1] != self.members:
            raise FdsrError(f"Reliability was built for {self.members} members, got {prediction.shape[1]}")
        weights = self.weights.expand(truth.shape[-2:])
        cells, events = torch.zeros_like(self.cells), torch.zeros_like(self.events)
        for c, thresholds in enumerate(self.thresholds):
            w = (weights * ~truth[:, c].isnan()).flatten()
            for t, threshold in enumerate(thresholds):
                votes = sum((member[:, c] >= threshold).long() for member in prediction.unbind(1))
                assert isinstance(votes, Tensor)
                cells[c, t].index_add_(0, votes.flatten(), w)
                events[c, t].index_add_(0, votes.flatten(), w * (truth[:, c] >= threshold).flatten())
        self.add(cells=cells, events=events)

    def compute(self) -> dict[str, Tensor]:
        """reliability and reliability_cells (C, T, M + 1); the first NaN where no cell has so many."""
        return {
            "reliability": self.events / self.cells,
            "reliability_cells": self.cells / self.cells.sum(-1, keepdim=True),
        }

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(self.cells.shape)

    def arrays(self) -> dict[str, Variable]:
        said = {
            "reliability": "frequency of the event where so many members have it",
            "reliability_cells": "share of the cells where so many members have the event",
        }
        values, dims = self.values(), ("variable", "event", "votes")
        return {name: (dims, values[name], {"long_name": text, "units": "1"}) for name, text in said.items()}
