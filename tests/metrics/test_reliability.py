"""Reliability: counted by numpy; on the diagonal where members and truth are drawn alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdsr.errors import FdsrError
from fdsr.metrics import FieldMetrics, Task
from fdsr.metrics.reliability import Reliability

from .fields import grid, sample


def test_it_is_counted() -> None:
    prediction, truth = sample(times=3, members=4)
    truth[1, 1, :5] = torch.nan
    task = Task(grid(), ["a", "b"], members=4, thresholds={"b": [0.0, 0.8]})
    metrics = FieldMetrics(task, ["reliability"])
    metrics.update(prediction[:1], truth[:1])
    metrics.update(prediction[1:], truth[1:])
    values = metrics["reliability"].values()
    w = np.broadcast_to(task.weights.numpy()[:, None], truth[:, 1].shape) * ~truth[:, 1].isnan().numpy()
    for t, threshold in enumerate([0.0, 0.8]):
        votes = (prediction[:, :, 1].numpy() >= threshold).sum(1)
        happens = truth[:, 1].numpy() >= threshold
        for k in range(5):
            there = w * (votes == k)
            assert values["reliability_cells"][1, t, k] == pytest.approx(there.sum() / w.sum(), rel=1e-9)
            if there.any():
                assert values["reliability"][1, t, k] == pytest.approx((there * happens).sum() / there.sum(), rel=1e-9)
    assert metrics["reliability"].arrays()["reliability"][0] == ("variable", "event", "votes")


def test_members_like_the_truth_are_reliable() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(40, 1, 1, 24, 36, generator=rng)
    drawn = mean + torch.randn(40, 9, 1, 24, 36, generator=rng)
    metric = Reliability(torch.ones(24), 8, [[0.5]])
    metric.update(drawn[:, 1:], drawn[:, 0])
    frequency = metric.compute()["reliability"][0, 0].numpy()
    # regression to the mean: votes of few members are surer than the probability is
    assert (np.diff(frequency) > 0).all() and frequency[0] < 0.2 and frequency[8] > 0.8
    assert frequency[4] == pytest.approx(0.5, abs=0.1)


def test_where_it_says_nothing() -> None:
    assert Reliability.for_task(Task(grid(), ["a"], members=4)) is None
    assert Reliability.for_task(Task(grid(), ["a"], members=1, thresholds={"a": [1]})) is None
    with pytest.raises(FdsrError, match="4 members, got 3"):
        Reliability(torch.ones(24), 4, [[0.5]]).update(torch.zeros(1, 3, 1, 24, 36), torch.zeros(1, 1, 24, 36))
