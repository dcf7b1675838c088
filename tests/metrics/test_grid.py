import numpy as np
import pytest
import torch

from fdsr.errors import FdsrError
from fdsr.geometry import latitude_weights
from fdsr.metrics import FieldMetrics
from fdsr.metrics.grid import Grid

DEGREE_KM = 6371.0 * np.pi / 180


def test_cells_that_are_not_square() -> None:
    grid = Grid(np.arange(16) * 3.0, np.arange(24) * 2.0, projected=True)
    assert grid.dy == 3.0 and grid.dx.tolist() == [2.0] * 16
    (band,) = grid.bands()
    assert band.spacing == (3.0, 2.0)
    latlon = Grid(np.linspace(60, 50, 21), np.arange(40) * 0.25)
    assert latlon.dy == pytest.approx(0.5 * DEGREE_KM)
    np.testing.assert_allclose(latlon.dx, 0.25 * DEGREE_KM * np.cos(np.deg2rad(latlon.rows)))
    np.testing.assert_allclose(latlon.weights(), latitude_weights(latlon.rows))


def test_uneven_columns_weigh_what_they_cover() -> None:
    # cells of 1 and 2 km: halfway to the neighbours
    grid = Grid(np.arange(3.0), np.array([0.0, 1.0, 2.0, 4.0, 6.0]), projected=True)
    np.testing.assert_allclose(grid.weights(), np.ones((3, 1)) * [1.0, 1.0, 1.5, 2.0, 2.0])
    assert grid.bands() == []
    metrics = FieldMetrics(np.arange(3.0), grid.columns, ["a"], projected=True)
    p = torch.zeros(1, 1, 1, 3, 5)
    p[..., 4] = 7.5
    metrics.update(p, torch.zeros(1, 1, 3, 5))
    assert metrics.compute()["bias"]["a"] == pytest.approx(2.0)
    assert np.isnan(metrics.compute()["lsd"]["a"])


def test_gaussian_latitudes_have_spectra() -> None:
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(64)[0]))
    grid = Grid(lat, 2.8125 * np.arange(128))
    assert grid.bands() and grid.zonal_bands() and grid.periodic


def test_longitudes_across_the_date_line() -> None:
    grid = Grid(np.arange(10.0), (350.0 + np.arange(20.0)) % 360.0)
    np.testing.assert_allclose(np.diff(grid.columns), 1.0)
    assert not grid.periodic and grid.weights().ndim == 1


@pytest.mark.parametrize("rows", [[1.0, 3.0, 2.0], [1.0, np.nan, 2.0], [1.0, 1.0], []])
def test_rows_that_are_no_axis(rows: list[float]) -> None:
    with pytest.raises(FdsrError, match="row coordinates"):
        Grid(np.array(rows), np.arange(4.0))


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 1)])
@pytest.mark.parametrize("projected", [False, True])
def test_a_single_row_or_column(shape: tuple[int, int], projected: bool) -> None:
    metrics = FieldMetrics(10.0 + np.arange(shape[0]), np.arange(shape[1]), ["tp"], members=2, projected=projected,
                           thresholds={"tp": [0.5]})  # fmt: skip
    p = torch.ones(2, 2, 1, *shape)
    p[:, 1] = 2.0
    metrics.update(p, torch.zeros(2, 1, *shape))
    scores = {k: v["tp"] for k, v in metrics.compute().items()}
    assert scores["rmse"] == scores["mae"] == scores["bias"] == 1.5
    assert scores["crps"] == pytest.approx(1.0) and scores["crps_biased"] == pytest.approx(1.25)
    assert scores["q99_error"] == pytest.approx(2.0, abs=1e-3) and scores["q1_error"] == pytest.approx(1.0, abs=1e-3)
    assert scores["brier_0.5"] == 1.0
    for name in ("lsd", "lsd_fine", "melr", "effective_resolution", "resolved_scale"):
        assert np.isnan(scores[name])
    assert metrics["spectral"].arrays()["spectrum"][1].shape == (1, 0, 0)
    np.testing.assert_allclose(metrics["rank_histogram"].values()["rank_histogram"], [[1.0, 0.0, 0.0]])
