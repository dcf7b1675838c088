"""Missing values that stay missing: coarse means, interpolation, statistics and the store, over present points alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.fft import dctn
from synthetic import interpolate, latitude_weights, make_source, pair_config, smooth_field, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.coarsen import coarsen
from fdsr.data.interpolate import HALO, add_halo, upsample, upsample_gaps
from fdsr.data.making.append import append
from fdsr.data.making.checking import check_store
from fdsr.data.making.regrid import regridding
from fdsr.data.making.statistics import PowerSums, cosine_power
from fdsr.errors import FdsrError
from fdsr.grids import Grid

RNG = np.random.default_rng(5)


def holed_source(**arguments: Any) -> xr.Dataset:
    """The tiny source with land, which cuts through coarse cells, and one more missing value, in u10."""
    ds = make_source(**arguments)
    ds.u10[:, 5:13, 10:23] = np.nan
    ds.u10[3, 20, 40] = np.inf
    return ds


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    folder = tmp_path_factory.mktemp("masked")
    source = write_source(holed_source(), folder / "source.zarr")
    return PairStore(prepare(pair_config(source, missing="mask"), folder / "pairs.zarr"))


def test_coarse_means_are_of_the_present_points() -> None:
    weights = RNG.uniform(0.5, 2, 12)
    field = RNG.normal(size=(3, 12, 20))
    field[RNG.uniform(size=field.shape) < 0.3] = np.nan
    field[1, 3:6, 5:10] = np.nan
    found = coarsen(field, weights, (3, 5))
    area = np.broadcast_to(weights[:, None], (12, 20))
    for c, i, j in np.ndindex(3, 4, 4):
        block = (slice(3 * i, 3 * i + 3), slice(5 * j, 5 * j + 5))
        present = ~np.isnan(field[c][block])
        if not present.any():
            assert np.isnan(found[c, i, j])
        else:
            expected = np.average(field[c][block][present], weights=area[block][present])
            assert found[c, i, j] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(found).sum() == 1
    # a field without gaps has the sum that it always had, to the last bit
    whole = RNG.normal(size=(12, 20)).astype(np.float32)
    with_gap = np.stack([whole, np.where(np.arange(20) < 5, np.nan, whole)])
    np.testing.assert_allclose(
        coarsen(with_gap, weights, (3, 5))[1, :, 1:], coarsen(whole, weights, (3, 5))[:, 1:], rtol=1e-6
    )


def test_remapping_leaves_gaps_out() -> None:
    lat, lon = 90 - 180 / 24 * (np.arange(24) + 0.5), 7.5 * np.arange(48)
    grid = Grid(lat, lon)
    field = RNG.normal(size=(24, 48))
    field[2:12, 6:30] = np.nan
    found = regridding(grid, grid.coarse((4, 4)), "here")(field)
    expected = coarsen(field, latitude_weights(lat), (4, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [(4, 4), (2, 3)])
def test_a_missing_neighbour_counts_as_the_own_cell(factor: tuple[int, int], method: str, periodic: bool) -> None:
    low = RNG.normal(size=(7, 9)).astype(np.float32)
    low[2:4, 3:6] = low[0, 0] = low[6, 8] = np.nan
    found = upsample_gaps(add_halo(torch.from_numpy(low)[None, None], periodic), factor, method)[0, 0].numpy()
    for i, j in np.ndindex(7, 9):
        cell = (slice(i * factor[0], (i + 1) * factor[0]), slice(j * factor[1], (j + 1) * factor[1]))
        if np.isnan(low[i, j]):
            assert np.isnan(found[cell]).all()
            continue
        mended = np.where(np.isnan(low), low[i, j], low)
        np.testing.assert_allclose(found[cell], interpolate(mended, factor, method, periodic)[cell], atol=1e-5)


def test_without_gaps_it_is_interpolation() -> None:
    low = torch.randn(2, 3, 6 + 2 * HALO, 8 + 2 * HALO, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(upsample_gaps(low, (4, 4), "bicubic"), upsample(low, (4, 4), "bicubic"))


def test_power_is_that_of_the_masked_deviation() -> None:
    """Sums that know no mean give, for any mean, the transform of the masked deviation from it."""
    steps = 280 + 10 * smooth_field(RNG, (4, 2, 24, 36))
    steps[:, 1, 4:11, 8:19] = np.nan
    total = PowerSums.of(steps[0], (24, 36))
    for step in steps[1:]:
        total = total + PowerSums.of(step, (24, 36))
    mean = np.array([281.0, np.nanmean(steps[:, 1])])
    deviation = np.nan_to_num(steps - mean[:, None, None])
    share = (~np.isnan(steps)).mean((0, 2, 3))[:, None, None]
    expected = (dctn(deviation, norm="ortho", axes=(2, 3)) ** 2).mean(0) / share
    np.testing.assert_allclose(total.power(mean), expected, rtol=1e-6, atol=1e-6 * expected.mean())
    # Parseval: its mean is the mean square over the present points
    square = np.nanmean((steps - mean[:, None, None]) ** 2, axis=(0, 2, 3))
    np.testing.assert_allclose(total.power(mean).mean((1, 2)), square, rtol=1e-9)


def test_power_of_fields_without_gaps() -> None:
    x = RNG.normal(size=(2, 24, 36))
    np.testing.assert_allclose(cosine_power(x, (24, 36)), dctn(x, norm="ortho", axes=(1, 2)) ** 2, atol=1e-12)


def test_the_store_keeps_what_is_missing(masked: PairStore) -> None:
    truth = np.stack([holed_source()[n] for n in ("t2m", "u10")], axis=1)
    truth[np.isinf(truth)] = np.nan
    np.testing.assert_array_equal(masked.group["high"][:], truth)
    expected = coarsen(truth, latitude_weights(masked.spec.grid.rows), (4, 4))
    np.testing.assert_array_equal(masked.group["low"][:], expected)
    assert (
        np.isnan(expected[0, 1]).sum() == 2
    )  # of six coarse cells that land touches in columns and rows, the inner ones
    assert masked.spec.masked
    # one value that is missing once is present at other times
    np.testing.assert_array_equal(masked.spec.present, ~np.isnan(truth[:10]).all(0))
    assert "filled_values" not in masked.group.attrs


def test_statistics_are_of_the_present_points(masked: PairStore) -> None:
    spec, train = masked.spec, slice(0, 10)
    high, low = (np.asarray(masked.group[n][train]).astype(np.float64) for n in ("high", "low"))
    np.testing.assert_allclose(spec.high_mean, np.nanmean(high, (0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(spec.high_std, np.nanstd(high, (0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(spec.low_mean, np.nanmean(low, (0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(spec.low_std, np.nanstd(low, (0, 2, 3)), rtol=1e-6)
    base = upsample_gaps(add_halo(torch.from_numpy(low), True), (4, 4), "bicubic").numpy()
    residual = np.sqrt(np.nanmean((high - base) ** 2, (0, 2, 3)))
    np.testing.assert_allclose(spec.residual_std * spec.high_std, residual, rtol=1e-5)
    # one tile covers the grid: powers of standardised fields have mean one
    for power in (spec.power_field, spec.power_residual):
        np.testing.assert_allclose(power.mean((1, 2)), np.ones(2), rtol=1e-6)


def test_blocks_and_interruptions_change_nothing(masked: PairStore, tmp_path: Path) -> None:
    source = write_source(holed_source(), tmp_path / "source.zarr")
    found = PairStore(prepare(pair_config(source, missing="mask"), tmp_path / "pairs.zarr", steps_per_block=3))
    assert not masked.spec.differences(found.spec) and bool((found.spec.present == masked.spec.present).all())
    # what was finished before the first gap under the policy `error` is kept by `mask`
    late = make_source()
    late.u10[7:, 5:13, 10:23] = np.nan
    source = write_source(late, tmp_path / "late.zarr")
    target, step = tmp_path / "late_pairs.zarr", {"threads": 1, "steps_per_block": 1}
    with pytest.raises(FdsrError, match=r"'u10' has 104 missing .*--missing mask.*finished and kept"):
        prepare(pair_config(source), target, **step)
    resumed = prepare(pair_config(source, missing="mask"), target, **step)
    whole = prepare(pair_config(source, missing="mask"), tmp_path / "whole.zarr", **step)
    for name in ("high", "low", "high_std", "power_residual", "present"):
        np.testing.assert_array_equal(*(PairStore(p).group[name][:] for p in (resumed, whole)))
    assert bool(PairStore(resumed).spec.present.all())


def test_check_and_append(masked: PairStore, store_path: str, tmp_path: Path) -> None:
    report = check_store(masked.path)
    assert masked.spec.fingerprint in report and "that of its contents" in report
    source = write_source(holed_source(times=20), tmp_path / "longer.zarr")
    assert append(masked.path, source) == 2
    assert int(np.isnan(PairStore(masked.path).group["high"][19, 1]).sum()) == 8 * 13
    with pytest.raises(FdsrError, match="prepared without --missing mask"):
        append(store_path, source, missing="mask")


def test_static_gaps_are_neutral(tmp_path: Path) -> None:
    ds = holed_source()
    ds.orography[:6] = np.nan
    spec = PairStore(
        prepare(pair_config(write_source(ds, tmp_path / "s.zarr"), missing="mask"), tmp_path / "p.zarr")
    ).spec
    relief = spec.conditioning()[0]
    assert bool((relief[:6] == 0).all())
    known = relief[6:].double()
    assert float(known.mean()) == pytest.approx(0, abs=1e-5) and float(known.std(unbiased=False)) == pytest.approx(
        1, abs=1e-5
    )
    assert bool((spec.conditioning()[-2:] == spec.present).all())


@pytest.mark.parametrize("mark", [1e20, 9.96921e36, -9999.0, -32767.0, 9999.0, -9.99e8])
def test_marks_that_no_attribute_says(tmp_path: Path, mark: float) -> None:
    """They count as missing values, whatever the policy makes of these; another unit does not hide them."""
    ds = make_source(times=18)
    holes = np.zeros((24, 48), bool)
    holes[4:9, 10:20] = True
    ds["t2m"] = (ds.t2m.dims, np.where(holes, np.float32(mark), ds.t2m), ds.t2m.attrs)
    source = write_source(ds, tmp_path / "s.zarr")
    words = rf"'t2m' has 50 missing or infinite values \(marked by {mark:g}, which no attribute _FillValue says\)"
    with pytest.raises(FdsrError, match=words.replace("+", r"\+")):
        prepare(pair_config(source), tmp_path / "strict.zarr")
    high = PairStore(prepare(pair_config(source, missing="mask"), tmp_path / "masked.zarr")).group["high"][:]
    np.testing.assert_array_equal(np.isnan(high[:, 0]), np.broadcast_to(holes, (18, 24, 48)))
    assert not np.isnan(high[:, 1]).any()
    filled = PairStore(prepare(pair_config(source, missing="fill"), tmp_path / "filled.zarr"))
    assert filled.group["high"][:, 0].max() < 400 and filled.group.attrs["filled_values"] == {"t2m": 50 * 18}


def test_two_marks_in_one_field(tmp_path: Path) -> None:
    ds = make_source(times=18)
    ds.t2m[:, 4:9, 10:20], ds.t2m[:, 12, 3:6] = 1e20, -9999.0
    store = PairStore(prepare(pair_config(write_source(ds, tmp_path / "s.zarr"), missing="mask"), tmp_path / "p.zarr"))
    high = store.group["high"][:, 0]  # type: ignore[index]
    assert int(np.isnan(high).sum()) == 18 * 53 and np.nanmin(high) > 100


def test_a_single_value_of_that_size_is_a_value(tmp_path: Path) -> None:
    ds = make_source(times=18)
    ds["t2m"] = ds.t2m - 280
    ds.t2m[2, 3, 4] = -999.0
    high = PairStore(prepare(pair_config(write_source(ds, tmp_path / "s.zarr")), tmp_path / "p.zarr")).group["high"]
    assert high[2, 0, 3, 4] == -999.0


def test_rows_of_a_mis_read_scan_order(tmp_path: Path) -> None:
    ds = make_source(times=18)
    ds["u10"] = ds.u10.copy(data=np.where(np.arange(24)[:, None] % 2 == 1, ds.u10.values[..., ::-1], ds.u10.values))
    with pytest.raises(FdsrError, match=r"every second row of 'u10' seems to be reversed.*cdo -f nc copy") as no:
        prepare(pair_config(write_source(ds, tmp_path / "s.zarr")), tmp_path / "p.zarr")
    assert "\n" not in str(no.value)
