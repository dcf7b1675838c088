"""The axes of a dataset are found whatever they are called, and brought into one order; what is no grid is told apart."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_source

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.axes import crop_region, grid_of, normalise_axes
from fdsr.grids.cells import around_circle, is_even, positions
from fdsr.grids.projection import rotated_places


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return make_source(times=4, rows=8, columns=16, variables=("t2m",)).drop_vars("orography")


def assert_found(changed: xr.Dataset, ds: xr.Dataset, **given: str) -> None:
    found = normalise_axes(changed, "here", given)
    np.testing.assert_array_equal(found.t2m.transpose("time", "row", "column"), ds.t2m)
    np.testing.assert_array_equal(found.time, ds.time)
    np.testing.assert_array_equal(found.row, ds.latitude)
    np.testing.assert_array_equal(found.column, ds.longitude)


def bare(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords({n: (n, ds[n].values) for n in ds.dims})


def test_names(ds: xr.Dataset) -> None:
    for names in (("LAT", "LON", "TIME"), ("Latitude", "Longitude", "Time"), ("lat", "lon", "launched")):
        # dates make an axis of time whatever it is called
        assert_found(bare(ds).rename(dict(zip(("latitude", "longitude", "time"), names, strict=True))), ds)
    odd = bare(ds).rename(latitude="FNOCY", longitude="FNOCX", time="T1")
    odd.FNOCY.attrs["units"], odd.FNOCX.attrs["units"] = "degrees_north", "degrees_east"
    assert_found(odd, ds)
    odd.FNOCY.attrs, odd.FNOCX.attrs = {}, {}
    assert_found(odd, ds, lat="FNOCY", lon="FNOCX", time="T1")
    with pytest.raises(
        FdsrError, match=r"no latitude and longitude axis among its dimensions .*--axes time=NAME,lat=NAME"
    ):
        normalise_axes(odd, "here")
    along = bare(ds).rename(latitude="y", longitude="x").reset_index(["y", "x"]).rename(y="lat", x="lon")
    assert_found(along.reset_coords(["lat", "lon"]), ds)  # coordinates among the variables, along other dimensions


def test_a_dimension_without_values_is_no_axis(ds: xr.Dataset) -> None:
    for name in ("latitude", "longitude"):
        with pytest.raises(FdsrError, match=f"'here' has a dimension '{name}' without values"):
            normalise_axes(ds.drop_vars(name), "here")
    undated = normalise_axes(ds.drop_vars("time"), "here")
    assert "time" not in undated.coords and undated.sizes["time"] == 4


def test_times_of_forecasts(ds: xr.Dataset) -> None:
    begin = np.datetime64("2020-01-01", "ns") + np.array([0, 12]) * np.timedelta64(1, "h")
    lead = np.array([0, 6]) * np.timedelta64(1, "h").astype("timedelta64[ns]")
    forecasts = xr.Dataset(
        {"t2m": (("time", "step", "latitude", "longitude"), ds.t2m.values.reshape(2, 2, 8, 16))},
        {"time": ("time", begin, {"standard_name": "forecast_reference_time"}), "step": lead, "latitude": ds.latitude,
         "longitude": ds.longitude, "valid_time": (("time", "step"), begin[:, None] + lead)},
    )  # fmt: skip
    assert_found(forecasts, ds)
    assert_found(forecasts.isel(time=0), ds.isel(time=slice(0, 2)))
    assert_found(forecasts.isel(step=1), ds.isel(time=[1, 3]))
    assert_found(forecasts.isel(time=1, step=0), ds.isel(time=[2]))
    assert_found(ds.isel(time=2), ds.isel(time=[2]))


@given(
    n=st.integers(4, 60),
    west=st.floats(-400, 400),
    part=st.just(1.0) | st.floats(0.3, 0.98),  # between them what is left of the circle looks like one more step
    seed=st.integers(0, 99),
    twice=st.booleans(),
)
def test_longitudes_in_any_order(n: int, west: float, part: float, seed: int, twice: bool) -> None:
    """On any turn, sorted in any way, with a place twice: from west to east, each place once."""
    line = west + part * 360 / n * np.arange(n)
    rng = np.random.default_rng(seed)
    given = rng.permutation(np.append(line, line[:1]) if twice else line) + 360 * rng.integers(-1, 2)
    given = np.mod(given, 360) if seed % 2 else given
    order, values = around_circle(given)
    assert order.size == n
    np.testing.assert_allclose(np.diff(values), part * 360 / n, rtol=1e-6)
    np.testing.assert_allclose(np.mod(values - given[order] + 180, 360), 180, atol=1e-6)
    if part < 0.99:
        assert abs((values[0] - west + 180) % 360 - 180) < 1e-6
    found = positions(given, line, True, 1e-3)
    assert (found is None) == (np.unique(found).size < n if found is not None else True)
    assert found is not None and np.abs((given[found] - line + 180) % 360 - 180).max() < 1e-6
    assert positions(given, line + 0.01 * 360 / n, True, 1e-3) is None


def test_the_circle_closed_once_more(ds: xr.Dataset) -> None:
    last = ds.isel(longitude=[0]).assign_coords(longitude=("longitude", [360.0], ds.longitude.attrs))
    closed = xr.concat([ds, last], "longitude")
    assert_found(closed, ds)
    assert grid_of(normalise_axes(closed, "here")).periodic
    cut = crop_region(normalise_axes(closed, "here"), (-90, 90, -45, 22.5))
    np.testing.assert_array_equal(cut.column, [-45, -22.5, 0, 22.5])
    np.testing.assert_array_equal(cut.t2m.transpose("time", "row", "column"), ds.t2m[..., [14, 15, 0, 1]])


def test_single_precision_at_30_seconds() -> None:
    """Near 180° a float32 is right to a 500th of the spacing."""
    exact = -180 + 1 / 240 + np.arange(43200) / 120
    for part in (exact[:16], exact[-16:]):
        stored = part.astype("f4").astype("f8")
        assert not np.allclose(np.diff(stored), 1 / 120, rtol=1e-3, atol=0)
        assert is_even(stored, 1e-3) and (positions(stored, part, True, 1e-3) == np.arange(16)).all()
    assert not is_even(np.delete(exact[-16:], 7), 1e-3)


def rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.roll(np.roll(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), axis, 0), axis, 1)


def test_a_rotated_pole_without_places() -> None:
    """As vectors: turn the meridian, tilt the pole down, turn it to its longitude. EUR-11 is centred east of the Alps."""
    rows, columns = np.linspace(-23, 22, 8), np.linspace(-28, 18, 12)
    mapping = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    latitude, longitude = rotated_places(rows, columns, mapping)
    phi, lam = np.meshgrid(np.deg2rad(rows), np.deg2rad(columns), indexing="ij")
    vectors = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], -1)
    turned = vectors @ (rotation(2, -162.0) @ rotation(1, 90 - 39.25) @ rotation(2, 180.0)).T
    np.testing.assert_allclose(latitude, np.rad2deg(np.arcsin(turned[..., 2])), atol=1e-9)
    np.testing.assert_allclose(longitude, np.rad2deg(np.arctan2(turned[..., 1], turned[..., 0])), atol=1e-9)
    np.testing.assert_allclose(rotated_places(np.zeros(1), np.zeros(1), mapping), [[[50.75]], [[18.0]]])
    ds = xr.Dataset(
        {"tas": (("rlat", "rlon"), phi), "rotated_pole": ((), b"", {"grid_mapping_name": "rotated_latitude_longitude"} | mapping)},
        {"rlat": ("rlat", rows, {"standard_name": "grid_latitude", "units": "degrees"}),
         "rlon": ("rlon", columns, {"standard_name": "grid_longitude", "units": "degrees"})},
    )  # fmt: skip
    grid = grid_of(normalise_axes(ds, "here"))
    assert grid.projected and grid.units == "degrees"
    np.testing.assert_allclose(grid.places[0], latitude[::-1])
    np.testing.assert_allclose(grid.places[1], longitude[::-1])


def test_what_is_no_grid_of_rows_and_columns() -> None:
    place = {"standard_name": "latitude"}, {"standard_name": "longitude"}
    cells = xr.Dataset(
        {"t": (("time", "cell_index"), np.zeros((1, 5)))},
        {"clat": ("cell_index", np.arange(5.0), place[0]), "clon": ("cell_index", np.arange(5.0), place[1])},
    )
    reduced = cells.rename(cell_index="values")
    reduced.t.attrs["GRIB_gridType"] = "reduced_gg"
    nemo = xr.Dataset(
        {"t": (("time", "y", "x"), np.zeros((1, 3, 4)))},
        {"nav_lat": (("y", "x"), np.zeros((3, 4)), place[0]), "nav_lon": (("y", "x"), np.zeros((3, 4)), place[1])},
    )
    wrf = xr.Dataset({n: (("Time", "south_north", "west_east"), np.zeros((1, 3, 4))) for n in ("T2", "XLAT", "XLONG")})
    for data, words in (
        (cells, r"unstructured grid: its cells are one list \('cell_index'\), as of ICON; .*cdo remapcon"),
        (cells.drop_vars(["clat", "clon"]).rename(cell_index="ncells"), r"unstructured grid: .*\('ncells'\)"),
        (reduced, r"reduced Gaussian grid, whose rows differ in length; .*cdo setgridtype,regular"),
        (nemo, r"curvilinear grid \(nav_lat and nav_lon two-dimensional\).*regrid"),
        (wrf, r"curvilinear grid \(XLAT and XLONG "),
        (
            xr.Dataset({"z": ("values", np.zeros(3), {"GRIB_gridType": "sh"})}),
            "spectral coefficients, no grid; .*cdo sp2gpl",
        ),
    ):
        with pytest.raises(FdsrError, match=words) as no:
            normalise_axes(data, "here")
        assert "\n" not in str(no.value)


def test_a_part_of_another_grid(ds: xr.Dataset) -> None:
    whole = grid_of(normalise_axes(ds, "here"))
    part = grid_of(crop_region(normalise_axes(ds, "here"), (-40, 40, -45, 45)))
    rows, columns = whole.positions(part) or pytest.fail("not found")
    assert rows.tolist() == [2, 3, 4, 5] and columns.tolist() == [14, 15, 0, 1, 2]
    cut = whole.part(rows, columns)
    np.testing.assert_array_equal(cut.rows, part.rows)
    np.testing.assert_allclose(cut.columns % 360, part.columns % 360)
    shifted = grid_of(normalise_axes(ds.assign_coords(latitude=ds.latitude + 1), "here"))
    assert shifted.positions(part) is None and part.positions(whole) is None


def test_the_fine_grid_of_coarse_cells() -> None:
    low = Grid([45.0, 35.0], [358.0, 2.0, 6.0])  # type: ignore[arg-type]
    fine = low.fine((2, 4), (1.0, 1.0))
    np.testing.assert_allclose(fine.rows, [47.5, 42.5, 37.5, 32.5])
    np.testing.assert_allclose(fine.columns, 356.5 + np.arange(12))
    again = fine.coarse((2, 4))
    np.testing.assert_allclose(again.rows, low.rows)
    np.testing.assert_allclose(again.columns, low.columns)
    one = Grid([45.0], [0.0]).fine((2, 2), (10.0, 4.0))  # type: ignore[arg-type]
    assert one.rows.tolist() == [42.5, 47.5] and one.columns.tolist() == [-1, 1]


def test_true_places_of_a_fine_projected_grid() -> None:
    """Across the date line, near the pole: as points in space they have no seam."""
    y, x = np.array([0.0, 10.0, 20.0]), np.array([-10.0, 0.0, 10.0])
    latitude = 80 + y[:, None] / 111 + 0 * x
    longitude = (180 + x / 19.0 + 0 * y[:, None] + 180) % 360 - 180
    low = Grid(y, x, "km", {"grid_mapping_name": "polar_stereographic"}, latitude, longitude)
    fine = low.fine((2, 2), (1.0, 1.0))
    assert fine.latitude is not None and fine.longitude is not None and fine.shape == (6, 6)
    np.testing.assert_allclose(fine.latitude[:, 2], 80 + fine.rows / 111, atol=2e-3)
    np.testing.assert_allclose(fine.longitude[2] % 360, 180 + fine.columns / 19.0, atol=2e-3)


def test_coordinates_that_are_no_places(ds: xr.Dataset) -> None:
    for values, words in (
        ([f"{v:g}N" for v in ds.latitude.values], "holds no numbers"),
        (np.r_[90.0, 90.0, ds.latitude.values[2:]], "a coordinate twice"),
        (ds.latitude.values + 60, "no latitude in degrees"),
    ):
        with pytest.raises(FdsrError, match=f"axis 'latitude' of 'here' .*{words}"):
            normalise_axes(ds.assign_coords(latitude=values), "here")


def test_radians(ds: xr.Dataset) -> None:
    places = {n: (n, np.deg2rad(ds[n].values), ds[n].attrs | {"units": "radian"}) for n in ("latitude", "longitude")}
    found = normalise_axes(ds.assign_coords(places), "here")
    np.testing.assert_allclose(found.row, ds.latitude)
    np.testing.assert_allclose(found.column, ds.longitude)


def test_ends_are_included_in_single_precision() -> None:
    """359.9 in single precision less a turn is not quite −0.1."""
    axis = np.float32(0.1) * np.arange(3600, dtype=np.float32)
    globe = make_source(times=1, rows=4, columns=3600, variables=("t2m",)).drop_vars("orography")
    globe = normalise_axes(globe.assign_coords(longitude=axis), "here")
    assert crop_region(globe, (-90, 90, -0.1, 9.8)).column.size == 100


def test_a_fine_grid_of_a_small_part_keeps_its_columns() -> None:
    order, values = around_circle(8 + 0.001 * np.arange(40))
    assert order.tolist() == list(range(40))
    np.testing.assert_allclose(values, 8 + 0.001 * np.arange(40))


@pytest.mark.parametrize("begin", [0, -180])
def test_crops_of_a_whole_circle_and_over_the_date_line(begin: int) -> None:
    globe = make_source(times=1, rows=4, columns=36, variables=("t2m",)).drop_vars("orography")
    globe = normalise_axes(globe.assign_coords(longitude=begin + 10.0 * np.arange(36)), "here")
    for west, east in ((0, 360), (-180, 180), (-90, 630)):
        found = crop_region(globe, (-90, 90, west, east)).column.values
        np.testing.assert_array_equal(found, west + 10.0 * np.arange(36))
    np.testing.assert_array_equal(crop_region(globe, (-90, 90, 160, -160)).column, [160, 170, 180, 190, 200])
    region = globe.isel(column=slice(10, 30))
    assert crop_region(region, (-90, 90, -180, 180)).column.size == 20  # none of it, wherever it is cut in two
