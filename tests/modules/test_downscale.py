"""`fdsr.load(path).downscale(ds)`: a user's dataset comes back in its own form, and finer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr

import fdsr
from fdsr.data import PairStore
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule, save_pretrained
from fdsr.modules.model import Model

Build = Callable[..., DownscalingModule]


@pytest.fixture
def model(build: Build, tmp_path: Path) -> Model:
    return fdsr.load(save_pretrained(build("FourierDDPMModule"), tmp_path / "model"), "cpu")


@pytest.fixture(scope="module")
def coarse(source_data: xr.Dataset) -> xr.Dataset:
    low = source_data[["t2m", "u10"]].isel(time=slice(3)).coarsen(latitude=4, longitude=4).mean()
    low = low.assign({n: low[n].assign_attrs(source_data[n].attrs) for n in low})
    return low.assign_attrs(attribution="made by a test", license="CC0-1.0")


def test_importing_fdsr_imports_nothing_heavy() -> None:
    code = "import sys, fdsr; assert not {'torch', 'xarray', 'numpy', 'lightning'} & set(sys.modules); fdsr.load"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_members_of_the_module_in_the_form_of_the_input(model: Model, coarse: xr.Dataset, store: PairStore) -> None:
    found = model.downscale(coarse, members=3, seed=5)
    assert dict(found.sizes) == {"time": 3, "member": 3, "latitude": 24, "longitude": 48}
    assert found.t2m.dims == ("time", "member", "latitude", "longitude") and found.t2m.dtype == np.float32
    assert found.t2m.attrs["units"] == "K" and found.latitude.attrs["standard_name"] == "latitude"
    assert found.member.attrs["standard_name"] == "realization" and found.attrs["attribution"] == "made by a test"
    np.testing.assert_array_equal(found.time, coarse.time)
    np.testing.assert_allclose(found.latitude, store.spec.grid.rows)
    np.testing.assert_allclose(found.longitude, store.spec.grid.columns, atol=1e-9)
    from fdsr.data.serving.coarse import CoarseDataset

    batch: Any = CoarseDataset(coarse, store.spec).__getitems__([1])
    expected = model.module.generate(batch, 3, 5)[0]
    np.testing.assert_array_equal(found[["t2m", "u10"]].isel(time=1).to_array().transpose("member", ...), expected)


def test_any_form(model: Model, coarse: xr.Dataset) -> None:
    """Names, order, south first, −180…180, Celsius: all comes back as it was."""
    plain = model.downscale(coarse, members=2)
    other = coarse.assign_coords(longitude=(coarse.longitude + 180) % 360 - 180).sortby("longitude")
    other = other.isel(latitude=slice(None, None, -1)).transpose("longitude", "time", "latitude")
    other["t2m"] = (other.t2m - 273.15).assign_attrs(units="degC", cell_methods="time: point")
    other = other.rename(latitude="y", longitude="x", time="when", t2m="temperature")
    found = model.downscale(other, members=2, variables=["t2m=temperature"])
    assert found.temperature.dims == ("x", "when", "member", "y") and set(found.data_vars) == {"temperature", "u10"}
    assert found.temperature.attrs == {"units": "degC", "cell_methods": "time: point", "long_name": "t2m"}
    assert (np.diff(found.y) > 0).all() and (np.diff(found.x) > 0).all() and -180 <= found.x.min() < found.x.max() < 180
    same = found.rename(y="latitude", x="longitude", when="time", temperature="t2m")
    same = same.assign_coords(longitude=same.longitude % 360).sortby("longitude").sortby("latitude", ascending=False)
    same = same.transpose("time", "member", "latitude", "longitude").assign(t2m=same.t2m + 273.15)
    # the same places have the same position and coarse values; the noise is laid on from another meridian on
    assert float(abs(same - plain).u10.mean()) < 2 * float(plain.u10.std("member").mean())
    np.testing.assert_allclose(same.longitude, plain.longitude)
    in_order = model.downscale(other.sortby("y", ascending=False), members=2, variables=["t2m=temperature"])
    np.testing.assert_array_equal(in_order.u10.sortby("y"), found.u10)


def test_times_batches_and_orders_change_no_member(model: Model, coarse: xr.Dataset) -> None:
    whole = model.downscale(coarse, members=3)
    model.module.member_batch = 1  # type: ignore[assignment]
    single = model.downscale(coarse.isel(time=2), members=3)
    assert "time" in single.coords and single.t2m.dims == ("member", "latitude", "longitude")
    for name in ("t2m", "u10"):
        np.testing.assert_allclose(single[name], whole[name][2], rtol=1e-5, atol=1e-5)
    assert model.module.member_batch == 1 and model.module.members == 2  # settings of a call end with it


def test_a_part_and_back_again(model: Model, coarse: xr.Dataset) -> None:
    whole = model.downscale(coarse.isel(time=[0]), members=1, steps=1)
    part = model.downscale(coarse.isel(time=[0]), members=1, steps=1, region=(0, 90, 10, 140))
    assert dict(part.sizes) == {"time": 1, "member": 1, "latitude": 12, "longitude": 20}
    assert "1 network evaluations" in part.attrs["source"]
    again = model.downscale(coarse.isel(time=[0]), members=1, steps=1)
    xr.testing.assert_identical(again, whole)


@pytest.mark.parametrize("axis", ["number", "ens"])
def test_an_ensemble_of_coarse_fields(model: Model, coarse: xr.Dataset, axis: str) -> None:
    both = xr.concat([coarse, coarse + 1], xr.Variable(axis, [3, 8]), combine_attrs="override")
    both = both.assign({n: both[n].assign_attrs(coarse[n].attrs) for n in both}).rename(t2m="temperature")
    both = both.transpose("time", "latitude", axis, "longitude")
    found = model.downscale(both, members=2, variables=["t2m=temperature"])
    assert found.temperature.dims == ("time", "member", "latitude", "longitude")
    assert found.low_member.values.tolist() == [3, 3, 8, 8] and found.sizes["member"] == 4


def test_equal_coarse_members_have_noise_of_their_own(model: Model, coarse: xr.Dataset) -> None:
    """Those of the first are the members of the coarse field alone."""
    one = coarse.isel(time=[0])
    both = xr.concat([one, one], xr.Variable("number", [0, 1]), combine_attrs="override")
    both = both.assign({n: both[n].assign_attrs(coarse[n].attrs) for n in both})
    found = model.downscale(both, members=2).t2m.values[0]
    np.testing.assert_array_equal(found[:2], model.downscale(one, members=2).t2m.values[0])
    np.testing.assert_array_equal(found[2:], model.downscale(one, members=4).t2m.values[0, 2:])
    assert all(np.abs(found[i] - found[j]).max() > 1e-3 for i in range(4) for j in range(i))


def test_lazy_in_and_lazy_out(model: Model, coarse: xr.Dataset, tmp_path: Path) -> None:
    """Read time by time, written as it goes, gone on with where it broke off."""
    read: list[int] = []

    def chunk(block: np.ndarray, block_info: Any, last: int) -> np.ndarray:
        time = block_info[0]["chunk-location"][0]
        read.append(time)
        if time > last:
            raise RuntimeError("the tape is not mounted")
        return block

    def lazy(last: int) -> xr.Dataset:
        arrays = {
            n: (
                v.dims,
                dask.array.from_array(v.values, (1, -1, -1)).map_blocks(chunk, last=last, dtype=v.dtype),
                v.attrs,
            )
            for n, v in coarse.isel(time=[0, 1, 2, 1, 0]).data_vars.items()
        }
        times = coarse.time.values[0] + np.arange(5) * np.timedelta64(1, "D")
        return xr.Dataset(arrays, coarse.drop_vars("time").coords, coarse.attrs).assign_coords(time=times)

    out = tmp_path / "fine.zarr"
    whole = model.downscale(lazy(9), members=2, output=tmp_path / "whole.zarr")
    assert whole.t2m.chunks is not None and dict(whole.sizes)["time"] == 5
    read.clear()
    ds = lazy(9)
    found = model.downscale(ds.isel(time=slice(2)), members=2)
    assert max(read) <= 1
    np.testing.assert_array_equal(found.t2m, whole.t2m[:2])

    broken = lazy(9)
    generate, calls = model.module.generate, []

    def fail(*arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 4:
            raise RuntimeError("power cut")
        return generate(*arguments)

    model.module.generate = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="power cut"):
        model.downscale(broken, members=2, output=out)
    assert not out.exists()
    with pytest.raises(FdsrError, match=r"fine.zarr' is unfinished, of another prediction: seed 0, not 1; .*overwrite"):
        model.downscale(broken, members=2, seed=1, output=out)
    with pytest.raises(FdsrError, match=r"unfinished, of another prediction: inputs .*"):
        model.downscale(broken.isel(time=slice(4)), members=2, output=out)
    calls.clear()
    calls.extend([()] * 9)
    model.downscale(broken, members=2, output=out)
    assert len(calls) == 9 + 2  # three of five times had been finished
    assert same_bytes(out, tmp_path / "whole.zarr") and not list(tmp_path.glob(".*"))
    with pytest.raises(FdsrError, match=r"fine.zarr' exists already; add --overwrite"):
        model.downscale(broken, members=2, output=out)


def same_bytes(first: Path, second: Path) -> bool:
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (first, second)]
    return files[0] == files[1]


def test_sharded_and_netcdf(model: Model, coarse: xr.Dataset, tmp_path: Path) -> None:
    memory = model.downscale(coarse, members=2)
    sharded = model.downscale(coarse, members=2, output=tmp_path / "s.zarr", sharded=True)
    file = model.downscale(coarse, members=2, output=tmp_path / "f.nc")
    for found in (sharded, file):
        xr.testing.assert_equal(found.load(), memory)
        assert found.attrs["fdsr_model"] == memory.attrs["fdsr_model"] and "fdsr_record" in found.attrs
    assert len([p for p in (tmp_path / "s.zarr" / "t2m").rglob("*") if p.is_file()]) == 1 + 3 * 2


def test_bad_input_in_one_line(model: Model, build: Build, coarse: xr.Dataset, source_data: xr.Dataset) -> None:
    holes = coarse.copy(deep=True)
    holes.u10[1, 2, 3] = np.nan
    for ds, words in (
        (coarse.drop_vars("t2m"), "'the dataset' has no variable 't2m'; it has u10"),
        (
            coarse.assign(t2m=coarse.t2m.assign_attrs(units="m")),
            "t2m is in 'm' in 'the dataset' and in 'K' in the model",
        ),
        (source_data, r"spaced 7\.5° × 7\.5°, 0\.25 times as far .* trained at 30° × 30°"),
        (holes, "u10.*2020-01-01T06"),
        (coarse.isel(latitude=[0, 1, 3]), "unevenly spaced axis 'lat'"),
        (coarse.isel(time=slice(0)), "has a time axis without times"),
    ):
        with pytest.raises(FdsrError, match=words) as no:
            model.downscale(ds)
        assert "\n" not in str(no.value)
    with pytest.raises(
        FdsrError, match=r"ds is a DataArray, not an xarray.Dataset or a path; make it one: \.to_dataset"
    ):
        model.downscale(coarse.t2m)  # type: ignore[arg-type]
    plain = Model(build("RegressionModule"), "cpu")
    with pytest.raises(FdsrError, match="RegressionModule has no number of steps to choose"):
        plain.downscale(coarse, steps=3)
    assert plain.downscale(coarse.isel(time=[0]), members=8).sizes["member"] == 1
    with pytest.raises(FdsrError, match=r"steps: .*2000"):
        model.downscale(coarse, steps=2000)


def test_fields_in_other_units_than_they_say(
    model: Model, coarse: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    first = coarse.isel(time=[0])
    model.downscale(first, members=1, steps=1)
    assert not caplog.messages
    model.downscale(first.assign(t2m=(first.t2m - 273.15).assign_attrs(units="K")), members=1, steps=1)
    (line,) = caplog.messages
    assert line.startswith("'the dataset': t2m is on average -") and line.endswith(
        "in the training; are its units right?"
    )


def test_a_hub_address(model: Model, coarse: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid out as the hub's cache; and what is said without huggingface_hub."""
    snapshot = tmp_path / "cache" / "models--lab--fine" / "snapshots" / "0a1b"
    save_pretrained(model.module, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0a1b")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = fdsr.load("lab/fine", "cpu").downscale(coarse.isel(time=[0]), members=1)
    xr.testing.assert_equal(found, model.downscale(coarse.isel(time=[0]), members=1))
    with pytest.raises(FdsrError, match=r"there is no 'lab/none' here, and none came from the hub: ") as no:
        fdsr.load("lab/none")
    assert "\n" not in str(no.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FdsrError, match=r"no 'lab/fine' here.* pip install huggingface_hub"):
        fdsr.load("lab/fine")
    with pytest.raises(FdsrError, match=r"checkpoint 'nowhere\.ckpt' does not exist"):
        fdsr.load("nowhere.ckpt")
