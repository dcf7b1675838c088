"""A specification at another place: what is exchanged, what stays the training's, what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import make_source, pair_config, projected, write_source

from fdsr.data import FieldSpec, PairStore, prepare
from fdsr.data.making.sources import parse_channels
from fdsr.data.place import of_pairs
from fdsr.data.serving.coarse import Asked, CoarseDataset
from fdsr.errors import FdsrError


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> FieldSpec:
    """Of the northern part of the tiny source, trained without position."""
    folder = tmp_path_factory.mktemp("north")
    config = pair_config(write_source(make_source(), folder / "s.zarr"), crop=(0, 90, 90, 262.5))
    return PairStore(prepare(config, folder / "north.zarr"), position=False).spec


def low(source: xr.Dataset) -> xr.Dataset:
    coarse = source[["t2m", "u10"]].coarsen(latitude=4, longitude=4).mean()
    return coarse.assign({n: coarse[n].assign_attrs(source[n].attrs) for n in coarse})


def test_static_fields_are_standardised_as_in_training(north: FieldSpec, source_data: xr.Dataset) -> None:
    assert north.static_mean is not None and north.static_std is not None
    found = CoarseDataset(low(source_data), north, Asked(static=source_data)).spec
    relief = torch.from_numpy(source_data.orography.values).double()
    expected = (relief - north.static_mean) / north.static_std
    conditioning = found.conditioning()
    assert conditioning.shape == (1, 24, 48) and found.periodic and not north.periodic
    torch.testing.assert_close(conditioning[0], expected.float())
    home = north.conditioning()[0]
    assert float(home.mean()) == pytest.approx(0, abs=1e-6) and float(home.std()) == pytest.approx(1, abs=1e-6)
    # what was trained is told its own place in the very same numbers, cut out of the globe too
    again = CoarseDataset(low(source_data), north, Asked(region=(0, 90, 90, 262.5))).spec
    assert torch.equal(again.conditioning(), north.conditioning())
    saved = FieldSpec.from_dict(north.to_dict())
    assert torch.equal(saved.conditioning(), north.conditioning()) and not saved.position


def test_without_statistics_of_its_static_fields_a_specification_is_of_its_training(north: FieldSpec) -> None:
    values = {k: v for k, v in north.to_dict().items() if not k.startswith(("static_mean", "static_std"))}
    assert torch.equal(FieldSpec.from_dict(values).conditioning(), north.conditioning())
    with pytest.raises(FdsrError, match=r"saved by a newer version of fdsr: it has colour, which this one .* not know"):
        FieldSpec.from_dict(north.to_dict() | {"colour": "red"})


def test_what_a_place_lacks(north: FieldSpec, source_data: xr.Dataset) -> None:
    with pytest.raises(FdsrError, match=r"needs the static field orography where 'the dataset' lies .*--static STORE"):
        CoarseDataset(low(source_data), north)
    with pytest.raises(FdsrError, match=r"'the dataset' has no variable 'orography'"):
        CoarseDataset(low(source_data), north, Asked(static=source_data.drop_vars("orography")))
    part = source_data.isel(latitude=slice(4))
    with pytest.raises(FdsrError, match=r"'the dataset' covers lat .*, not all of"):
        CoarseDataset(low(source_data), north, Asked(static=part))
    masked = replace(north, present=torch.ones(2, *north.shape, dtype=torch.bool))
    with pytest.raises(FdsrError, match=r"trained with missing values, and which fine points have any .*pair store"):
        CoarseDataset(low(source_data), masked, Asked(static=source_data))


def test_static_fields_in_other_units(north: FieldSpec, source_data: xr.Dataset) -> None:
    kilometres = (source_data.orography / 1000).assign_attrs(units="km").to_dataset(name="height")
    asked = Asked(parse_channels(["orography=height"]), static=kilometres)
    found = CoarseDataset(low(source_data), north, asked).spec
    np.testing.assert_allclose(found.static[0], source_data.orography, rtol=1e-5)


def test_position_told_elsewhere_is_said_once(
    north: FieldSpec, source_data: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    told = replace(north, position=True)
    found = CoarseDataset(low(source_data), told, Asked(static=source_data))
    (said,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "trained with position, elsewhere (12 lat points" in said and "data.position: false" in said
    lat, lon = np.deg2rad(source_data.latitude.values), np.deg2rad(source_data.longitude.values)
    conditioning = found.spec.conditioning()
    np.testing.assert_allclose(conditioning[3], np.repeat(np.sin(lat)[:, None], 48, 1), atol=1e-6)
    np.testing.assert_allclose(conditioning[1], np.cos(lat)[:, None] * np.cos(lon), atol=1e-6)


def test_a_local_scale_is_cut_out_or_left_out(north: FieldSpec, source_data: xr.Dataset) -> None:
    scaled = replace(north, local_scale=torch.rand(2, *north.shape))
    assert scaled.local_scale is not None
    part = CoarseDataset(low(source_data), scaled, Asked(region=(30, 90, 90, 180))).spec
    assert torch.equal(part.local_scale, scaled.local_scale[:, :8, :12])  # type: ignore[arg-type]
    assert CoarseDataset(low(source_data), scaled, Asked(static=source_data)).spec.local_scale is None


def test_another_pair_store(north: FieldSpec, store: PairStore, caplog: pytest.LogCaptureFixture) -> None:
    assert of_pairs(store.spec, store.spec, "itself") is store.spec and not caplog.records
    found = of_pairs(north, store.spec, "the globe")
    assert found.shape == store.spec.shape and found.fingerprint == north.fingerprint
    assert torch.equal(found.high_mean, north.high_mean) and not torch.equal(found.high_mean, store.spec.high_mean)
    assert any("standardised as those were" in r.getMessage() for r in caplog.records)
    celsius = replace(store.spec, attributes=store.spec.attributes | {"t2m": {"units": "degC"}})
    with pytest.raises(FdsrError, match=r"does not match the store 'it': units of t2m 'K' against 'degC'"):
        of_pairs(north, celsius, "it")
    told = {"low_channels": ["t2m", "msl"]}
    pascals = replace(store.spec, attributes=store.spec.attributes | {"msl": {"units": "Pa"}}, **told)
    hectopascals = replace(pascals, attributes=pascals.attributes | {"msl": {"units": "hPa"}})
    with pytest.raises(FdsrError, match=r"units of msl 'Pa' against 'hPa'"):  # of a predictor alone
        of_pairs(pascals, hectopascals, "it")
    with pytest.raises(FdsrError, match="variables"):
        of_pairs(north, replace(store.spec, high_channels=["u10", "t2m"]), "it")


def test_rows_on_the_poles_are_left_out(
    north: FieldSpec, source_data: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    plain = replace(north, static_channels=[], static=torch.zeros(0, *north.shape), static_mean=None, static_std=None)
    rows = np.linspace(90, -90, 7)
    found = CoarseDataset(low(source_data).interp(latitude=rows, kwargs={"fill_value": "extrapolate"}), plain).spec
    assert found.shape == (20, 48) and found.grid.rows[0] == pytest.approx(71.25)
    assert any("rows 90, -90 lie on a pole" in r.getMessage() for r in caplog.records)


def test_a_projected_grid_is_no_sphere_and_its_unit_no_matter(tmp_path: Path, north: FieldSpec) -> None:
    ds = projected()
    coarse = ds[["t2m", "u10"]].coarsen(y=4, x=4).mean().assign(lcc=ds.lcc)
    for name in ("t2m", "u10"):
        coarse[name].attrs = dict(ds[name].attrs)
    with pytest.raises(FdsrError, match="has distances for axes, the model was trained on angles"):
        CoarseDataset(coarse, north)
    home = PairStore(prepare(pair_config(write_source(ds, tmp_path / "s.zarr"), static=[]), tmp_path / "p.zarr")).spec
    axes = {n: (n, coarse[n].values / 1000 + 100 * 4 * 2, coarse[n].attrs | {"units": "km"}) for n in ("y", "x")}
    found = CoarseDataset(coarse.assign_coords(axes), home).spec
    assert found.grid.units == "m" and found.shape == home.shape
    np.testing.assert_allclose(found.grid.columns, home.grid.columns + 800e3)
    assert home.grid.latitude is not None and found.grid.latitude is not None
    np.testing.assert_allclose(found.grid.latitude, home.grid.latitude, atol=0.02)
    with pytest.raises(FdsrError, match=r"spaced .*, 0\.5 times as far"):
        half = {n: (n, coarse[n].values / 2, coarse[n].attrs) for n in ("y", "x")}
        CoarseDataset(coarse.assign_coords(half), home)
