"""Day of year and local solar time among the conditions: of patches, of whole fields, of coarse fields from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from synthetic import write_source

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.data.serving.coarse import CoarseDataset
from fdsr.data.serving.conditions import Conditions
from fdsr.data.serving.datasets import FieldDataset, PatchDataset
from fdsr.data.serving.patches import PatchKey
from fdsr.errors import FdsrError
from fdsr.modules import RegressionModule
from fdsr.modules.field_codec import FieldCodec


@pytest.fixture
def clocked(store_path: str) -> PairStore:
    return PairStore(store_path, time_channels=True)


def literal(times: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """(n, 4, W): what the channels should be, date by date."""
    out = []
    for time in times.astype("datetime64[s]").tolist():
        hour = time.hour + time.minute / 60
        year = 2 * np.pi * (time.timetuple().tm_yday - 1 + hour / 24) / 366  # 2020
        sun = 2 * np.pi * (hour / 24 + longitude / 360)
        flat = np.ones_like(longitude)
        out.append([np.sin(year) * flat, np.cos(year) * flat, np.sin(sun), np.cos(sun)])
    return np.array(out)


def test_whole_fields_and_patches(clocked: PairStore, store: PairStore) -> None:
    expected = literal(clocked.times, clocked.spec.grid.columns)
    fields, plain = FieldDataset(clocked, (0, 18)), FieldDataset(store, (0, 18))
    for i in (0, 5, 17):
        conditioning = fields[i]["conditioning"]
        assert conditioning.shape == (4 + 4, 24, 48) and conditioning.dtype == torch.float32
        np.testing.assert_allclose(conditioning[4:], np.broadcast_to(expected[i][:, None], (4, 24, 48)), atol=1e-6)
        assert torch.equal(conditioning[:4], plain[i]["conditioning"])
    # noon of the Sun: six o'clock in Greenwich is midday at 90° east
    six = int(np.flatnonzero((clocked.times - clocked.times.astype("datetime64[D]")) == np.timedelta64(6, "h"))[0])
    assert float(fields[six]["conditioning"][-1, 0, 12]) == pytest.approx(-1, abs=1e-6)
    keys = [PatchKey(3, 4, 40), PatchKey(9, 0, 8, 1, 2, True, True)]
    batch = PatchDataset(clocked, (8, 16)).__getitems__(keys)
    for key, cut in zip(keys, batch["conditioning"], strict=True):
        rows = np.arange(8)[:: -1 if key.flip_rows else 1] + key.row + key.row_shift
        columns = np.arange(16)[:: -1 if key.flip_columns else 1] + key.column + key.column_shift
        assert torch.equal(cut, fields[key.time]["conditioning"][:, rows][:, :, columns % 48])


def test_coarse_fields_alone(clocked: PairStore, source_data: xr.Dataset, tmp_path: Path) -> None:
    """From a pair store, and from coarse fields at dates of their own."""
    assert torch.equal(
        CoarseDataset(clocked.path, clocked.spec)[4]["conditioning"], FieldDataset(clocked, (0, 18))[4]["conditioning"]
    )
    grid = clocked.spec.low_grid
    low = xr.Dataset(
        {
            name: (("time", "latitude", "longitude"), clocked.group["low"][:, c])
            for c, name in enumerate(("t2m", "u10"))
        },
        {"time": source_data.time + np.timedelta64(3, "h"), "latitude": grid.rows, "longitude": grid.columns},
    )
    for name, unit in (("t2m", "K"), ("u10", "m s-1")):
        low[name].attrs["units"] = unit
    found = CoarseDataset(write_source(low, tmp_path / "low.zarr"), clocked.spec)[4]["conditioning"]
    expected = literal(low.time.values[4:5], clocked.spec.grid.columns)[0]
    np.testing.assert_allclose(found[4:], np.broadcast_to(expected[:, None], (4, 24, 48)), atol=1e-6)


def test_the_network_sees_them_and_the_checkpoint_knows(clocked: PairStore, store: PairStore) -> None:
    batch = cast(WeatherBatch, torch.utils.data.default_collate([FieldDataset(clocked, (0, 18))[0]]))
    codec = FieldCodec(clocked.spec)
    assert codec.encode(batch).condition.shape[1] == codec.condition_channels == 2 + 4 + 4
    again = type(clocked.spec).from_dict(cast(dict, clocked.spec.to_dict()))
    assert again.time_channels and not again.differences(clocked.spec)
    with pytest.raises(FdsrError, match=r"data.time_channels True against False"):
        again.require_same(store.spec, "s")
    # models of before there was the setting
    old = {k: v for k, v in store.spec.to_dict().items() if k != "time_channels"}
    assert not type(store.spec).from_dict(old).differences(store.spec)


def test_training_and_prediction(store_path: str, quiet_trainer: Any, tmp_path: Path) -> None:
    data = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=4, patches_per_step=4, time_channels=True)
    module = RegressionModule(backbone_args={"width": 8, "multipliers": [1, 2], "groups": 4, "time_embedding": False})
    quiet_trainer(max_steps=2).fit(module, data)
    (first, *_) = quiet_trainer().predict(module, data)
    assert first["prediction"].isfinite().all()


def test_what_has_no_dates_is_refused(
    store_path: str, clocked: PairStore, source_data: xr.Dataset, tmp_path: Path
) -> None:
    undated = tmp_path / "undated.zarr"
    shutil.copytree(store_path, undated)
    group = zarr.open_group(undated, mode="r+")
    for name in ("units", "calendar"):
        group["time"].attrs.pop(name, None)
    zarr.consolidate_metadata(str(undated))
    message = "have no dates, so day of year and solar time are not known; set data.time_channels to false"
    with pytest.raises(FdsrError, match=message):
        WeatherDataModule(store=str(undated), time_channels=True).setup("fit")
    WeatherDataModule(store=str(undated)).setup("fit")
    with pytest.raises(FdsrError, match=message):
        Conditions(clocked.spec, np.arange(3))
