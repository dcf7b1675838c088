"""The same prediction scored by one, two and three processes that hold uneven shares of it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from processes import side_by_side

from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, Task

ON_DEMAND = "+energy_score,+field_max_error,+correlation_error,+lag1_error"
# times of each process; a process without any has to take part all the same
TIMES = 3600.0 * torch.arange(5)
SHARES = {1: [[0, 1, 2, 3, 4]], 2: [[0, 2, 3, 4], [1]], 3: [[3, 0], [], [4, 1, 2]]}


def build() -> FieldMetrics:
    grid = Grid(np.linspace(78.75, -78.75, 16), 11.25 * np.arange(32))
    return FieldMetrics(Task(grid, ["t2m", "tp"], 4, members=3, thresholds={"tp": [0.5, 1.0]}), ON_DEMAND)


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(5, 3, 2, 16, 32, generator=generator)
    y = torch.randn(5, 2, 16, 32, generator=generator)
    p[:, :, 1], y[:, 1] = p[:, :, 1].clamp(min=0), y[:, 1].clamp(min=0)
    # ranges that differ between the shares, masked cells, ties
    p[3] *= 100.0
    y[1, 0, 2:4, 3:9] = torch.nan
    return p, y, torch.randn(5, 2, 4, 8, generator=generator)


def results(metrics: FieldMetrics) -> dict[str, Any]:
    found: dict[str, Any] = {f"{m}/{v}": value for m, by in metrics.compute().items() for v, value in by.items()}
    for name in ("zonal", "spectral", "rank_histogram"):
        found |= {array: values for array, (_, values, _) in metrics[name].arrays().items()}
    return found


def work(folder: str) -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    metrics = build()
    p, y, low = data()
    for i in SHARES[world][rank]:
        metrics.update(p[i : i + 1], y[i : i + 1], low[i : i + 1], TIMES[i : i + 1])
    found = results(metrics)
    # after the sums were shared each process still holds its own alone, and may go on
    again = results(metrics)
    assert all(np.array_equal(found[key], again[key], equal_nan=True) for key in found)
    torch.save({key: np.asarray(value).tolist() for key, value in found.items()}, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_every_metric_is_the_same(world: int, tmp_path: Path) -> None:
    metrics = build()
    metrics.update(*data(), TIMES)
    expected = results(metrics)
    assert sum(math.isfinite(value) for value in expected.values() if isinstance(value, float)) > 30
    side_by_side(work, str(tmp_path), world=world)
    for rank in range(world):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
