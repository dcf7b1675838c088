"""Methods whose statistics are of a place go along where that is part of the training's, or say in one line that they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import TINY_UNET, pair_config, write_source

import fdsr
from fdsr.data import ImageSpec, PairStore, WeatherDataModule, prepare
from fdsr.diffusion import DPMSolverPP, GaussianLikelihood
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DownscalingModule, DressedModule, RegressionModule, save_pretrained
from fdsr.modules.model import Model

MakeTrainer = Callable[..., L.Trainer]
PART = (0, 90, 90, 262.5)


@pytest.fixture(scope="module")
def north(source_path: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pairs of a part of the tiny source."""
    config = pair_config(source_path, crop=PART)
    return str(prepare(config, tmp_path_factory.mktemp("north") / "north.zarr"))


@pytest.fixture(scope="module")
def coarse(source_data: xr.Dataset) -> xr.Dataset:
    low = source_data[["t2m", "u10"]].isel(time=[0]).coarsen(latitude=4, longitude=4).mean()
    return low.assign({n: low[n].assign_attrs(source_data[n].attrs) for n in low})


def fitted(module: DownscalingModule, store: str, trainer: L.Trainer) -> Model:
    trainer.fit(module, datamodule=WeatherDataModule(store=store, patch=(8, 8), batch_size=4, patches_per_step=4))
    return Model(module, "cpu")


def there_and_refused(model: Model, coarse: xr.Dataset, source: xr.Dataset, words: str) -> xr.Dataset:
    """A part of where it was trained; elsewhere it is refused; and then that part once more."""
    part: dict[str, Any] = {"region": (45, 90, 90, 200), "members": 2}
    found = model.downscale(coarse, **part)
    assert bool(np.isfinite(found.to_array()).all()) and found.sizes["latitude"] < 12
    with pytest.raises(FdsrError, match=words) as no:
        model.downscale(coarse, static=source)
    assert "\n" not in str(no.value)
    xr.testing.assert_identical(model.downscale(coarse, **part), found)
    return found


def test_a_dressed_baseline(
    north: str, coarse: xr.Dataset, source_data: xr.Dataset, quiet_trainer: MakeTrainer
) -> None:
    model = fitted(DressedModule(members=2), north, quiet_trainer(max_epochs=2, limit_val_batches=0))
    words = r"divides by the local deviation of its mean's error, which is known where it was measured alone \(12 lat"
    there_and_refused(model, coarse, source_data, words)


def test_a_climatological_local_scale(
    north: str, coarse: xr.Dataset, source_data: xr.Dataset, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, sampler=DPMSolverPP(2), local_scale="climatological")
    model = fitted(module, north, quiet_trainer(max_steps=1, max_epochs=-1, limit_val_batches=0))
    words = r"divides by a local scale, which is known .*--model\.local_scale predicted, or none"
    found = there_and_refused(model, coarse, source_data, words)
    # what is saved is the training's, wherever the model is at the moment
    again = fdsr.load(save_pretrained(model.module, tmp_path / "model"), "cpu")
    assert again.module.spec.shape == (12, 24)
    xr.testing.assert_equal(again.downscale(coarse, region=(45, 90, 90, 200), members=2), found)


def test_a_predicted_one_travels(
    north: str, coarse: xr.Dataset, source_data: xr.Dataset, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    network = TINY_UNET | {"time_embedding": False}
    first = RegressionModule(likelihood=GaussianLikelihood(), backbone_args=network)
    fitted(first, north, quiet_trainer(max_steps=1, max_epochs=-1, limit_val_batches=0))
    module = DDPMModule(
        backbone_args=TINY_UNET, sampler=DPMSolverPP(2), target="regression", local_scale="predicted",
        regression_ckpt=str(save_pretrained(first, tmp_path / "first")),
    )  # fmt: skip
    model = fitted(module, north, quiet_trainer(max_steps=1, max_epochs=-1, limit_val_batches=0))
    found = model.downscale(coarse, members=2, static=source_data)
    assert dict(found.sizes) == {"time": 1, "member": 2, "latitude": 24, "longitude": 48}
    assert bool(np.isfinite(found.to_array()).all())


def test_rows_that_close_the_circle_are_the_places(north: str, coarse: xr.Dataset, source_data: xr.Dataset) -> None:
    """Trained on a region, on the globe networks and transforms wrap; trained on the globe, on a region they do not."""
    module = DDPMModule(backbone_args=TINY_UNET, sampler=DPMSolverPP(1))
    module.attach(PairStore(north).spec)
    model = Model(module, "cpu")
    wide, narrow = torch.zeros(1, 1, 24, 48), torch.zeros(1, 1, 12, 24)
    assert not module.codec.wraps(narrow)
    model.downscale(coarse, members=1, static=source_data)
    assert module.codec.wraps(wide) and module.codec.spec.periodic
    model.downscale(coarse, members=1, region=PART)
    assert not module.codec.wraps(narrow)


def test_what_is_no_model_of_weather_fields(tmp_path: Path, source_data: xr.Dataset) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, sampler=DPMSolverPP(1), target="field")
    module.attach(ImageSpec(1, 8, 8, 8))
    with pytest.raises(FdsrError, match="DDPMModule was trained on images; only models of weather fields downscale"):
        fdsr.load(save_pretrained(module, tmp_path / "images"))
    with pytest.raises(FdsrError, match="is not a model folder"):
        fdsr.load(write_source(source_data, tmp_path / "store.zarr"))
