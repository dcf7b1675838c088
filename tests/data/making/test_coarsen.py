"""Coarsening conserves the mean over the sphere, whatever the grid."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import latitude_weights, make_source, pair_config, write_source

from fdsr.commands.prepare import crop
from fdsr.data.coarsen import coarsen
from fdsr.data.making.pair_grid import pair_grid
from fdsr.data.making.pairing import plan_pairs
from fdsr.errors import FdsrError
from fdsr.grids import Grid

LON = np.arange(8.0)


def grids(blocks: int, factor: int) -> dict[str, np.ndarray]:
    n = blocks * factor
    centred = 90 - 180 / n * (np.arange(n) + 0.5)
    return {
        "cell-centred": centred,
        "ascending": centred[::-1].copy(),
        "pole to pole": np.linspace(90, -90, n + 1),
        "one pole": 90 - 0.5 * np.arange(n),
        "regional": 57.3 - 0.25 * np.arange(n),
    }


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(list(grids(2, 2))), blocks=st.integers(2, 9), factor=st.integers(1, 6), across=st.integers(1, 5),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_mean_over_the_area_is_kept(kind: str, blocks: int, factor: int, across: int, seed: int) -> None:
    latitude = grids(blocks, factor)[kind]
    rows = pair_grid(Grid(latitude, LON), (factor, 1)).fine.shape[0]
    assert rows == blocks * factor + (1 if factor == 1 and kind == "pole to pole" else 0)
    weights = latitude_weights(latitude)[:rows]
    field = (
        np.random.default_rng(seed).normal(size=(2, rows, 3 * across)).astype(np.float32) + latitude[:rows, None] / 10
    )
    low = coarsen(field, weights, (factor, across))
    assert low.shape == (2, rows // factor, 3) and low.dtype == np.float32
    low_weights = weights.reshape(-1, factor).sum(1)
    fine_mean = np.average(field.mean(-1), axis=-1, weights=weights)
    low_mean = np.average(low.astype(np.float64).mean(-1), axis=-1, weights=low_weights)
    np.testing.assert_allclose(low_mean, fine_mean, rtol=0, atol=1e-6)


def test_a_constant_stays_and_a_row_counts_by_its_area() -> None:
    latitude = np.array([75.0, 45.0, 15.0, -15.0, -45.0, -75.0])
    weights = latitude_weights(latitude)
    np.testing.assert_allclose(coarsen(np.full((1, 6, 4), 3.5), weights, (2, 2)), 3.5, rtol=1e-7)
    field = np.zeros((1, 6, 2))
    field[0, 0] = 1.0  # the polar half of the northern block: sin 90° − sin 60° of sin 90° − sin 30°
    expected = (1 - np.sin(np.pi / 3)) / (1 - np.sin(np.pi / 6))
    np.testing.assert_allclose(coarsen(field, weights, (2, 2))[0, :, 0], [expected, 0, 0], atol=1e-7)


def test_the_cell_of_a_pole_is_a_cap() -> None:
    weights = latitude_weights(np.linspace(90, -90, 25))
    assert weights.sum() == pytest.approx(2.0, abs=1e-12)
    assert weights[0] == pytest.approx(1 - np.sin(np.deg2rad(86.25)), abs=1e-12)


def test_pole_rule() -> None:
    for latitude, kept, dropped in (
        (np.linspace(90, -90, 181), 180, 1), (np.linspace(90, -90, 25), 24, 1), (np.linspace(60, 30, 24), 24, 0),
    ):  # fmt: skip
        grid = pair_grid(Grid(latitude, LON), (4, 4))
        assert grid.fine.shape == (kept, 8) and grid.dropped == dropped
        # the cells of what is kept are what they were
        np.testing.assert_allclose(grid.fine.row_areas, latitude_weights(latitude)[:kept], rtol=1e-12)
        np.testing.assert_allclose(grid.low.rows, latitude[:kept].reshape(-1, 4).mean(1))
        np.testing.assert_allclose(grid.low.columns, [1.5, 5.5])


@pytest.mark.parametrize(
    ("latitude", "factor"), [(np.linspace(90, -90, 23), 4), (np.linspace(60, 30, 25), 4), (np.linspace(90, -30, 25), 4)]
)
def test_any_other_remainder_names_crop(latitude: np.ndarray, factor: int) -> None:
    with pytest.raises(FdsrError, match=r"--crop") as caught:
        pair_grid(Grid(latitude, LON), (factor, 4))
    assert str(latitude.size) in str(caught.value) and "\n" not in str(caught.value)


def test_the_crop_that_is_printed_is_the_one_to_take(tmp_path: Path) -> None:
    """Pasted, it keeps what --trim keeps; and the region that it names, an axis of single precision included."""
    ds = make_source(times=18, rows=26, columns=51, variables=("t2m",)).drop_vars("orography")
    ds = ds.assign_coords(longitude=("longitude", (ds.longitude - 3.1).values.astype("f4"), ds.longitude.attrs))
    config = pair_config(write_source(ds, tmp_path / "s.zarr"), variables=["t2m"], static=[])
    with pytest.raises(
        FdsrError, match=r"has 26 rows and 51 columns, not divisible by the factor 4,4; --crop="
    ) as caught:
        plan_pairs(config)
    printed = re.search(r"--crop=(\S+) keeps 24 and 48, and so does --trim", str(caught.value))
    assert printed is not None
    cropped, trimmed = plan_pairs(replace(config, crop=crop(printed[1]))), plan_pairs(replace(config, trim=True))
    for pairs in (cropped, trimmed):
        assert pairs.grid.fine.shape == (24, 48)
        np.testing.assert_array_equal(pairs.reader.read(0, 1)[0][0, 0], ds.t2m[0, :24, :48])
    assert (trimmed.grid.dropped, trimmed.grid.dropped_columns) == (2, 3)
    with pytest.raises(FdsrError, match="fewer than the factor 30,4 needs"):
        plan_pairs(replace(config, factor=(30, 4), trim=True))


def test_gaussian_rows_are_fine_rows() -> None:
    gaussian = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(96)[0]))[::-1]
    assert pair_grid(Grid(gaussian, 1.875 * np.arange(192)), (4, 4)).low.shape == (24, 48)
    for rows, columns, axis in ((np.r_[60.0, 50, 49, 48], LON, "lat"), (np.arange(4.0), np.r_[LON[:7], 9.0], "lon")):
        with pytest.raises(FdsrError, match=f"'s.nc' has an unevenly spaced axis '{axis}'; regrid it"):
            pair_grid(Grid(rows, columns), (4, 4), "s.nc")
