"""The Fréchet distance against closed forms and scipy; merging over processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import side_by_side
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.frechet import frechet_distance, trace_sqrt_product
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics

from .merging import merged, process, sample, statistics


def by_scipy(x: Tensor, y: Tensor) -> float:
    """The definition, with scipy's matrix square root."""
    (m, c), (n, d) = ((z.numpy().mean(0), np.cov(z.numpy(), rowvar=False)) for z in (x, y))
    return float(((m - n) ** 2).sum() + np.trace(c + d) - 2 * np.trace(scipy.linalg.sqrtm(c @ d)).real)


def test_moments_are_numpys() -> None:
    x = sample(300, 7, 0)
    found = statistics(x)
    assert int(found.n) == 300
    np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-11, atol=1e-12)


@given(cuts=st.lists(st.integers(0, 60), max_size=5), centre=st.floats(-10, 10))
def test_moments_do_not_depend_on_batches_or_centre(cuts: list[int], centre: float) -> None:
    x = sample(60, 5, 1)
    moments = FeatureMoments(5, torch.full((5,), centre, dtype=torch.float64))
    for part in torch.tensor_split(x, sorted(cuts)):
        moments.update(part)
    for a, b in zip(moments.compute(), statistics(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_centre_keeps_digits_that_a_large_mean_would_cost() -> None:
    x = sample(400, 4, 2) + 1e7
    moments = FeatureMoments(4, x.mean(0))
    moments.update(x)
    np.testing.assert_allclose(moments.compute().covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-7)


def test_one_dimension_is_the_closed_form() -> None:
    def gaussian(mean: float, std: float) -> GaussianStatistics:
        return GaussianStatistics(*(torch.tensor(v, dtype=torch.float64) for v in (9.0, [mean], [[std**2]])))

    assert float(frechet_distance(gaussian(1, 2), gaussian(4, 5))) == pytest.approx((1 - 4) ** 2 + (2 - 5) ** 2)


@pytest.mark.parametrize("dimension", [2, 16, 64])
def test_distance_is_scipys(dimension: int) -> None:
    x, y = sample(500, dimension, 3), sample(400, dimension, 4, scale=1.3) + 0.1
    found = float(frechet_distance(statistics(x), statistics(y)))
    assert found == pytest.approx(by_scipy(x, y), rel=1e-6)
    assert float(frechet_distance(statistics(y), statistics(x))) == pytest.approx(found, rel=1e-10)


def test_trace_term_is_scipys() -> None:
    x, y = sample(300, 100, 5), sample(500, 100, 6)
    product = np.cov(x.numpy(), rowvar=False) @ np.cov(y.numpy(), rowvar=False)
    expected = np.trace(scipy.linalg.sqrtm(product)).real
    assert float(trace_sqrt_product(statistics(x), statistics(y))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(10, 500), (500, 10), (10, 12)])
def test_fewer_samples_than_dimensions(n: int, m: int) -> None:
    x, y = sample(n, 32, 7), sample(m, 32, 8)
    # the nuclear norm of the cross-product of the centred samples: another road to the same trace
    a, b = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    expected = torch.linalg.svdvals(a @ b.T).sum()
    torch.testing.assert_close(trace_sqrt_product(statistics(x), statistics(y)), expected, rtol=1e-6, atol=1e-6)


def test_a_dead_feature() -> None:
    x, y = sample(200, 6, 9), sample(300, 6, 10)
    x[:, 2] = y[:, 2] = 0
    alive = [0, 1, 3, 4, 5]
    torch.testing.assert_close(
        frechet_distance(statistics(x), statistics(y)),
        frechet_distance(statistics(x[:, alive]), statistics(y[:, alive])),
    )


@given(seed=st.integers(0, 2**32), shift=st.floats(-5, 5))
def test_invariants(seed: int, shift: float) -> None:
    x, y = sample(40, 4, seed), sample(50, 4, seed + 1)
    d = float(frechet_distance(statistics(x), statistics(y)))
    assert d > -1e-9
    assert abs(float(frechet_distance(statistics(x), statistics(x)))) < 1e-7
    # a shift of one sample alone adds its square
    s = x - x.mean(0)
    moved = float(frechet_distance(statistics(s + shift), statistics(s)))
    assert moved == pytest.approx(4 * shift**2, abs=1e-6)
    rotation = torch.linalg.qr(sample(4, 4, seed + 2))[0]
    assert float(frechet_distance(statistics(x @ rotation), statistics(y @ rotation))) == pytest.approx(d, abs=1e-6)


def test_features_that_are_not_finite_or_do_not_fit_are_refused() -> None:
    x = sample(20, 3, 0)
    with pytest.raises(FdsrError, match="3 dimensions against 4"):
        frechet_distance(statistics(x), statistics(sample(20, 4, 0)))
    with pytest.raises(FdsrError, match="not finite"):
        frechet_distance(statistics(x), statistics(x * float("nan")))
    with pytest.raises(FdsrError, match="two samples"):
        statistics(x[:1])
    with pytest.raises(FdsrError, match=r"\(B, 5\)"):
        FeatureMoments(5).update(x)


@pytest.mark.slow
def test_processes_agree(tmp_path: Path) -> None:
    values = [merged(0, 1)]
    for world in (2, 3):
        side_by_side(process, str(tmp_path), world=world)
        values += [torch.load(tmp_path / f"{world}-{rank}.pt") for rank in range(world)]
    assert len(values) == 6
    for frechet, kid in values:
        torch.testing.assert_close(frechet, values[0][0], rtol=1e-9, atol=0)
        torch.testing.assert_close(kid, values[0][1], rtol=1e-9, atol=0)
    assert float(values[0][0]) == pytest.approx(by_scipy(sample(301, 12, 0), sample(500, 12, 1)), rel=1e-6)
