"""Energy score of patches, largest values and correlations, against their definitions written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdsr.metrics import CRPS, CorrelationErrors, EnergyScore, FieldMaximum, FieldMetrics, Task
from fdsr.metrics.energy import JointEnergyScore
from fdsr.metrics.persistence import LagCorrelationError
from fdsr.metrics.registry import DEFAULT

from .fields import grid, sample, weights


def energy_score(p: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """Of one variable and time: members (M, H, W), truth (H, W), areas (H, W), NaN in the truth where it is masked."""
    total = area = 0.0
    for top in range(0, y.shape[0] - 7, 8):
        for left in range(0, y.shape[1] - 7, 8):
            place = np.s_[top : top + 8, left : left + 8]
            seen = ~np.isnan(y[place])
            if not seen.any():
                continue
            share = w[place][seen] / w[place][seen].sum()
            x, truth = p[(slice(None), *place)][:, seen], y[place][seen]
            error = np.mean([np.sqrt(((m - truth) ** 2 * share).sum()) for m in x])
            pairs = [np.sqrt(((a - b) ** 2 * share).sum()) for a in x for b in x]
            spread = sum(pairs) / (2 * len(x) * (len(x) - 1)) if len(x) > 1 else 0.0
            total, area = total + (error - spread) * w[place][seen].sum(), area + w[place][seen].sum()
    return total / area


@pytest.mark.parametrize("members", [1, 4])
def test_energy_score_is_its_definition(members: int) -> None:
    prediction, truth = sample(times=2, members=members, height=20, width=36)
    truth[0, 1, :8, :8] = torch.nan  # a whole patch
    truth[1, 1, 9:12, 3:30] = torch.nan
    metric = EnergyScore(weights(20), 2)
    for b in range(2):
        metric.update(prediction[b : b + 1], truth[b : b + 1])
    w = np.broadcast_to(weights(20).numpy()[:, None], (20, 36))
    areas = [[w[:16, :32][~truth[b, c, :16, :32].isnan().numpy()].sum() for b in range(2)] for c in range(2)]
    expected = [
        np.average([energy_score(prediction[b, :, c].double().numpy(), truth[b, c].double().numpy(), w) for b in range(2)],
                   weights=areas[c])
        for c in range(2)
    ]  # fmt: skip
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-9)


def test_energy_score_asks_for_the_dependence_between_cells() -> None:
    """Members whose cells are shuffled over the members have the same CRPS, and lose where the truth is of one piece."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(64, 1, 1, 1, generator=rng).expand(-1, -1, 8, 8)
    members = torch.randn(64, 8, 1, 1, 1, generator=rng).expand(-1, -1, -1, 8, 8)
    order = torch.rand(64, 8, 1, 8, 8, generator=rng).argsort(1)
    shuffled = members.gather(1, order)
    scores = {}
    for name, ensemble in (("whole", members), ("shuffled", shuffled)):
        found = [EnergyScore(torch.ones(8)), CRPS(torch.ones(8))]
        for metric in found:
            metric.update(ensemble, truth)
        scores[name] = [float(found[0].compute()), float(found[1].compute()["crps"])]
    assert scores["whole"][1] == pytest.approx(scores["shuffled"][1], rel=1e-12)
    # of one piece the score is the CRPS itself
    assert scores["whole"][0] == pytest.approx(scores["whole"][1], rel=1e-12)
    assert scores["shuffled"][0] > 1.05 * scores["whole"][0]


def test_largest_values() -> None:
    prediction, truth = sample(times=3)
    truth[1, 0] = torch.nan  # a time without a truth
    truth[2, 0, 5] = torch.nan
    prediction[2, :, 0, 5] = 1e6  # where it is not looked at
    metric = FieldMaximum(weights(), 2)
    metric.update(prediction[:2], truth[:2])
    metric.update(prediction[2:], truth[2:])
    p, y = prediction.double().numpy(), truth.double().numpy()
    seen = np.where(np.isnan(y)[:, None], np.nan, p)
    errors = [
        [np.nanmax(seen[b, :, c], (1, 2)).mean() - np.nanmax(y[b, c]) for b in ((0, 2) if c == 0 else range(3))]
        for c in (0, 1)
    ]
    np.testing.assert_allclose(metric.compute().numpy(), [np.mean(e) for e in errors], rtol=1e-9)


def test_correlations() -> None:
    prediction, truth = sample(times=2, variables=3)
    truth[:, 1] += 2.0 * truth[:, 0]
    prediction[:, :, 2] -= prediction[:, :, 1]
    truth[0, 1, :4] = torch.nan
    metric = CorrelationErrors(weights(), 3)
    for b in range(2):
        metric.update(prediction[b : b + 1], truth[b : b + 1])
    seen = ~truth[:, 1].isnan().numpy()
    w = np.broadcast_to(weights().numpy()[:, None], truth.shape[-2:])
    area = np.broadcast_to(w, seen.shape)[seen]
    true = np.cov(truth.double().numpy().swapaxes(0, 1)[:, seen], aweights=area)
    members = prediction.double().numpy().transpose(2, 1, 0, 3, 4)[:, :, seen].reshape(3, -1)
    drawn = np.cov(members, aweights=np.tile(area, prediction.shape[1]))
    a, b = (c / np.sqrt(np.outer(np.diag(c), np.diag(c))) for c in (drawn, true))
    np.testing.assert_allclose(metric.compute().numpy(), np.sqrt(((a - b) ** 2).sum(1) / 2), rtol=1e-8)
    assert CorrelationErrors.for_task(Task(grid(), ["t2m"])) is None


def test_joint_energy_score_is_its_definition() -> None:
    prediction, truth = sample(times=2, members=3, height=20, width=36)
    truth[1, 1, 9:12, 3:30] = torch.nan
    low = torch.nn.functional.avg_pool2d(truth.nan_to_num(0.0), 4)[:, [1, 0]]
    task = Task(grid(20, 36), ["a", "b"], factor=4, low_names=["b", "a"])
    metrics = FieldMetrics(task, ["joint_energy_score"])
    for b in range(2):
        metrics.update(prediction[b : b + 1], truth[b : b + 1], low[b : b + 1])
    w = np.broadcast_to(task.weights.numpy()[:, None], (20, 36))
    total = area = 0.0
    for b in range(2):
        unit = low[b, [1, 0]].double().std((-2, -1), correction=0).numpy()[:, None, None]
        x, y = prediction[b].double().numpy() / unit, truth[b].double().numpy() / unit
        seen = ~np.isnan(y).any(0)
        for i, j in np.ndindex(2, 4):
            place = np.s_[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            share = np.where(seen, w, 0)[place]
            vectors, true = x[(..., *place)], np.nan_to_num(y[(..., *place)])
            norm = lambda d, share=share: np.sqrt(((d**2).sum(0) * share).sum() / (2 * share.sum()))  # noqa: E731
            error = np.mean([norm(m - true) for m in vectors])
            spread = sum(norm(p - q) for p in vectors for q in vectors) / (2 * 3 * 2)
            total, area = total + (error - spread) * share.sum(), area + share.sum()
    found = metrics.compute()["joint_energy_score"]
    assert found["a"] == found["b"] == pytest.approx(total / area, rel=1e-6)
    assert JointEnergyScore.for_task(Task(grid(), ["t2m"], factor=4)) is None


def test_energy_scores_leave_out_what_they_cannot_score() -> None:
    prediction, truth = sample(times=2, members=3, height=16, width=16)
    low = torch.nn.functional.avg_pool2d(truth, 4)
    low[:, 1] = 3.0  # as where it rains nowhere
    both, first = JointEnergyScore(torch.ones(16), 2), EnergyScore(torch.ones(16), 1)
    both.update(prediction, truth, low)
    unit = low[:, :1].double().std((-2, -1), correction=0, keepdim=True)
    first.update(prediction[:, :, :1] / unit[:, None], truth[:, :1] / unit)
    torch.testing.assert_close(both.compute(), first.compute().expand(2), rtol=1e-6, atol=0)
    small = EnergyScore(torch.ones(6), 2)  # no whole patch
    small.update(torch.randn(1, 4, 2, 6, 20), torch.randn(1, 2, 6, 20))
    assert bool(small.compute().isnan().all())


def test_joint_energy_score_asks_for_the_dependence_between_variables() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(256, 1, 1, 1, generator=rng).expand(-1, 2, 8, 8)
    members = torch.randn(256, 8, 1, 1, 1, generator=rng).expand(-1, -1, 2, 8, 8)
    apart = torch.cat([members[:, :, :1], members.roll(1, 1)[:, :, 1:]], dim=2)
    low = torch.randn(1, 2, 2, 2, generator=rng).expand(256, -1, -1, -1)
    found = []
    for ensemble in (members, apart):
        metric = JointEnergyScore(torch.ones(8), 2)
        metric.update(ensemble, truth, low)
        found.append(float(metric.compute()[0]))
    assert found[1] > 1.02 * found[0]


def test_correlation_from_one_time_to_the_next() -> None:
    rng = np.random.default_rng(0)
    steps = [0, 1, 2, 3, 6, 7, 8, 12]  # three pieces that follow each other
    series = np.zeros((8, 4, 2, 6, 9))
    for t in range(8):
        series[t] = 0.6 * series[t - 1] + rng.normal(size=series.shape[1:]) if t else rng.normal(size=series.shape[1:])
    series[2, 0, 1, 3, 4] = np.nan
    truth, members = series[:, 0], series[:, 1:]

    def autocorrelation(x: np.ndarray, w: np.ndarray) -> float:
        a = x - x.mean(0)
        pairs = [(i, i + 1) for i in range(7) if steps[i + 1] - steps[i] == 1]
        now, then = (np.stack([a[p[k]] for p in pairs]) for k in (0, 1))
        return float((now * then * w).sum() / np.sqrt((now**2 * w).sum() * (then**2 * w).sum()))

    area = np.broadcast_to(weights(6).numpy()[:, None], (6, 9))
    expected = []
    for c in range(2):
        w = np.where(np.isnan(truth[:, c]).any(0), 0, area)
        r = [autocorrelation(np.nan_to_num(members[:, m, c]), w) for m in range(3)]
        expected.append(np.mean(r) - autocorrelation(np.nan_to_num(truth[:, c]), w))
    metric = LagCorrelationError(weights(6), (6, 9), 2)
    for i in (5, 2, 7, 0, 1, 4, 3, 6):  # in any order
        metric.update(torch.from_numpy(members[[i]]), torch.from_numpy(truth[[i]]), torch.tensor([3600.0 * steps[i]]))
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-9)
    metric.reset()
    metric.update(torch.from_numpy(members[:2]), torch.from_numpy(truth[:2]), torch.tensor([0.0, 1.0]))
    assert metric.compute().isnan().all()  # one pair is none


def test_the_share_of_hot_points_is_that_of_an_event() -> None:
    prediction, truth = sample(times=2)
    task = Task(grid(), ["a", "t2m"], thresholds={"t2m": [0.7]})
    metrics = FieldMetrics(task, ["events"])
    metrics.update(prediction, truth)
    w = np.broadcast_to(task.weights.numpy()[:, None], truth.shape[-2:])
    hot = [
        np.average((x.numpy() >= 0.7).mean(tuple(range(x.ndim - 2))), weights=w)
        for x in (prediction[:, :, 1], truth[:, 1])
    ]
    found = metrics.compute()
    assert [found["wet_fraction_0.7"]["t2m"], found["wet_fraction_truth_0.7"]["t2m"]] == pytest.approx(hot, rel=1e-9)


def test_they_are_asked_for_by_name() -> None:
    names = ["energy_score", "field_max_error", "correlation_error"]
    assert not set(names) & set(DEFAULT)
    metrics = FieldMetrics(Task(grid(), ["a", "b"]), names)
    metrics.update(*sample())
    assert set(metrics.compute()) == set(names)
    assert all(np.isfinite(value) for by in metrics.compute().values() for value in by.values())
