"""Energy score of patches, largest values and correlations, against their definitions written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdsr.metrics import CRPS, CorrelationErrors, EnergyScore, FieldMaximum, FieldMetrics, Task
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


def test_they_are_asked_for_by_name() -> None:
    names = ["energy_score", "field_max_error", "correlation_error"]
    assert not set(names) & set(DEFAULT)
    metrics = FieldMetrics(Task(grid(), ["a", "b"]), names)
    metrics.update(*sample())
    assert set(metrics.compute()) == set(names)
    assert all(np.isfinite(value) for by in metrics.compute().values() for value in by.values())
