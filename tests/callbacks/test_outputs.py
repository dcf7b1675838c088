"""What predict and test write: a CF store, and a table that agrees with `evaluate` on that store."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from fdsr.callbacks import PredictionWriter, ScoreRecorder
from fdsr.callbacks.example import example_dataset
from fdsr.callbacks.run_record import RunRecord
from fdsr.data import PairStore, WeatherDataModule
from fdsr.data.interpolate import HALO
from fdsr.drawing.maps import draw_maps
from fdsr.errors import FdsrError
from fdsr.metrics import evaluate
from fdsr.modules import DownscalingModule
from fdsr.modules.downscaling import Ensemble

Build = Callable[..., DownscalingModule]
MakeTrainer = Callable[..., L.Trainer]


@pytest.fixture
def written(build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> Path:
    """A folder with prediction.zarr and the files of a test of the same module, M = 3."""
    module = build("FourierDDPMModule", members=3)
    quiet_trainer(callbacks=[PredictionWriter(tmp_path / "prediction.zarr")]).predict(
        module, datamodule=data, return_predictions=False
    )
    quiet_trainer(callbacks=[ScoreRecorder(tmp_path, "tiny")]).test(module, datamodule=data, verbose=False)
    return tmp_path


def truth(store: PairStore, array: str = "high") -> xr.Dataset:
    axes = {"high": ("lat", "lon"), "low": ("lat_low", "lon_low")}[array]
    with xr.open_zarr(store.path, consolidated=False) as ds:
        ds = ds[array].isel(time=slice(14, 17)).load()
    channel = f"{array}_channel"
    return xr.Dataset({str(n): ds.sel({channel: n}, drop=True) for n in ds[channel].values}).transpose("time", *axes)


def test_prediction_is_a_cf_store(written: Path, store: PairStore, source_data: xr.Dataset) -> None:
    with xr.open_zarr(written / "prediction.zarr", consolidated=False) as ds:
        assert dict(ds.sizes) == {"time": 3, "member": 3, "lat": 24, "lon": 48}
        np.testing.assert_array_equal(ds.time, source_data.time[14:17])
        np.testing.assert_array_equal(ds.lat, source_data.latitude)
        np.testing.assert_array_equal(ds.lon, source_data.longitude)
        for name, units in (("t2m", "K"), ("u10", "m s-1")):
            assert ds[name].dims == ("time", "member", "lat", "lon") and ds[name].dtype == np.float32
            assert ds[name].attrs["units"] == units and ds[name].attrs["long_name"] == name
            assert np.isfinite(ds[name]).all()
        assert ds.attrs["Conventions"].startswith("CF-") and store.spec.fingerprint in ds.attrs["history"]
        standard_names = [ds[a].attrs["standard_name"] for a in ("time", "member", "lat", "lon")]
        assert standard_names == ["time", "realization", "latitude", "longitude"]
        assert float((ds.t2m.isel(member=0) - ds.t2m.isel(member=1)).std()) > 0
        assert ds.attrs["attribution"] == "Made by a test." and len(ds.attrs["fdsr_model"]) == 16
        record = json.loads(ds.attrs["fdsr_record"])
        assert record["settings"]["seed"] == "0" and record["trained_on"] == store.spec.fingerprint
        assert record["arguments"]["members"] == 3 and "torch" in record["packages"]
    assert not [p for p in written.iterdir() if "partial" in p.name]


def test_prediction_holds_what_the_module_generates(written: Path, build: Build, data: WeatherDataModule) -> None:
    module = build("FourierDDPMModule", members=3)
    batch = list(data.test_dataloader())[1]
    expected = module.generate(batch, 3, 0)[0]
    with xr.open_zarr(written / "prediction.zarr", consolidated=False) as ds:
        np.testing.assert_allclose(
            ds[["t2m", "u10"]].isel(time=1).to_array().transpose("member", ...), expected, rtol=1e-6, atol=1e-5
        )


def test_table_is_evaluate_on_the_prediction(written: Path, store: PairStore) -> None:
    with xr.open_zarr(written / "prediction.zarr", consolidated=False) as ds:
        expected = evaluate(ds.load(), truth(store), truth(store, "low"))
    with (written / "test_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "method,variable,metric,value,split,members,nfe,seed,n_times,device,commit"
    metrics = {r["metric"] for r in rows}
    assert metrics >= {"rmse", "mae", "bias", "crps", "spread_skill", "lsd", "melr", "coarse_consistency"}
    assert len(rows) == 2 * len(metrics)
    for r in rows:
        want = float(expected[r["metric"]].sel(variable=r["variable"]))
        assert float(r["value"]) == pytest.approx(want, rel=2e-4, abs=1e-4), (r["metric"], r["variable"])
        assert (r["method"], r["split"], r["members"], r["nfe"], r["seed"], r["n_times"]) == (
            "tiny",
            "test",
            "3",
            "2",
            "0",
            "3",
        )
        assert "CPU" in r["device"] and r["commit"]


def test_scores_are_what_a_notebook_gets(written: Path, store: PairStore) -> None:
    with xr.open_zarr(written / "prediction.zarr", consolidated=False, chunks={}) as ds:
        expected = evaluate(ds, truth(store), truth(store, "low"))
    with xr.open_dataset(written / "test_scores.nc", engine="scipy") as found:
        assert set(found.data_vars) == set(expected.data_vars) >= {"rank_histogram", "zonal_spectrum", "q99_error"}
        assert found.spectrum.dims == ("variable", "band", "ring") and (found.spectrum_reference.max("ring") > 0).all()
        for name in expected.data_vars:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-9, err_msg=str(name))
        assert found.attrs["members"] == 3 and found.attrs["n_times"] == 3 and found.attrs["method"] == "tiny"


def test_a_missing_value_stops_the_test_with_its_place(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build("InterpolationModule")
    generate = module.generate

    def broken(batch: Any, members: int, seed: int) -> torch.Tensor:
        prediction = generate(batch, members, seed)
        prediction[0, 0, 1, 3, 5] = torch.nan
        return prediction

    monkeypatch.setattr(module, "generate", broken)
    with pytest.raises(
        FdsrError, match=r"u10 is NaN or infinite at time 2020-01-04T12.* the first at lat 63.75, lon 37.5"
    ):
        quiet_trainer(callbacks=[ScoreRecorder(tmp_path, "bicubic")]).test(module, datamodule=data, verbose=False)


def test_example(written: Path, store: PairStore) -> None:
    with xr.open_dataset(written / "test_example.nc", engine="scipy") as ds:
        high, low = store.read(14)
        np.testing.assert_array_equal(ds.truth, high)
        np.testing.assert_array_equal(ds.coarse, low)
        assert ds.time.values == store.times[14] and list(ds.units.values) == ["K", "m s-1"]
        assert ds.sizes["member"] == 2


def test_an_example_is_missing_where_the_truth_is(store: PairStore, tmp_path: Path) -> None:
    high, low = (torch.as_tensor(x).clone() for x in store.read(14))
    high[0, 3:9, 5:7] = torch.nan
    ensemble: Ensemble = {
        "prediction": torch.randn(1, 3, *high.shape), "truth": high[None], "time": torch.tensor([0]),
        "low": torch.nn.functional.pad(low[None], (HALO,) * 4),
    }  # fmt: skip
    ds = example_dataset(store.spec, ensemble, "tiny")
    for name in ("mean", "spread", "member"):
        assert bool((ds[name].isnull() == ds.truth.isnull()).all()), name
    figure = plt.figure()
    draw_maps(figure, ds, "example")
    limits = [image.get_clim() for axes in figure.axes for image in axes.images]
    assert all(np.isfinite(limits).all(1)) and max(high for low, high in limits[5:6]) > 1.0  # of the spread
    plt.close(figure)


def test_a_deterministic_method_lists_no_ensemble_scores(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    recorder = ScoreRecorder(tmp_path, "bicubic")
    quiet_trainer(callbacks=[recorder]).test(build("InterpolationModule"), datamodule=data, verbose=False)
    with (tmp_path / "test_metrics.csv").open(newline="") as file:
        metrics = {r["metric"] for r in csv.DictReader(file)}
    assert "rmse" in metrics and not metrics & {"crps", "spread_skill"}


def test_existing_results_are_kept(
    written: Path, build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer
) -> None:
    module = build("InterpolationModule")
    before = (written / "test_metrics.csv").read_text()
    with pytest.raises(FdsrError, match=r"prediction\.zarr' exists already; add --overwrite"):
        quiet_trainer(callbacks=[PredictionWriter(written / "prediction.zarr")]).predict(module, datamodule=data)
    with pytest.raises(FdsrError, match=r"test_metrics\.csv' exists already; add --overwrite"):
        quiet_trainer(callbacks=[ScoreRecorder(written, "bicubic")]).test(module, datamodule=data, verbose=False)
    assert (written / "test_metrics.csv").read_text() == before
    quiet_trainer(callbacks=[PredictionWriter(written / "prediction.zarr", overwrite=True)]).predict(
        module, datamodule=data, return_predictions=False
    )
    with xr.open_zarr(written / "prediction.zarr", consolidated=False) as ds:
        assert ds.sizes["member"] == 1


def test_an_unfinished_prediction_is_not_taken_for_a_finished_one(
    build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build("InterpolationModule")
    generate, calls = module.generate, []

    def fail_late(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return generate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "generate", fail_late)
    writer = PredictionWriter(tmp_path / "prediction.zarr")
    with pytest.raises(RuntimeError, match="power cut"):
        quiet_trainer(callbacks=[writer]).predict(module, datamodule=data, return_predictions=False)
    assert not (tmp_path / "prediction.zarr").exists()
    monkeypatch.undo()
    quiet_trainer(callbacks=[PredictionWriter(tmp_path / "prediction.zarr")]).predict(
        module, datamodule=data, return_predictions=False
    )
    assert [p.name for p in tmp_path.iterdir() if "prediction" in p.name] == ["prediction.zarr"]


def test_unwritable_output(build: Build, data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FdsrError, match="cannot be written"):
        quiet_trainer(callbacks=[PredictionWriter(tmp_path / "file" / "p.zarr")]).predict(
            build("InterpolationModule"), datamodule=data
        )


def test_a_record_counts_on_with_another_number_of_processes(tmp_path: Path) -> None:
    """From checkpoints of before time was counted, and of before what all processes had seen was, too."""
    for saved, before in (({"seen": 8, "seconds": 1.5}, 8), ({"samples": 8, "seconds": 1.5}, 16), ({"samples": 8}, 16)):
        record, of_two, module = RunRecord(tmp_path, "tiny", ""), SimpleNamespace(world_size=2), L.LightningModule()
        record.setup(of_two, module, "fit")  # type: ignore[arg-type]
        record.load_state_dict(saved)
        record.on_train_batch_start(of_two, module, {"index": torch.arange(3)})
        assert record.state_dict() == {"seen": before + 2 * 3, "seconds": saved.get("seconds", 0.0)}
