"""Members that coarsen to the coarse field: exactness, what is kept, what is refused, and the nearest field it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from synthetic import TINY_DDGAN, TINY_UNET, make_source, pair_config, rain_source, randomise, write_source
from torch import Tensor

from fdsr.data import PairStore, WeatherBatch, prepare
from fdsr.data.coarsen import coarsen
from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO, add_halo
from fdsr.data.serving.datasets import FieldDataset
from fdsr.data.values import ZeroInflated
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DownscalingModule, DressedModule
from fdsr.modules.conservation import Conservation

Build = Callable[..., DownscalingModule]
TIMELESS = TINY_UNET | {"time_embedding": False}


@pytest.fixture(scope="module")
def wet(world: Path) -> PairStore:
    """A store of pressure and precipitation, of which half is dry, under a cube root."""
    source = write_source(make_source(variables=("msl", "tp"), poles=False), world / "wet.zarr")
    config = pair_config(source, variables=["msl", "tp"], transforms={"tp": {"name": "cbrt", "lower": 0.0}})
    return PairStore(str(prepare(config, world / "wet_pairs.zarr")))


def batch_of(store: PairStore) -> WeatherBatch:
    fields = FieldDataset(store, (0, 2))
    return cast(WeatherBatch, torch.utils.data.default_collate([fields[i] for i in range(2)]))


def departure(store_spec: FieldSpec, fields: Tensor, low: Tensor) -> np.ndarray:
    """Largest distance of the coarsened fields (N, C, H, W) from their coarse ones, in deviations of each variable."""
    coarse = coarsen(fields.numpy().astype(np.float64), store_spec.grid.row_areas, store_spec.factor)
    error = np.abs(coarse - low[..., HALO:-HALO, HALO:-HALO].numpy()[:, store_spec.base_index])
    return np.asarray(error.max((0, 2, 3)) / fields.std((0, 2, 3)).numpy())


@pytest.mark.parametrize("conserve", ["end", "steps"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("FourierDDPMModule", {}),
        ("DDPMModule", {"local_scale": "climatological"}),
        ("DDGANModule", TINY_DDGAN),
        ("CRPSModule", {"backbone_args": TIMELESS}),
        ("RegressionModule", {}),
        ("InterpolationModule", {}),
        ("DressedModule", {}),
    ],
)
def test_every_method_conserves(
    build: Build, field_batch: WeatherBatch, name: str, arguments: dict, conserve: str
) -> None:
    module = build(name, **arguments, conserve=conserve)
    if isinstance(module, DressedModule):
        module.local_std.fill_(0.1)
    members = module.generate(field_batch, 2, 0)
    for m in range(members.shape[1]):
        assert (departure(module.spec, members[:, m], field_batch["low"]) < 1e-4).all()
    module.conserve = "none"
    assert (departure(module.spec, module.generate(field_batch, 2, 0)[:, 0], field_batch["low"]) > 1e-2).all()


@pytest.mark.parametrize("conserve", ["end", "steps"])
def test_rain_stays_positive_and_dry_stays_dry(wet: PairStore, conserve: str) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, conserve=conserve)  # type: ignore[arg-type]
    module.attach(wet.spec)
    randomise(module.eval())
    batch = batch_of(wet)
    members = module.generate(batch, 2, 0)
    rain, coarse = members[:, :, 1], batch["low"][:, 1, HALO:-HALO, HALO:-HALO]
    assert (departure(wet.spec, members[:, 0], batch["low"]) < 1e-4).all()
    assert float(rain.min()) >= 0
    dry = (coarse == 0).repeat_interleave(4, -2).repeat_interleave(4, -1)
    assert 0.02 < float(dry.float().mean()) < 0.9
    assert not bool(rain[dry[:, None].expand_as(rain)].any())


@pytest.fixture
def project(wet: PairStore) -> Callable[[Tensor, Tensor], Tensor]:
    """Projection of fields (N, 2, 24, 48) onto coarse ones (N, 2, 6, 12)."""
    conservation = Conservation(wet.spec)
    return lambda fields, coarse: conservation(fields, add_halo(coarse, True))


def test_zeros_stay_zeros_and_blocks_that_should_be_wet_are_filled_evenly(project: Any) -> None:
    fields, coarse = torch.rand(1, 2, 24, 48), torch.full((1, 2, 6, 12), 0.5)
    fields[0, 1, :, 1::2] = 0
    fields[0, 1, :4, :4] = 0  # drawn dry, and should be wet
    coarse[0, 1, 1, 1] = 0  # should be dry
    rain = project(fields, coarse)[0, 1]
    assert not bool(rain[4:, 1::2].any()) and not bool(rain[4:8, 4:8].any())
    torch.testing.assert_close(rain[:4, :4], torch.full((4, 4), 0.5))
    ratio = rain[8:12, 8:12:2] / fields[0, 1, 8:12, 8:12:2]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand(4, 2))  # its pattern is kept


@pytest.fixture(scope="module")
def radar(world: Path) -> PairStore:
    """A store of rain with exact zeros and a corner without values."""
    source = write_source(rain_source(missing=True), world / "radar.zarr")
    transforms = {"rain": {"name": "zero_inflated", "threshold": 0.1}}
    config = pair_config(source, variables=["rain"], static=[], missing="mask", transforms=transforms)
    return PairStore(str(prepare(config, world / "radar_pairs.zarr")))


@pytest.mark.parametrize("conserve", ["end", "steps"])
def test_rain_with_a_threshold_keeps_amounts_and_zeros(radar: PairStore, conserve: str) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, conserve=conserve)  # type: ignore[arg-type]
    module.attach(radar.spec)
    randomise(module.eval())
    batch = batch_of(radar)
    assert radar.spec.present is not None
    members = torch.where(radar.spec.present, module.generate(batch, 2, 0), torch.nan)
    for m in range(2):
        coarse = coarsen(members[:, m].numpy().astype(np.float64), radar.spec.grid.row_areas, (4, 4))
        low = batch["low"][..., HALO:-HALO, HALO:-HALO].numpy()
        assert np.array_equal(np.isnan(coarse), np.isnan(low))
        assert np.nanmax(np.abs(coarse - low)) < 1e-4 * np.nanstd(low)
        dry = (low == 0).repeat(4, -2).repeat(4, -1)
        assert 0.2 < dry.mean() < 0.9 and not np.nan_to_num(members[:, m].numpy()[dry]).any()
    known = members[~members.isnan()]
    assert float(known.min()) == 0 and 0.3 < float((known == 0).float().mean()) < 0.95
    # what a block has is no less than the threshold, unless it is all that it has
    low = torch.from_numpy(radar.group["low"][:1]).nan_to_num(0.0)  # type: ignore[index]
    holds = (low * 16 >= 0.1).repeat_interleave(4, -2).repeat_interleave(4, -1)
    below = (members > 0) & (members < 0.0999) & holds
    assert not bool(below.any())


def test_small_amounts_go_to_larger_ones_and_empty_blocks_are_filled_towards_their_neighbours(radar: PairStore) -> None:
    conservation = Conservation(replace(radar.spec, present=None))
    low = torch.zeros(1, 1, 8, 12)
    low[0, 0, 2, 3], low[0, 0, 2, 4], low[0, 0, 5, 5], low[0, 0, 6, 8] = 2.0, 0.04, 0.03, 0.001
    fields = torch.zeros(1, 1, 32, 48)
    fields[0, 0, 8:12, 12:16] = 3.0  # far from the threshold
    fields[0, 0, 20:24, 20:24] = torch.arange(16.0).view(4, 4)  # as drizzle everywhere, when scaled
    out = conservation(fields, add_halo(low, False))[0, 0]
    torch.testing.assert_close(out[8:12, 12:16], torch.full((4, 4), 2.0))
    # drawn dry: as many points as reach 0.1 mm/h, in the column next to the wet block
    filled = out[8:12, 16:20]
    assert int((filled > 0).sum()) == 6 and bool((filled[:, 0] > 0).all()) and not bool(filled[:, 2:].any())
    thinned = out[20:24, 20:24]
    assert 1 <= int((thinned > 0).sum()) <= 4 and float(thinned[thinned > 0].min()) >= 0.1
    # nor do points that are equally wet keep each other below it
    equal = conservation(torch.full((1, 1, 32, 48), 0.1), add_halo(low, False))[0, 0]
    assert float(equal[20:24, 20:24].max()) >= 0.1 and not bool(
        ((equal[20:24, 20:24] > 0) & (equal[20:24, 20:24] < 0.1)).any()
    )
    # too little for a single point: one has it all
    assert int((out[24:28, 32:36] > 0).sum()) == 1
    coarse = coarsen(out[None].numpy().astype(np.float64), radar.spec.grid.row_areas, (4, 4))
    np.testing.assert_allclose(coarse, low[0], atol=1e-6)


def test_the_correction_is_the_nearest(wet: PairStore, project: Any) -> None:
    """A field with the right means is left alone, and the correction is orthogonal to all that does not change means."""
    fields, coarse = torch.randn(1, 2, 24, 48).double().float(), torch.randn(1, 2, 6, 12).abs()
    once = project(fields, coarse)
    torch.testing.assert_close(project(once, coarse), once, rtol=1e-5, atol=1e-5)
    other = project(torch.randn(1, 2, 24, 48), coarse)
    area = torch.from_numpy(wet.spec.grid.row_areas)[:, None]
    change, along = (once - fields)[0, 0].double(), (other - once)[0, 0].double()
    product = float((area * change * along).sum())
    assert abs(product) < 1e-5 * float((area * change**2).sum() * (area * along**2).sum()) ** 0.5


def test_gaps_do_not_count(wet: PairStore) -> None:
    """Means are those of the points that are ever present, and a coarse cell that is missing changes nothing."""
    present = torch.ones(2, 24, 48, dtype=torch.bool)
    present[:, :2, :2] = False
    conservation = Conservation(replace(wet.spec, present=present))
    fields, coarse = torch.randn(1, 2, 24, 48), torch.ones(1, 2, 6, 12)
    coarse[..., 2, 2] = torch.nan
    out = conservation(fields, add_halo(coarse, True))
    torch.testing.assert_close(out[..., 8:12, 8:12], fields[..., 8:12, 8:12])
    known = torch.where(present, out, torch.nan)[0].numpy()
    found = coarsen(known, wet.spec.grid.row_areas, (4, 4))
    np.testing.assert_allclose(np.delete(found.reshape(2, -1), 2 * 12 + 2, 1), 1.0, atol=1e-5)


def test_variables_without_a_coarse_one_stay_as_they_are(wet: PairStore) -> None:
    spec = replace(wet.spec, low_channels=["tp", "other"])
    fields, coarse = torch.rand(1, 2, 24, 48), torch.ones(1, 2, 6, 12)
    out = Conservation(spec)(fields, add_halo(coarse, True))
    assert torch.equal(out[:, 0], fields[:, 0]) and not torch.equal(out[:, 1], fields[:, 1])
    with pytest.raises(FdsrError, match="no variable has a coarse one of its name"):
        Conservation(replace(wet.spec, low_channels=["one", "other"]))


def test_members_conserve_by_themselves_where_there_is_something_to_conserve(
    wet: PairStore, build: Build, field_batch: WeatherBatch
) -> None:
    """`auto` is `end` on coarse fields that are block means, but for rain, and nothing on others; interpolation stays plain."""
    module = build("DDPMModule")
    assert module.conserve == "auto" and module.conserves == "end"
    by_itself = module.generate(field_batch, 2, 0)
    assert module.conserving({"rows": torch.arange(8)}) is None  # of a patch
    module.conserve = "end"
    assert torch.equal(by_itself, module.generate(field_batch, 2, 0))
    rain = DDPMModule(backbone_args=TINY_UNET)
    rain.attach(wet.spec)
    batch, conservation = batch_of(wet), rain.conserving({})
    assert conservation is not None and rain.conserves == "end"
    drawn = torch.rand(2, 2, 24, 48)
    kept = conservation(drawn, batch["low"])
    assert torch.equal(kept[:, 1], drawn[:, 1]) and not torch.equal(kept[:, 0], drawn[:, 0])
    rain._recode(replace(wet.spec, high_transforms=[wet.spec.high_transforms[1]] * 2), None)
    assert rain.conserves == "none" and rain.conserving({}) is None
    # of rain with a threshold dry cells are made dry, and nothing else
    rain._recode(replace(wet.spec, high_transforms=[ZeroInflated(scale=1.0, threshold=0.1)] * 2), None)
    conservation = rain.conserving({})
    assert conservation is not None and rain.conserves == "end"
    drawn, coarse = torch.rand(1, 2, 24, 48), torch.rand(1, 2, 6, 12) + 0.1
    coarse[0, :, 2, 3] = 0.0
    kept = conservation(drawn, add_halo(coarse, True))
    assert not kept[..., 8:12, 12:16].any()
    drawn[..., 8:12, 12:16] = 0
    assert torch.equal(kept, drawn)
    for changes in ({"independent_low": True}, {"low_channels": ["one", "other"]}):
        elsewhere = DDPMModule(backbone_args=TINY_UNET)
        elsewhere.attach(replace(wet.spec, **changes))
        assert elsewhere.conserves == "none" and elsewhere.conserving({}) is None
    assert build("InterpolationModule").conserves == "none"


def test_what_is_refused(wet: PairStore, build: Build) -> None:
    with pytest.raises(FdsrError, match="not block means of the fine ones; leave it at auto, or none"):
        Conservation(replace(wet.spec, independent_low=True))
    with pytest.raises(FdsrError, match="conserve 'always' is unknown; choose one of auto, none, end, steps"):
        build("DDPMModule", conserve="always")
