"""Splits by region: windows of whole coarse cells with a gap between them, statistics of the training's alone, fields cut to theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import make_source, pair_config, write_source
from torch.utils.data import default_collate

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.making.checking import check_store
from fdsr.data.making.pair_grid import PairGrid
from fdsr.data.making.regions import split_windows
from fdsr.data.windows import Window
from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.modules import DressedModule

GLOBE = PairGrid(Grid(90 - 7.5 * (np.arange(24) + 0.5), 7.5 * np.arange(48.0)), (4, 4))
PART = PairGrid(Grid(60 - np.arange(40.0), -30 + np.arange(60.0)), (4, 4))
SPLIT = {"train": "lon:0/175", "val": "lon:208/235", "test": "lon:270/325"}


@pytest.fixture(scope="module")
def by_region(world: Path, source_path: str) -> PairStore:
    return PairStore(prepare(pair_config(source_path, split=SPLIT, gap=1), world / "by_region.zarr"))


@pytest.mark.parametrize(
    ("grid", "split", "windows"),
    [
        (PART, {"train": "lon:-30/-3", "test": "lon:9/40"}, {"train": (0, 40, 0, 28), "test": (0, 40, 40, 60)}),
        (PART, {"train": "lon:-29/-1", "test": "lon:9/40"}, {"train": (0, 40, 4, 28), "test": (0, 40, 40, 60)}),  # whole cells
        (PART, {"test": "lat:21/37", "train": "lat:45/60"}, {"test": (24, 40, 0, 60), "train": (0, 16, 0, 60)}),
        (GLOBE, {"train": "lon:-180/-60", "test": "lon:0/115"}, {"train": (0, 24, 24, 40), "test": (0, 24, 0, 16)}),
        (GLOBE, {"train": "lon:150/-150", "test": "lon:0/59"}, {"train": (0, 24, 20, 28), "test": (0, 24, 0, 8)}),  # over 180°
    ],
)  # fmt: skip
def test_windows_are_the_whole_cells_inside(grid: PairGrid, split: dict[str, str], windows: dict[str, tuple]) -> None:
    assert split_windows(grid, split, 2, "here") == windows


@pytest.mark.parametrize(
    ("grid", "split", "words"),
    [
        (PART, {"train": "lon:-30/0", "test": "lon:-10/20"}, "'train' and 'test' overlap"),
        (PART, {"train": "lon:-30/-3", "test": "lon:2/20"}, "are 1 coarse cells apart; gap is 2: move them apart, or set gap 1"),
        (PART, {"train": "lon:-30/0", "test": "lon:100/120"}, "lon:100/120 lies outside of 'here', which has 40 lat"),
        (PART, {"train": "lon:-30/-28", "test": "lon:9/40"}, "holds no whole coarse cell of 'here'"),
        (PART, {"train": "lon:-30/0", "test": "lat:30/40"}, "mixes axes"),
        (PART, {"train": "lon:-30/0", "test": 3}, "mixes axes"),
        (PART, {"train": "x:-30/0", "test": "x:4/40"}, "has the axes lat and lon; use these"),
        (PART, {"train": "lat:40/30"}, "ends before it begins"),
        (PART, {"train": "lon:40/30"}, "ends before it begins"),
        (PART, {"train": "lon:40"}, "is not like lon:-125/-100"),
        (PART, {"train": "lon:west/0"}, "is not like lon:-125/-100"),
        (GLOBE, {"train": "lon:300/30"}, "goes on across the edge of 'here' at 352.5°"),
        (GLOBE, {"train": "lon:0/175", "test": "lon:240/355"}, "'test' and 'train' are 0 coarse cells apart"),  # around the globe
    ],
)  # fmt: skip
def test_what_is_no_split_by_region(grid: PairGrid, split: dict[str, object], words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        split_windows(grid, split, 2, "here")


def test_regions_that_touch_are_refused(source_path: str) -> None:
    with pytest.raises(FdsrError, match="leave out at least 1 coarse cell"):
        pair_config(source_path, split=SPLIT, gap=0)
    assert pair_config(source_path, split=SPLIT, gap=None).apart == 2


def test_statistics_are_of_the_training_region_alone(
    by_region: PairStore, source_data: xr.Dataset, tmp_path: Path
) -> None:
    values = source_data.t2m.values[:, :, :24].astype(np.float64)
    assert by_region.windows["train"] == Window(0, 24, 0, 24)
    assert by_region.splits == {"train": (0, 18), "val": (0, 18), "test": (0, 18)}
    np.testing.assert_allclose(by_region.spec.high_mean[0], values.mean(), rtol=1e-9)
    np.testing.assert_allclose(by_region.spec.high_std[0], values.std(), rtol=1e-6)
    other = source_data.copy(deep=True)
    for name in ("t2m", "u10"):  # where nothing is trained
        other[name][:, :, 24:] = 2 * other[name][:, :, 24:] + 7
    source = write_source(other, tmp_path / "other.zarr")
    spec = PairStore(
        prepare(pair_config(source, split=SPLIT, gap=1), tmp_path / "other-pairs.zarr"), split="train"
    ).spec
    mine = PairStore(by_region.path, split="train").spec
    for name in ("high_mean", "low_std", "residual_std", "power_field", "power_residual", "power_local", "local_scale"):
        torch.testing.assert_close(getattr(spec, name), getattr(mine, name), rtol=0, atol=0)
    assert (
        mine.local_scale is not None
        and mine.local_scale.shape == (2, 24, 24)
        and bool(mine.local_scale.isfinite().all())
    )


def test_the_store_says_what_it_is(by_region: PairStore) -> None:
    assert by_region.group.attrs["config"]["split"] == SPLIT  # type: ignore[index, call-overload]
    table = check_store(by_region.path)
    assert (
        "24 lat points from 86.25 to -86.25 and 8 lon points from 270 to 322.5" in table
        and "that of its contents" in table
    )


def test_a_store_is_not_taken_for_another_split(by_region: PairStore, source_path: str) -> None:
    asked = {"source": source_path, "variables": ["t2m", "u10"], "static": ["orography"], "gap": 1}
    WeatherDataModule(by_region.path, split=SPLIT, **asked).setup("fit")
    with pytest.raises(FdsrError, match=r"prepared with split .*lon:270/325.*, not .*lon:300/325"):
        WeatherDataModule(by_region.path, split=SPLIT | {"test": "lon:300/325"}, **asked).setup("fit")


@pytest.mark.parametrize("context", [0, 1])
def test_patches_and_fields_stay_in_their_blocks(tmp_path: Path, context: int) -> None:
    """Fields that are their own longitude: nothing of one block is seen in another, in its surroundings and coarse cells neither."""
    ds = make_source(times=4)
    ds["t2m"][:] = np.arange(48.0) + 0.01 * np.arange(4).reshape(-1, 1, 1)
    ds["u10"][:] = np.random.default_rng(0).normal(size=ds.u10.shape)
    store = prepare(pair_config(write_source(ds, tmp_path / "s.zarr"), split=SPLIT, gap=1), tmp_path / "p.zarr")
    data = WeatherDataModule(
        str(store), patch=(8, 8), batch_size=4, patches_per_step=16, context=context, position=False
    )
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch["high"][:, 0].min() >= 0 and batch["high"][:, 0].max() < 24
        assert batch["low"][:, 0].min() > 1 and batch["low"][:, 0].max() < 22.1  # means of four columns
        assert batch["columns"].min() >= 0 and batch["columns"].max() < 24
    home = data.spec
    for split, first, last in (("val", 28, 32), ("test", 36, 44)):
        field = data.fields(split)[1]
        np.testing.assert_allclose(field["high"][0, 0], np.arange(first, last) + 0.01, atol=1e-5)
        means = np.arange(first, last, 4) + 1.51
        np.testing.assert_allclose(field["low"][0, 4], [means[0]] * 2 + [*means] + [means[-1]] * 2, atol=1e-5)
        spec = data.fields(split).spec
        assert spec.grid.columns.tolist() == (7.5 * np.arange(first, last)).tolist() and spec.local_scale is None
        assert spec.static_mean is home.static_mean and torch.equal(spec.high_mean, home.high_mean)


def test_fit_and_test_go_to_the_regions(
    by_region: PairStore, program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    """Validation in another region than training, of another size, by the loss and by ensembles; then the test in a third."""
    callback = {"class_path": "fdsr.callbacks.EnsembleCallback", "init_args": {"every_n_steps": 1, "times": 1}}
    config = configure(
        "FourierDDPMModule",
        data__split=SPLIT,
        data__position=False,
        trainer__val_check_interval=1,
        trainer__check_val_every_n_epoch=None,
        trainer__max_steps=2,
        trainer__callbacks=[callback],
    )
    assert program("fit", "--config", config, "--run", tmp_path / "run") == 0
    assert (
        program(
            "test",
            "--config",
            config,
            "--run",
            tmp_path / "run",
            "--ckpt_path",
            tmp_path / "run/checkpoints/last.ckpt",
            "--blocks",
            8,
        )
        == 0
    )
    with xr.open_dataset(tmp_path / "run" / "test_example.nc") as example:
        assert example.lon.values.tolist() == (7.5 * np.arange(36, 44)).tolist()
    with xr.open_dataset(tmp_path / "run" / "test_blocks.nc") as blocks:
        assert blocks.sizes["block"] == 18 * 3 and set(blocks.row.values) == {0, 1, 2}  # of 24 × 8 points
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "val_loss" in lines and "fdsr/crps/t2m" in lines


def test_what_is_known_of_one_place_alone_does_not_travel(
    by_region: PairStore, program: Callable[..., int], configure: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:  # fmt: skip
    config = configure("DDPMModule", data__split=SPLIT, trainer__max_steps=1, model__local_scale="climatological")
    assert program("fit", "--config", config, "--run", tmp_path / "run") == 2
    assert "the model divides by a local scale, which is known where it was measured alone" in capsys.readouterr().err
    config = configure("DressedModule", data__split=SPLIT, name="dressed", trainer__max_epochs=2, model__smoothing=None)
    assert program("fit", "--config", config, "--run", tmp_path / "dressed") == 0
    checkpoint = tmp_path / "dressed" / "checkpoints" / "last.ckpt"
    assert program("test", "--config", config, "--run", tmp_path / "dressed", "--ckpt_path", checkpoint) == 0


def test_dressing_in_the_errors_of_another_region(
    by_region: PairStore, source_path: str, quiet_trainer: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    """Errors are of the validation block's place, and the model is at home again when its training ends."""
    split = {"train": "lon:0/85", "val": "lon:105/205", "test": "lon:225/325"}
    store = PairStore(prepare(pair_config(source_path, split=split, gap=1), tmp_path / "wide.zarr"), split="train")
    module = DressedModule(smoothing=None, errors="val")
    data = WeatherDataModule(store.path, patch=(8, 8), position=False)
    quiet_trainer(max_epochs=2).fit(module, datamodule=data)
    squares, std = [], store.spec.high_std[:, None, None]
    for field in (data.fields("val")[i] for i in range(len(data.fields("val")))):
        with module.at_split("val"):
            error = (torch.as_tensor(field["high"]) - module.mean_module.generate(default_collate([field]))[0, 0]) / std
        squares.append(error.square().mean((1, 2)))
    torch.testing.assert_close(
        module.local_std[:, 0, 0], torch.stack(squares).mean(0).sqrt().float(), rtol=1e-4, atol=0
    )
    assert module.spec is module.home and module.spec.grid.columns[0] == 0

    with pytest.raises(FdsrError, match=r"smaller than the tiles of \(24, 24\).*set model.errors to train"):
        narrow = WeatherDataModule(by_region.path, patch=(8, 8), position=False)
        quiet_trainer(max_epochs=2).fit(DressedModule(smoothing=None, errors="val"), datamodule=narrow)


def test_a_region_smaller_than_a_patch(by_region: PairStore) -> None:
    data = WeatherDataModule(by_region.path, patch=(8, 32), position=False)
    data.setup("fit")
    with pytest.raises(FdsrError, match="patch"):
        data.train_dataloader()


def test_the_file_is_the_one_that_is_meant(tmp_path: Path) -> None:
    source = tmp_path / "source.nc"
    make_source().to_netcdf(source)
    right = hashlib.sha256(source.read_bytes()).hexdigest()
    store = prepare(pair_config(str(source), sha256=right.upper(), origin="a shelf"), tmp_path / "a.zarr")
    plain = prepare(pair_config(str(source)), tmp_path / "b.zarr")
    assert PairStore(store).group.attrs["config"]["sha256"] == right  # type: ignore[index, call-overload]
    assert PairStore(store).spec.fingerprint == PairStore(plain).spec.fingerprint  # the values are what counts
    wrong = "0" * 64
    with pytest.raises(
        FdsrError, match=f"has the sha256 {right}, not {wrong} as the configuration says; take it anew from a shelf"
    ):
        prepare(pair_config(str(source), sha256=wrong, origin="a shelf"), tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()
    with pytest.raises(FdsrError, match=r"does not exist; put it there from a shelf"):
        prepare(pair_config(str(tmp_path / "no.nc"), sha256=wrong, origin="a shelf"), tmp_path / "c.zarr")
    with pytest.raises(FdsrError, match="is of one file"):
        prepare(pair_config(str(tmp_path), sha256=wrong), tmp_path / "c.zarr")
    with pytest.raises(FdsrError, match="64 hexadecimal digits"):
        pair_config(str(source), sha256="abc")
