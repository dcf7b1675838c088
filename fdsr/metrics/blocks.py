"""Sums of metrics kept block by block, and what drawing the blocks again says of scores (Efron & Tibshirani 1993, ch. 6).

A test set is one draw of weather. Scores are functions of sums over its fields; with the sums of every block, a tile of one time,
those of any choice of blocks follow, and so does the spread of a score over test sets as large as this one. Blocks that belong
together (a day, a year, a region at several times) are drawn together: else their likeness would count as evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from fdsr.grids import Grid
from fdsr.metrics.precipitation import DEFAULT_WINDOWS
from fdsr.metrics.registry import MetricNames
from fdsr.metrics.score_metric import Task
from fdsr.metrics.suite import FieldMetrics

KEPT = ("rmse", "mae", "crps", "spread_skill", "events")  # those whose sums are small, and of any grid
Span = tuple[int, int]  # first row or column, one past the last


class BlockSums:
    """The sums of some metrics over each tile of each time.

    Args:
        task: grid, variables and thresholds. Tiles are scored as fields of their own: no window reaches over their edges.
        side: rows and columns of a tile, or a few more, so that tiles cover the grid; shorter axes are not cut.
        metrics: which ones.
    """

    def __init__(self, task: Task, side: int, metrics: MetricNames = KEPT) -> None:
        height, width = task.grid.shape
        self.task = replace(task, scales=task.scales or [n * task.grid.dy for n in DEFAULT_WINDOWS])
        self.rows, self.columns = _spans(height, side), _spans(width, side)
        # one for all tiles of the same rows and as many columns, which are alike where columns are evenly spaced
        even = task.weights.ndim == 1
        self.alike = {c: (0, c[1] - c[0]) if even else c for c in self.columns}
        parts = {(rows, alike): _part(task, rows, c) for rows in self.rows for c, alike in self.alike.items()}
        self.metrics = {part: FieldMetrics(of_tile, metrics) for part, of_tile in parts.items()}
        self.found: list[dict[str, Any]] = []

    def update(self, prediction: Tensor, truth: Tensor, time: Sequence[int]) -> None:
        """Add times: (B, M, C, H, W), (B, C, H, W), in seconds since 1970."""
        prediction, truth = prediction.cpu(), truth.cpu()
        for b, seconds in enumerate(time):
            for r, rows in enumerate(self.rows):
                for c, columns in enumerate(self.columns):
                    metrics = self.metrics[rows, self.alike[columns]]
                    tile = (..., slice(*rows), slice(*columns))
                    for metric in metrics:
                        metric.reset()
                    metrics.update(prediction[b : b + 1][tile], truth[b : b + 1][tile])
                    place = {"time": np.float64(seconds), "row": np.float64(r), "column": np.float64(c)}
                    self.found.append(place | {name: value.numpy() for name, value in _sums(metrics)})

    def dataset(self, found: Sequence[dict[str, Any]] | None = None) -> xr.Dataset:
        """All that was added, dimension `block`; or what several processes have `found`."""
        found = self.found if found is None else found
        variables = {}
        for name in found[0]:
            values = np.stack([block[name] for block in found]).astype(np.float64)
            variables[name] = (("block", *(f"{name}.{i}" for i in range(1, values.ndim))), values)
        grid = _part(self.task, self.rows[0], self.columns[0]).grid
        about: dict[str, Any] = {
            "variables": list(self.task.names),
            "metrics": [metric.name for metric in next(iter(self.metrics.values()))],
            "thresholds": {k: list(v) for k, v in self.task.thresholds.items()},
            "scales": self.task.scales,
            "units": grid.units,
        }
        variables |= {"tile_rows": (("tile_row",), grid.rows), "tile_columns": (("tile_column",), grid.columns)}
        return xr.Dataset(variables, attrs={"task": json.dumps(about)})


def drawn_again(
    blocks: xr.Dataset, groups: NDArray, draws: int, seed: int = 0
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, NDArray]]]:
    """(scores of all blocks, of each of `draws` sets of as many groups drawn with replacement): score → variable → value(s).

    groups (n,): what each block belongs to. One seed draws the same groups of equal data: differences of two methods are paired.
    """
    about = json.loads(blocks.attrs["task"])
    grid = Grid(blocks.tile_rows.values, blocks.tile_columns.values, about["units"])
    metrics = FieldMetrics(
        Task(grid, about["variables"], thresholds=about["thresholds"], scales=about["scales"]), about["metrics"]
    )
    names, position = np.unique(groups, return_inverse=True)
    sums = {}
    for name, _ in _sums(metrics):
        sums[name] = np.zeros((names.size, *blocks[name].shape[1:]))
        np.add.at(sums[name], position, blocks[name].values)
    counts = np.random.default_rng(seed).multinomial(names.size, np.full(names.size, 1 / names.size), size=draws)
    whole = _scores(metrics, sums, np.ones(names.size))
    each = [_scores(metrics, sums, weights) for weights in counts]
    return whole, {s: {v: np.array([one[s][v] for one in each]) for v in named} for s, named in whole.items()}


def _scores(metrics: FieldMetrics, sums: dict[str, NDArray], weights: NDArray) -> dict[str, dict[str, float]]:
    for metric in metrics:
        metric.reset()
        metric._update_count = 1  # torchmetrics would warn of sums that came without an update
        for state in metric._defaults:
            total = np.tensordot(weights, sums[f"{metric.name}.{state}"], 1)
            setattr(metric, state, torch.from_numpy(np.asarray(total)))
    return metrics.compute()


def _sums(metrics: FieldMetrics) -> Iterator[tuple[str, Tensor]]:
    for metric in metrics:
        for state in metric._defaults:
            yield f"{metric.name}.{state}", getattr(metric, state)


def _spans(n: int, side: int) -> list[Span]:
    """An axis of n in pieces of `side` or a few more."""
    edges = np.linspace(0, n, max(1, n // side) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _part(task: Task, rows: Span, columns: Span) -> Task:
    return replace(task, grid=task.grid.part(slice(*rows), slice(*columns)), factor=None)
