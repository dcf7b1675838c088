"""FieldCodec: to the network's units and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic import interpolate, make_source, pair_config, write_source

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule, prepare
from fdsr.data.values import CubeRoot
from fdsr.errors import FdsrError
from fdsr.modules.field_codec import FieldCodec


@pytest.fixture(scope="module")
def wet_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with precipitation, which is transformed and bounded below."""
    folder = tmp_path_factory.mktemp("wet")
    source = write_source(make_source(variables=("t2m", "tp")), folder / "source.zarr")
    transforms = {"tp": CubeRoot(1e-3, lower=0.0)}
    return str(prepare(pair_config(source, variables=["t2m", "tp"], transforms=transforms), folder / "pairs.zarr"))


def train_block(path: str) -> tuple[PairStore, WeatherBatch]:
    data = WeatherDataModule(store=path)
    data.setup("fit")
    assert data.store is not None
    fields = data.fields("train")
    return data.store, torch.utils.data.default_collate([fields[i] for i in range(len(fields))])


@pytest.mark.parametrize("target", ["residual", "full"])
@pytest.mark.parametrize("wet", [False, True])
def test_round_trip_and_unit_variance(target: str, wet: bool, store_path: str, wet_store: str) -> None:
    store, batch = train_block(wet_store if wet else store_path)
    codec = FieldCodec(store.spec, target)
    encoded = codec.encode(batch)
    x_0 = codec.to_target(batch["high"], encoded)
    assert encoded.base.shape == x_0.shape == (10, 2, 24, 48)
    assert encoded.condition.shape == (10, codec.condition_channels, 24, 48) == (10, 2 + 1 + 3, 24, 48)
    # what the network predicts has unit variance over the train block, whichever target
    torch.testing.assert_close(x_0.square().mean((0, 2, 3)), torch.ones(2), rtol=2e-3, atol=0)
    back = codec.from_target(x_0, encoded)
    for channel, scale in enumerate((280.0, 1e-3 if wet else 5.0)):
        torch.testing.assert_close(back[:, channel], batch["high"][:, channel], rtol=2e-5, atol=2e-5 * scale)


def test_base_is_the_interpolated_coarse_field(store_path: str) -> None:
    store, batch = train_block(store_path)
    codec = FieldCodec(store.spec)
    low = np.asarray(store.group["low"][:10])
    expected = interpolate(low, (4, 4), "bicubic", periodic=True)
    physical = codec.from_target(torch.zeros(10, 2, 24, 48), codec.encode(batch))
    np.testing.assert_allclose(physical, expected, rtol=1e-5, atol=1e-4)
    # the condition carries the same field in units of its own coarse statistics
    condition = codec.encode(batch).condition[:, :2]
    scaled = (expected - store.spec.low_mean.numpy()[:, None, None]) / store.spec.low_std.numpy()[:, None, None]
    np.testing.assert_allclose(condition, scaled, atol=1e-4)


def test_lower_bound_holds(wet_store: str) -> None:
    store, batch = train_block(wet_store)
    codec = FieldCodec(store.spec)
    fields = codec.from_target(5 * torch.randn(10, 2, 24, 48), codec.encode(batch))
    assert fields[:, 1].min() == 0 and fields[:, 0].min() > 0


def test_codec_keeps_out_of_the_state_dict(store: PairStore) -> None:
    assert FieldCodec(store.spec).state_dict() == {}


def test_wraps_only_on_whole_circles(store: PairStore) -> None:
    codec = FieldCodec(store.spec)
    assert codec.wraps(torch.zeros(1, 1, 24, 48)) and not codec.wraps(torch.zeros(1, 1, 8, 16))


def test_unknown_target(store: PairStore) -> None:
    with pytest.raises(FdsrError, match="residual, full"):
        FieldCodec(store.spec, "difference")
