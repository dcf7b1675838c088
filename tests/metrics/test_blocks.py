"""Sums by block: together they are the whole's; drawn again they spread as scores of other test sets do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, Task
from fdsr.metrics.blocks import KEPT, BlockSums, drawn_again

TASK = Task(
    Grid(50 - 0.5 * np.arange(24), 0.5 * np.arange(40)), ["rain", "t2m"], thresholds={"rain": [0.5]}, scales=[56.0]
)
RNG = torch.Generator().manual_seed(0)
PREDICTION, TRUTH = torch.randn(6, 4, 2, 24, 40, generator=RNG), torch.randn(6, 2, 24, 40, generator=RNG)


@pytest.fixture(scope="module")
def blocks() -> BlockSums:
    found = BlockSums(TASK, 12)
    found.update(PREDICTION[:2], TRUTH[:2], [0, 3600])
    found.update(PREDICTION[2:], TRUTH[2:], [7200, 10800, 14400, 18000])
    return found


def test_blocks_add_up_to_the_whole(blocks: BlockSums) -> None:
    ds = blocks.dataset()
    assert ds.sizes["block"] == 6 * 2 * 3 and blocks.columns == [(0, 13), (13, 27), (27, 40)]
    whole = FieldMetrics(TASK, [name for name in KEPT if name != "events"])
    whole.update(PREDICTION, TRUTH)
    scores, _ = drawn_again(ds, ds.time.values, 2)
    for score, named in whole.compute().items():
        for variable, value in named.items():
            assert scores[score][variable] == pytest.approx(value, rel=1e-9), score
    event = (TRUTH[:, 0] >= 0.5).double().mean(-1) @ TASK.weights / TASK.weights.sum()
    assert scores["wet_fraction_truth_0.5"]["rain"] == pytest.approx(float(event.mean()))


def test_groups_are_drawn_whole(blocks: BlockSums) -> None:
    """Each draw is the score of some of the times, and the spread that of a mean of as many."""
    ds = blocks.dataset()
    _, drawn = drawn_again(ds, ds.time.values, 400, seed=1)
    by_time = []
    for t in range(6):
        metrics = FieldMetrics(TASK, ["mae"])
        metrics.update(PREDICTION[t : t + 1], TRUTH[t : t + 1])
        by_time.append(metrics.compute()["mae"]["t2m"])
    mae = drawn["mae"]["t2m"]
    assert min(by_time) <= mae.min() and mae.max() <= max(by_time)
    assert mae.std() == pytest.approx(np.std(by_time) / np.sqrt(6), rel=0.1)
    assert np.array_equal(mae, drawn_again(ds, ds.time.values, 400, seed=1)[1]["mae"]["t2m"])
    _, one = drawn_again(ds, np.zeros(36), 3)
    assert np.ptp(one["mae"]["t2m"]) == 0  # a single group has no spread


def test_a_tile_is_a_field_of_its_own(blocks: BlockSums) -> None:
    metrics = FieldMetrics(
        Task(TASK.grid.part(slice(12, 24), slice(13, 27)), TASK.names, thresholds=TASK.thresholds, scales=TASK.scales),
        KEPT,
    )
    metrics.update(PREDICTION[3:4, ..., 12:24, 13:27], TRUTH[3:4, :, 12:24, 13:27])
    (place,) = [b for b in blocks.found if (b["time"], b["row"], b["column"]) == (10800, 1, 1)]
    np.testing.assert_allclose(place["events.difference"], metrics["events"].difference)
    np.testing.assert_allclose(place["crps.total"], metrics["crps"].total)


def test_columns_that_are_not_evenly_spaced() -> None:
    """Tiles of as many columns weigh their cells each by its own, but for the width of the outermost, which only neighbours tell."""
    task = Task(Grid(50 - 0.5 * np.arange(24), np.cumsum(np.geomspace(0.2, 2.0, 24))), ["t2m"])
    found = BlockSums(task, 12, ["rmse", "crps"])
    p, y = PREDICTION[..., 1:, :, :24], TRUTH[:, 1:, :, :24]
    found.update(p, y, list(range(6)))
    scores, _ = drawn_again(found.dataset(), found.dataset().time.values, 2)
    whole = FieldMetrics(task, ["rmse", "crps"])
    whole.update(p, y)
    for score, named in whole.compute().items():
        if "biased" not in score:
            assert scores[score]["t2m"] == pytest.approx(named["t2m"], rel=1e-3), score
