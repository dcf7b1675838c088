from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chisquare, norm
from scores.probability import crps_for_ensemble

from fdsr.errors import FdsrError
from fdsr.metrics import CRPS, MAE, RMSE, Bias, RankHistogram, SpreadSkill
from fdsr.metrics.ensemble import PAIRWISE_MEMBERS, mean_pair_distance
from fdsr.metrics.field_metric import FieldMetric

from .fields import sample, weights


@pytest.mark.parametrize("members", [2, 5, PAIRWISE_MEMBERS + 7])
@pytest.mark.parametrize(("estimator", "method"), [("crps", "fair"), ("crps_biased", "ecdf")])
def test_crps_against_scores(members: int, estimator: str, method: str) -> None:
    p, y = sample(members=members)
    metric = CRPS(weights(), 2)
    metric.update(p, y)
    dims = ("time", "variable", "lat", "lon")
    expected = crps_for_ensemble(
        xr.DataArray(p.double().numpy(), dims=("time", "member", *dims[1:])),
        xr.DataArray(y.double().numpy(), dims=dims),
        ensemble_member_dim="member",
        method=method,
        preserve_dims=dims,
    ).weighted(xr.DataArray(weights().numpy(), dims="lat"))
    np.testing.assert_allclose(metric.compute()[estimator], expected.mean(("time", "lat", "lon")), rtol=1e-10)


@pytest.mark.parametrize("members", [2, 3, 10])
def test_fair_crps_of_gaussian_ensembles_is_the_crps_of_the_gaussian(members: int) -> None:
    # CRPS(N(0, 1), 0) = 2 φ(0) − 1/√π whatever the number of members; the biased estimator would add 1/(√π M)
    generator = torch.Generator().manual_seed(1)
    p = torch.randn(40, members, 1, 24, 36, generator=generator)
    metric = CRPS(weights())
    metric.update(p, torch.zeros(40, 1, 24, 36))
    expected = 2 / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi)
    assert metric.compute()["crps"].item() == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize(("mean", "width"), [(0.0, 1.0), (1.5, 0.5), (-3.0, 2.0)])
def test_crps_of_gaussian_ensembles_against_its_integral(mean: float, width: float) -> None:
    # ∫ (F(x) − 1{x ≥ y})² dx for y = 0, by quadrature on either side of the step
    members = 8
    below = quad(lambda x: norm.cdf(x, mean, width) ** 2, -30, 0)[0]
    expected = below + quad(lambda x: norm.sf(x, mean, width) ** 2, 0, 30)[0]
    p = mean + width * torch.randn(60, members, 1, 24, 36, generator=torch.Generator().manual_seed(4))
    metric = CRPS(weights())
    metric.update(p, torch.zeros(60, 1, 24, 36))
    found = metric.compute()
    assert found["crps"].item() == pytest.approx(expected, abs=0.01 * width)
    # the empirical distribution is wider by E|x − x′| / (2M) = σ/(√π M)
    excess = found["crps_biased"].item() - expected
    assert excess == pytest.approx(width / (np.sqrt(np.pi) * members), abs=0.01 * width)


def test_crps_of_one_member_is_its_mae() -> None:
    p, y = sample(members=1)
    crps, mae = CRPS(weights(), 2), MAE(weights(), 2)
    for metric in (crps, mae):
        metric.update(p, y)
    for value in crps.compute().values():
        torch.testing.assert_close(value, mae.compute(), rtol=1e-13, atol=0)


@settings(deadline=None, max_examples=40)
@given(
    members=st.integers(2, 2 * PAIRWISE_MEMBERS),
    seed=st.integers(0, 1000),
    level=st.sampled_from([0.0, 1e5, -300.0]),
    ties=st.booleans(),
)
def test_pair_term_is_the_mean_over_all_pairs(members: int, seed: int, level: float, ties: bool) -> None:
    x = torch.randn(members, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + level
    x = x.round() if ties else x
    pairs = (x[:, None] - x[None, :]).abs().sum((0, 1)) / (members * (members - 1))
    torch.testing.assert_close(mean_pair_distance(x), pairs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("members", [2, 8])
def test_spread_skill_of_a_perfect_ensemble_is_one(members: int) -> None:
    # truth and members from one distribution whose centre and width change from place to place
    generator = torch.Generator().manual_seed(2)
    shape = (60, 1, 24, 36)
    centre = 10 * torch.randn(shape, generator=generator)
    width = torch.rand(shape, generator=generator) + 0.2
    draws = torch.randn(members + 1, *shape, generator=generator) * width + centre
    metric = SpreadSkill(weights())
    metric.update(draws[1:].movedim(0, 1), draws[0])
    assert metric.compute().item() == pytest.approx(1.0, abs=0.01)


def test_spread_skill_of_a_narrow_ensemble_and_of_one_member() -> None:
    p, y = sample(times=6, members=8)
    narrow = p.mean(1, keepdim=True) + 0.5 * (p - p.mean(1, keepdim=True))
    full, half, single = (SpreadSkill(weights(), 2) for _ in range(3))
    full.update(p, y)
    half.update(narrow, y)
    single.update(p[:, :1], y)
    torch.testing.assert_close(half.compute(), 0.5 * full.compute(), rtol=1e-5, atol=0)
    assert single.compute().isnan().all()


def test_rank_histogram_of_a_calibrated_ensemble_is_flat() -> None:
    p, y = sample(times=4, members=7, variables=1)
    metric = RankHistogram(torch.ones(24), members=7)
    metric.update(p, y)
    frequency = metric.compute().numpy()[0]
    assert frequency.sum() == pytest.approx(1.0, rel=1e-12)
    assert chisquare(frequency * y.numel()).pvalue > 0.001
    biased = RankHistogram(torch.ones(24), members=7)
    biased.update(p + 0.5, y)
    assert chisquare(biased.compute().numpy()[0] * y.numel()).pvalue < 1e-6


def test_rank_histogram_breaks_ties_evenly_and_reproducibly() -> None:
    # dry everywhere: all members equal the truth
    zero = torch.zeros(4, 7, 1, 24, 36)
    y = zero[:, 0]

    def frequency(seed: int, batches: list[slice]) -> np.ndarray:
        metric = RankHistogram(torch.ones(24), members=7, seed=seed)
        for batch in batches:
            metric.update(zero[batch], y[batch])
        return metric.compute().numpy()[0]

    whole = frequency(0, [slice(None)])
    assert np.abs(whole * 8 - 1).max() < 0.3
    np.testing.assert_array_equal(whole, frequency(0, [slice(0, 1), slice(1, 4)]))
    assert (whole != frequency(1, [slice(None)])).any()


def test_rank_counts_members_below_the_truth() -> None:
    p = torch.arange(4.0)[None, :, None, None, None].expand(1, 4, 1, 24, 36)
    metric = RankHistogram(weights(), members=4)
    metric.update(p, torch.full((1, 1, 24, 36), 1.5))
    np.testing.assert_allclose(metric.compute().numpy()[0], [0, 0, 1, 0, 0], atol=1e-15)
    with pytest.raises(FdsrError, match="built for 4 members"):
        metric.update(p[:, :3], torch.zeros(1, 1, 24, 36))


ESTIMATORS: list[Callable[[torch.Tensor], FieldMetric]] = [
    lambda w: RMSE(w, 2),
    lambda w: MAE(w, 2),
    lambda w: Bias(w, 2),
    lambda w: CRPS(w, 2),
    lambda w: SpreadSkill(w, 2),
    lambda w: RankHistogram(w, 5, 2),
]


@pytest.mark.parametrize("build", ESTIMATORS)
def test_masked_cells_have_no_weight(build: Callable[[torch.Tensor], FieldMetric]) -> None:
    p, y = sample()
    hidden, other = y.clone(), p.clone()
    hidden[..., :10] = torch.nan
    other[..., :10] = torch.nan  # whatever a model says where there is no truth
    masked, cut = build(weights()), build(weights())
    masked.update(other, hidden)
    cut.update(p[..., 10:], y[..., 10:])
    for name, value in masked.values().items():
        np.testing.assert_allclose(value, cut.values()[name], rtol=1e-12, atol=1e-15)
    # one variable at one time only: the other variable keeps all its cells
    one, plain = build(weights()), build(weights())
    hidden = y.clone()
    hidden[1, 0, 3] = torch.nan
    one.update(p, hidden)
    plain.update(p, y)
    for name, value in one.values().items():
        assert (value[0] != plain.values()[name][0]).any()
        np.testing.assert_allclose(value[1], plain.values()[name][1], rtol=1e-13)
    nothing = build(weights())
    nothing.update(p, torch.full_like(y, torch.nan))
    assert all(np.isnan(value).all() for value in nothing.values().values())


@pytest.mark.parametrize("build", ESTIMATORS)
def test_no_members_and_other_shapes_are_refused(build: Callable[[torch.Tensor], FieldMetric]) -> None:
    p, y = sample()
    with pytest.raises(FdsrError, match="the prediction has no members"):
        build(weights()).update(p[:, :0], y)
    with pytest.raises(FdsrError, match="do not match"):
        build(weights()).update(p[:, :, :1], y)


def test_a_missing_prediction_is_not_scored_away() -> None:
    p, y = sample()
    p[0, 0, 0, 0, 0] = torch.nan
    for build in ESTIMATORS[:-1]:
        metric = build(weights())
        metric.update(p, y)
        assert all(np.isnan(value[0]) and np.isfinite(value[1]) for value in metric.values().values())


def test_constant_fields() -> None:
    p, y = torch.full((2, 4, 1, 24, 36), 3.0), torch.full((2, 1, 24, 36), 3.0)
    same, apart = SpreadSkill(weights()), SpreadSkill(weights())
    same.update(p, y)
    apart.update(p, y + 1.0)
    assert same.compute().isnan()  # neither spread nor error: no ratio
    assert apart.compute().item() == 0.0
    crps = CRPS(weights())
    crps.update(p, y + 1.0)
    assert [v.item() for v in crps.compute().values()] == pytest.approx([1.0, 1.0], rel=1e-12)
