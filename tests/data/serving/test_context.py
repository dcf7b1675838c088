"""Patches in their surroundings: the same patch inside a window of the grid, which ends where the grid does."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.data.serving.context import Surroundings
from fdsr.data.serving.datasets import PatchDataset
from fdsr.data.serving.patches import PatchKey, PatchSampler
from fdsr.errors import FdsrError
from fdsr.modules.masking import Inner

H, W = 24, 48


@cache
def opened(path: str) -> PairStore:
    return PairStore(path)


def cut(batch: WeatherBatch, name: str) -> torch.Tensor:
    return Inner(batch["inner_rows"], batch["inner_columns"])(cast(Any, batch)[name])


@settings(max_examples=60)
@given(
    h=st.integers(1, 6), w=st.integers(1, 12), context=st.integers(1, 9), epoch=st.integers(0, 9), shift=st.booleans(),
    flips=st.sampled_from([(), ("longitude",), ("latitude", "longitude")]),
)  # fmt: skip
def test_the_patch_in_the_window_is_the_patch(
    store_path: str, h: int, w: int, context: int, epoch: int, shift: bool, flips: tuple[str, ...]
) -> None:
    """Whatever is drawn, across the date line, at the poles, shifted and mirrored."""
    store, patch = opened(store_path), (4 * h, 4 * w)
    sampler = PatchSampler((0, 3), (H, W), patch, (4, 4), True, 2, seed=1, shift=shift, flips=flips)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    surroundings = Surroundings((H, W), patch, (4, 4), True, context, shift)
    plain = PatchDataset(store, patch).__getitems__(keys)
    wide = PatchDataset(store, patch, surroundings).__getitems__(keys)
    assert wide["high"].shape[-2:] == surroundings.size
    for name in ("high", "conditioning"):
        torch.testing.assert_close(cut(wide, name), cast(Any, plain)[name], rtol=0, atol=0)
    # the coarse cells of patch and halo are among those of window and halo, but where rows beyond the poles repeat the last
    for j, key in enumerate(keys):
        row, column = int(wide["inner_rows"][j, 0]) // 4, int(wide["inner_columns"][j, 0]) // 4
        found = wide["low"][j, :, row : row + h + 4, column : column + w + 4]
        assert torch.equal(found[:, 2:-2], plain["low"][j][:, 2:-2])
        assert int(wide["index"][j]) == key.time


@settings(max_examples=60)
@given(
    row=st.integers(0, 4), column=st.integers(0, 8), context=st.integers(0, 12), periodic=st.booleans(), shift=st.integers(0, 3)
)  # fmt: skip
def test_windows_reach_as_far_as_asked_and_as_there_is(
    row: int, column: int, context: int, periodic: bool, shift: int
) -> None:
    surroundings = Surroundings((H, W), (8, 16), (4, 4), periodic, context, shift=True)
    assert surroundings.size == (min(8 + 8 * context, 20), min(16 + 8 * context, W if periodic else W - 4))
    shift = min(shift, 4 * (4 - row)) if row < 4 else 0
    key = PatchKey(0, 4 * row, 4 * min(column, 7), shift, shift if column < 7 else 0)
    window, rows, columns = surroundings.around(key)
    (height, width), before = surroundings.size, 4 * context
    assert (window.row + rows[0], len(rows)) == (key.row, 8) and rows[-1] < height and rows[0] >= 0
    assert window.row >= 0 and window.row + shift + height <= H
    # as far as asked on both sides, unless the grid ends there or the window is as large as the grid
    assert rows[0] == before or window.row == 0 or window.row + height == (H - shift) // 4 * 4 or height == 20
    assert (window.column + columns[0]) % W == key.column and columns[0] >= 0 and columns[-1] < width
    if periodic:
        assert min(columns[0], width - 1 - columns[-1]) >= min(before, (width - 16) // 8 * 4)
    else:
        assert window.column >= 0 and window.column + key.column_shift + width <= W


def test_mirrored_windows_hold_mirrored_patches(store_path: str) -> None:
    surroundings = Surroundings((H, W), (8, 16), (4, 4), True, 1)
    key = PatchKey(3, 0, 40)
    dataset = PatchDataset(opened(store_path), (8, 16), surroundings)
    plain, mirrored = (dataset.__getitems__([k]) for k in (key, key._replace(flip_rows=True, flip_columns=True)))
    sign = torch.tensor([1.0, -1.0])[:, None, None]  # u10 is reversed
    assert torch.equal(mirrored["high"], plain["high"].flip(-2, -1) * sign)
    assert plain["inner_rows"][0, 0] == 0 and mirrored["inner_rows"][0, -1] == 15  # the pole stays the window's edge
    assert torch.equal(cut(mirrored, "high"), cut(plain, "high").flip(-2, -1) * sign)


def test_batches_of_the_data_module(store_path: str) -> None:
    data = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=4, patches_per_step=4, context=1)
    data.setup("fit")
    batch = cast(WeatherBatch, next(iter(data.train_dataloader())))
    assert batch["high"].shape == (4, 2, 16, 24) and batch["low"].shape == (4, 2, 4 + 4, 6 + 4)
    assert batch["inner_rows"].shape == (4, 8) and batch["inner_columns"].shape == (4, 16)
    assert all("inner_rows" not in b for b in (*data.val_dataloader(), *data.test_dataloader()))
    with pytest.raises(FdsrError, match=r"data.context is -1"):
        WeatherDataModule(store=store_path, context=-1)


def test_copies_of_a_batch_are_cut_alike() -> None:
    rows, columns = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1, 2, 3], [0, 1, 2]])
    x = torch.randn(6, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    out = Inner(rows, columns)(x)
    literal = torch.stack([x[i][:, rows[i % 2]][..., columns[i % 2]] for i in range(6)])
    assert torch.equal(out, literal)
    # R1 differentiates twice
    assert torch.autograd.gradgradcheck(Inner(rows, columns), (x,))
    assert np.prod(out.shape) == 6 * 2 * 2 * 3
