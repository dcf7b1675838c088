import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.grids import Grid
from fdsr.metrics import spectral_bands

from .fields import plane


@settings(deadline=None, max_examples=60)
@given(
    step=st.sampled_from([0.25, 0.5, 1.0, 1.5]),
    height=st.integers(8, 181),
    width=st.integers(8, 240),
    south=st.floats(-90, 60),
    descending=st.booleans(),
)
def test_bands_cover_the_grid_once(step: float, height: int, width: int, south: float, descending: bool) -> None:
    lat = south + step * np.arange(height)
    lat = lat[lat <= 90]
    if lat.size < 8:
        return
    lat = lat[::-1] if descending else lat
    bands = spectral_bands(Grid(lat, step * np.arange(width)))
    seen = np.zeros((lat.size, width), dtype=int)
    index = torch.arange(lat.size * width).reshape(lat.size, width)
    for band in bands:
        boxes = band.cut(index)
        assert boxes.shape == (band.n_boxes, *band.shape)
        np.add.at(seen.reshape(-1), boxes.numpy().ravel(), 1)
        rows = band.shape[0]
        assert rows >= 8
        assert rows * step <= 15.0 + 1e-9 or rows <= 15  # a coarse grid keeps 8 rows a band
        assert abs(band.latitude) <= 75.0
        assert band.spacing[0] == pytest.approx(6371.0 * np.deg2rad(step))
        assert band.spacing[1] == pytest.approx(band.spacing[0] * np.cos(np.deg2rad(band.latitude)), rel=1e-9)
        assert width - band.n_boxes * band.width < band.n_boxes
        if band.n_boxes > 1:  # about square in km
            assert 0.6 < band.width * band.spacing[1] / (rows * band.spacing[0]) < 1.6
    assert seen.max(initial=0) <= 1
    covered = np.array([seen[row].any() for row in range(lat.size)])
    assert covered[np.abs(lat) < 67.0].all()


def test_global_one_degree() -> None:
    bands = spectral_bands(Grid(np.arange(180) - 89.5, np.arange(360.0)))
    # 12 bands of 15°, the two at the poles (82.5°) left out
    assert [b.latitude for b in bands] == pytest.approx(np.arange(-67.5, 70.0, 15.0).tolist())
    assert {b.shape[0] for b in bands} == {15}
    assert [b.n_boxes for b in bands[:5]] == [9, 14, 19, 22, 24]
    assert sum(b.area for b in bands) == pytest.approx(2 * np.sin(np.deg2rad(75.0)))


def test_boxes_do_not_wrap_and_keep_their_columns_together() -> None:
    band = spectral_bands(Grid(np.arange(20) - 10.0, np.arange(50.0)))[0]
    field = torch.arange(50.0).expand(20, 50)
    for i, box in enumerate(band.cut(field)):
        np.testing.assert_array_equal(box[0], np.arange(i * band.width, (i + 1) * band.width))


def test_small_coarse_polar_and_projected_fields() -> None:
    small = spectral_bands(Grid(50 - 0.25 * np.arange(32), 0.25 * np.arange(48)))
    assert [(b.shape, b.n_boxes) for b in small] == [((32, 48), 1)]
    assert spectral_bands(Grid(np.arange(7.0), np.arange(40.0))) == []
    assert spectral_bands(Grid(np.arange(80.0, 90.0, 1.0), np.arange(40.0))) == []
    assert {b.shape[0] for b in spectral_bands(Grid(np.linspace(87, -87, 32), 5.625 * np.arange(64)))} == {8}
    (whole,) = spectral_bands(plane((100, 80), (2.5, 2.5)))
    assert whole.shape == (100, 80)
    assert spectral_bands(plane((1, 80), (2.5, 2.5))) == []
