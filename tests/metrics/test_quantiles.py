import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.metrics import QuantileErrors
from fdsr.metrics.histogram import BINS, dyadic_grid, histogram_quantile, merge_histograms
from fdsr.metrics.quantiles import LEVELS, quantile_name

from .fields import sample, weights


def weighted_quantile(values: np.ndarray, weight: np.ndarray, level: float) -> float:
    """The smallest value whose cumulated weight reaches the level."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(cumulative, level * cumulative[-1])])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("level", [0.0, 280.0, -1e5])
def test_against_sorting(scale: float, level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    y = (torch.randn(6, 2, 24, 36, generator=generator, dtype=torch.float64) + level) * scale
    p = (1.3 * torch.randn(6, 5, 2, 24, 36, generator=generator, dtype=torch.float64) + 0.2 + level) * scale
    metric = QuantileErrors(weights(), 2)
    metric.update(p, y)
    found = metric.compute()
    w = np.broadcast_to(weights().numpy()[:, None], (24, 36))
    for q, c in itertools.product(LEVELS, range(2)):
        exact = [
            weighted_quantile(x.numpy().ravel(), np.broadcast_to(w, x.shape).ravel(), q) for x in (p[:, :, c], y[:, c])
        ]
        # two bins of 1/16384 of the range, about 9 standard deviations
        assert found[quantile_name(q)][c].item() == pytest.approx(exact[0] - exact[1], abs=2 * 11 * scale / 16384)


def test_closed_forms() -> None:
    # members are the truth, shifted or scaled
    _, y = sample(times=4)
    shifted, scaled = QuantileErrors(weights(), 2), QuantileErrors(weights(), 2)
    shifted.update(y.double()[:, None] + 2.0, y.double())
    scaled.update(y.double()[:, None] * 1.5, y.double())
    for q in LEVELS:
        assert shifted.compute()[quantile_name(q)].numpy() == pytest.approx(2.0, abs=1e-3)
        quantile = histogram_quantile(scaled.true, q)
        np.testing.assert_allclose(scaled.compute()[quantile_name(q)], 0.5 * quantile, atol=1e-3)
    assert [quantile_name(q) for q in LEVELS] == ["q0_1_error", "q1_error", "q99_error", "q99_9_error"]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 8), max_size=4),
    scales=st.lists(st.sampled_from([1e-3, 1.0, 1.0, 1e5]), min_size=8, max_size=8),
)
def test_any_split_gives_the_same_histogram(seed: int, cuts: list[int], scales: list[float]) -> None:
    # ranges that differ a hundred million times between the parts
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(8, 1, 24, 36, generator=generator) * torch.tensor(scales)[:, None, None, None]
    whole = QuantileErrors(weights())
    whole.update(y[:, None], y)
    parts = []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 8]):
        part = QuantileErrors(weights())
        part.update(y[start:stop, None], y[start:stop])
        parts.append(part.true)
    merged = merge_histograms(torch.stack(parts))
    torch.testing.assert_close(merged[..., :2], whole.true[..., :2], rtol=0, atol=0)
    torch.testing.assert_close(merged, whole.true, rtol=1e-12, atol=1e-12)


@settings(max_examples=200)
@given(
    low=st.floats(-1e12, 1e12), span=st.floats(0, 1e12) | st.floats(0, 1e-9), negligible=st.sampled_from([1.0, 1e-12])
)
def test_the_grid_is_the_finest_that_holds_the_range(low: float, span: float, negligible: float) -> None:
    low *= negligible
    bounds = torch.tensor([low, low + span], dtype=torch.float64)
    exponent, first = dyadic_grid(bounds[0], bounds[1])

    def bins(e: torch.Tensor) -> float:
        return float(torch.floor(bounds[1] * 2.0**-e) - torch.floor(bounds[0] * 2.0**-e))

    assert 0 <= bins(exponent) < BINS
    assert float(first) == float(torch.floor(bounds[0] * 2.0**-exponent))
    resolution = 2.0 ** float(exponent)
    # 2⁻⁵⁰ of the value, or a finer grid would not hold the range
    assert resolution <= 2.0**-50 * float(bounds.abs().max()) or bins(exponent - 1) >= BINS or float(exponent) == -900


def test_the_order_of_members_does_not_matter() -> None:
    p, y = sample()
    whole, turned = QuantileErrors(weights(), 2), QuantileErrors(weights(), 2)
    whole.update(p, y)
    turned.update(p.flip(1), y)
    torch.testing.assert_close(whole.predicted, turned.predicted, rtol=1e-12, atol=1e-12)


def test_masked_constant_empty_and_broken_fields() -> None:
    p, y = sample(variables=1)
    masked = y.clone()
    masked[..., :18] = torch.nan
    p[..., :18] = 1e30  # whatever stands under the mask
    half, cut = QuantileErrors(weights()), QuantileErrors(weights())
    half.update(p, masked)
    cut.update(p[..., 18:], y[..., 18:])
    for name, value in half.compute().items():
        assert value.item() == pytest.approx(cut.compute()[name].item(), abs=1e-9)
    constant = QuantileErrors(weights())
    constant.update(torch.full((1, 3, 1, 24, 36), 281.5), torch.full((1, 1, 24, 36), 280.0))
    assert all(v.item() == pytest.approx(1.5, rel=1e-12) for v in constant.compute().values())
    dry = QuantileErrors(weights())
    dry.update(torch.zeros(1, 3, 1, 24, 36), torch.zeros(1, 1, 24, 36))
    assert all(abs(v.item()) < 1e-200 for v in dry.compute().values())
    hidden = QuantileErrors(weights())
    hidden.update(p, torch.full_like(y, torch.nan))
    assert all(v.isnan() for v in hidden.compute().values())
    broken = QuantileErrors(weights())
    p[0, 0, 0, 0, 30] = torch.nan
    broken.update(p, y)
    broken.update(p[1:], y[1:])
    assert all(v.isnan() for v in broken.compute().values())
