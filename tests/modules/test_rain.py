"""The baselines of rain: RainFARM is pysteps' function, member by member; zeros, gaps and coarse means are kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from synthetic import TINY_UNET, pair_config, rain_source, randomise, write_source
from torch.utils.data import default_collate

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule, prepare
from fdsr.data.interpolate import HALO, add_halo
from fdsr.diffusion import DPMSolverPP
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DressedModule, RainFARMModule, RegressionModule
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.first_stage import FirstStage
from fdsr.modules.rainfarm import drawing_from
from fdsr.modules.seeding import generator
from fdsr.modules.settings import plain
from fdsr.modules.two_stages import measured


@pytest.fixture(scope="module")
def rain_store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    folder = tmp_path_factory.mktemp("rain")
    source = write_source(rain_source(missing=True), folder / "source.zarr")
    transforms = {"rain": {"name": "zero_inflated", "threshold": 0.1}}
    config = pair_config(source, variables=["rain"], static=[], missing="mask", transforms=transforms)
    return PairStore(prepare(config, folder / "pairs.zarr"))


@pytest.fixture(scope="module")
def batch(rain_store: PairStore) -> WeatherBatch:
    data = WeatherDataModule(store=rain_store.path, patch=None)
    data.setup("test")
    fields = data.fields("test")
    return torch.utils.data.default_collate([fields[i] for i in range(2)])  # type: ignore[no-any-return]


def attached(store: PairStore, **arguments: object) -> RainFARMModule:
    module = RainFARMModule(**arguments)  # type: ignore[arg-type]
    module.attach(store.spec)
    return module


def test_a_member_is_what_pysteps_makes(rain_store: PairStore, batch: WeatherBatch) -> None:
    rainfarm = pytest.importorskip("pysteps.downscaling.rainfarm")
    module = attached(rain_store, conserve="none")
    drawn = module.generate(batch, 3, 5)
    assert drawn.shape == (2, 3, 1, 32, 48)
    low = batch["low"][1, 0, HALO:-HALO, HALO:-HALO].numpy()
    state = generator("cpu", 5, "member", int(batch["time"][1]), 2, 0)
    with drawing_from(state.initial_seed()):
        expected = rainfarm.downscale(np.nan_to_num(low).astype(float), 4, threshold=0.1)
    expected[np.isnan(low).repeat(4, 0).repeat(4, 1)] = np.nan
    np.testing.assert_allclose(drawn[1, 2, 0], expected, rtol=1e-5)
    known = drawn.nan_to_num(0.0).flatten(0, 1).flatten(1)
    assert len(known.unique(dim=0)) == 6  # a noise for every time and member


def test_gaps_zeros_and_amounts(rain_store: PairStore, batch: WeatherBatch) -> None:
    pytest.importorskip("pysteps")
    low = batch["low"][:, 0, HALO:-HALO, HALO:-HALO]
    for conserve in ("none", "end"):
        drawn = attached(rain_store, conserve=conserve).generate(batch, 2, 0)[:, :, 0]
        missing = low.isnan()[:, None].repeat_interleave(4, -2).repeat_interleave(4, -1)
        assert torch.equal(drawn.isnan(), missing.expand_as(drawn)) and bool(missing.any())
        known = drawn[~drawn.isnan()]
        assert bool((known >= 0).all()) and 0.3 < float((known == 0).float().mean()) < 1
        dry = (low == 0)[:, None].repeat_interleave(4, -2).repeat_interleave(4, -1).expand_as(drawn)
        assert bool((drawn[dry] == 0).all()) and bool(dry.any())
    # the corrected one keeps the amounts of cells that are there as a whole
    whole = ~batch["high"].isnan()[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).any(-1).any(-1)
    area = torch.from_numpy(rain_store.spec.grid.row_areas.copy())[:, None].expand(32, 48)
    blocks = (drawn * area).unfold(2, 4, 4).unfold(3, 4, 4).sum((-2, -1)) / area.unfold(0, 4, 4).unfold(1, 4, 4).sum(
        (-2, -1)
    )
    departure = (blocks - low[:, None])[whole[:, None].expand_as(blocks)]
    assert float(departure.abs().max()) < 1e-4 * float(low[~low.isnan()].std())


def test_members_do_not_depend_on_how_they_are_drawn(rain_store: PairStore, batch: WeatherBatch) -> None:
    pytest.importorskip("pysteps")
    module = attached(rain_store, conserve="end")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = module.generate(batch, 4, 7)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    second = {k: v[1:] for k, v in batch.items()}
    torch.testing.assert_close(module.generate(second, [2, 3], 7), first[1:, 2:], equal_nan=True)  # type: ignore[arg-type]
    assert not torch.allclose(module.generate(batch, 4, 8), first, equal_nan=True)


def test_a_dry_field_stays_dry(rain_store: PairStore, batch: WeatherBatch) -> None:
    pytest.importorskip("pysteps")
    dry = batch | {"low": torch.zeros_like(batch["low"])}
    assert not attached(rain_store).generate(dry, 2, 0).any()  # type: ignore[arg-type]


def test_it_is_tested_like_any_method(rain_store: PairStore, quiet_trainer: Callable[..., L.Trainer]) -> None:
    pytest.importorskip("pysteps")
    data = WeatherDataModule(store=rain_store.path, patch=None)
    quiet_trainer(limit_test_batches=1).test(RainFARMModule(members=2), datamodule=data, verbose=False)
    with pytest.raises(FdsrError, match="RainFARM has nothing to train"):
        quiet_trainer(max_steps=1).fit(RainFARMModule(), datamodule=data)


def test_what_it_cannot_refine_is_refused(store: PairStore, source_path: str, tmp_path: Path) -> None:
    pytest.importorskip("pysteps")
    with pytest.raises(FdsrError, match="RainFARM is of amounts, and t2m, u10 may be negative"):
        attached(store)
    transforms = {"u10": {"name": "cbrt", "lower": 0}}
    oblong = PairStore(prepare(pair_config(source_path, factor=(2, 4), transforms=transforms), tmp_path / "pairs.zarr"))
    with pytest.raises(FdsrError, match="the factor is 2 × 4"):
        attached(oblong)


def test_without_pysteps_it_says_what_to_install(rain_store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysteps.downscaling.rainfarm", None)
    with pytest.raises(FdsrError, match=r"pip install 'fdsr\[rainfarm\]'"):
        attached(rain_store)


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_dry_coarse_cells_are_dry_unasked(tmp_path: Path, threshold: float) -> None:
    """Whatever the threshold, and though rain is not made to conserve."""
    transforms = {"rain": {"name": "zero_inflated", "threshold": threshold}}
    config = pair_config(
        write_source(rain_source(), tmp_path / "s.zarr"), variables=["rain"], static=[], transforms=transforms
    )
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    module = DDPMModule(backbone_args=TINY_UNET, sampler=DPMSolverPP(2), members=2)
    module.attach(store.spec)
    randomise(module)
    data = WeatherDataModule(store=store.path, patch=None)
    data.setup("test")
    batch = torch.utils.data.default_collate([data.fields("test")[0]])
    coarse = batch["low"][:, None, :, HALO:-HALO, HALO:-HALO]
    dry = (coarse <= 0).repeat_interleave(4, -2).repeat_interleave(4, -1)
    members = module.eval().generate(batch, 2)
    assert 0.1 < float(dry.float().mean()) < 0.9 and not bool(members[dry.expand_as(members)].any())
    assert float(members.max()) > 0


def test_dressed_rain_counts_errors_where_it_rains(tmp_path: Path, quiet_trainer: Callable[..., L.Trainer]) -> None:
    ds = rain_source()
    ds.rain[2] = 0  # a dry time, of which there is no spectrum
    source = write_source(ds, tmp_path / "source.zarr")
    transforms = {"rain": {"name": "zero_inflated", "threshold": 0.1}}
    config = pair_config(source, variables=["rain"], static=[], transforms=transforms)
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    module = DressedModule(smoothing=None, members=4, conserve="end")
    data = WeatherDataModule(store=store.path, patch=None)
    quiet_trainer(max_epochs=2, limit_val_batches=0).fit(module, datamodule=data)
    high, low = (torch.from_numpy(np.asarray(store.group[name][:10])) for name in ("high", "low"))
    batch: WeatherBatch = {"low": add_halo(low, False), "conditioning": torch.zeros(10, 3, 32, 48)}  # type: ignore[typeddict-item]
    mean = module.fields.restore(module.fields.encode(batch).base)
    error = module.fields.standardise(high) - module.fields.standardise(mean)
    wet = (low > 0).repeat_interleave(4, -2).repeat_interleave(4, -1)
    assert 0.2 < float(wet.float().mean()) < 0.8
    assert float(module.local_std) == pytest.approx(float(error[wet].square().mean().sqrt()), rel=1e-4)
    assert bool(module.power.isfinite().all()) and float(module.power.mean()) > 0
    fields = data.fields("test")
    drawn = module.generate(torch.utils.data.default_collate([fields[0]]), 4, 0)
    dry = (fields[0]["low"][..., HALO:-HALO, HALO:-HALO] == 0).repeat_interleave(4, -2).repeat_interleave(4, -1)
    assert not bool(drawn[0][:, dry].any()) and bool((drawn > 0).any())
    # and without that, nothing is drawn in dry cells but what interpolation leaves there
    module.conserve = "none"
    drawn = module.generate(torch.utils.data.default_collate([fields[0]]), 4, 0)
    assert bool((drawn[0][:, dry] == drawn[0][:1, dry]).all()) and not torch.equal(drawn[0, 0], drawn[0, 1])


@pytest.mark.parametrize("missing", [False, True])
def test_a_second_stage_counts_the_residual_where_it_rains(missing: bool, tmp_path: Path) -> None:
    """Over a regression that adds nothing, its statistics and x_0 are those of the residual over interpolation in the pair store."""
    source = write_source(rain_source(missing=missing), tmp_path / "source.zarr")
    transforms = {"rain": {"name": "zero_inflated", "threshold": 0.1}}
    how = {"missing": "mask"} if missing else {}
    store = prepare(
        pair_config(source, variables=["rain"], static=[], transforms=transforms, **how), tmp_path / "pairs.zarr"
    )
    data = WeatherDataModule(store=str(store), patch=(16, 24), batch_size=2)
    data.setup("fit")
    regression = RegressionModule(backbone_args=TINY_UNET | {"time_embedding": False})
    regression.attach(data.spec)
    nothing = torch.zeros(0, dtype=torch.float64)
    state, likelihood = regression.network.state_dict(), plain(regression.likelihood, "")
    stage = FirstStage(
        regression.backbone, regression.backbone_args, "residual", state, nothing, nothing, nothing, likelihood
    )
    stage = measured(stage, data.fields("train"))
    # the pair store's is of residuals before they are cut to single precision; its power is of all values together
    torch.testing.assert_close(stage.std.float(), data.spec.residual_std.float(), rtol=1e-4, atol=0)
    torch.testing.assert_close(stage.power.mean((1, 2)).float(), torch.ones(1), rtol=0.1, atol=0)
    of_store = data.spec.power_residual[0, 1:9, 1:9].log()
    torch.testing.assert_close(stage.power[0, 1:9, 1:9].log().mean().float(), of_store.mean().float(), atol=0.3, rtol=0)
    codec, plain_codec = FieldCodec(data.spec, "regression", stage=stage), FieldCodec(data.spec)
    for batch in (next(iter(data.train_dataloader())), default_collate([data.fields("train")[0]])):
        idle = codec.idle(batch)
        x_0, over_interpolation = (c.to_target(c.truth(batch), c.encode(batch)) for c in (codec, plain_codec))
        assert bool(idle.any()) and not bool(idle.all()) and not bool(x_0[idle].any())
        torch.testing.assert_close(x_0[~idle], over_interpolation[~idle], rtol=1e-3, atol=1e-5)
        known = codec.encode(batch).take(torch.tensor([0, 0]))
        assert torch.equal(codec.to_target(batch["high"][:1].expand(2, -1, -1, -1), known)[0], x_0[0])
