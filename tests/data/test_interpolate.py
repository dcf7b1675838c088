"""Interpolation against a numpy formula, and patches against whole fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic import interpolate

from fdsr.data import PairStore
from fdsr.data.interpolate import HALO, add_halo, upsample
from fdsr.data.serving.datasets import FieldDataset, PatchDataset
from fdsr.data.serving.patches import PatchKey
from fdsr.errors import FdsrError


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("factor", [(4, 4), (2, 3), (5, 1)])
def test_upsample_is_the_formula(method: str, periodic: bool, factor: tuple[int, int]) -> None:
    low = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    fine = upsample(add_halo(torch.from_numpy(low), periodic), factor, method)
    assert fine.shape == (2, 3, 5 * factor[0], 7 * factor[1])
    np.testing.assert_allclose(fine.numpy(), interpolate(low, factor, method, periodic), atol=1e-12)


def test_halo_repeats_rows_and_wraps_columns() -> None:
    low = torch.arange(12.0).reshape(3, 4)
    wrapped, repeated = add_halo(low, True), add_halo(low, False)
    assert wrapped.shape == repeated.shape == (3 + 2 * HALO, 4 + 2 * HALO)
    assert wrapped[HALO].tolist() == [2, 3, 0, 1, 2, 3, 0, 1]
    assert repeated[HALO].tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
    for halo in (wrapped, repeated):
        assert torch.equal(halo[0], halo[HALO]) and torch.equal(halo[-1], halo[-HALO - 1])


def test_unknown_method() -> None:
    with pytest.raises(FdsrError, match="bilinear, bicubic"):
        upsample(torch.zeros(1, 1, 6, 6), (2, 2), "lanczos")


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (8, 16), (16, 28), (4, 40), (0, 44), (16, 32)])
def test_a_patch_sees_what_the_whole_field_has_there(store: PairStore, method: str, row: int, column: int) -> None:
    """Also across the date line (columns 40 and 44) and at both poles."""
    h, w = 8, 16
    patch = PatchDataset(store, (h, w))[PatchKey(3, row, column)]
    field = FieldDataset(store, (3, 4))[0]
    columns = np.arange(column, column + w) % store.spec.shape[1]
    for name in ("high", "conditioning"):
        assert torch.equal(patch[name], field[name][:, row : row + h][..., columns])
    whole = upsample(field["low"][None], store.spec.factor, method)[0]
    part = upsample(patch["low"][None], store.spec.factor, method)[0]
    torch.testing.assert_close(part, whole[:, row : row + h][..., columns], rtol=1e-6, atol=1e-4)
    assert patch["time"] == field["time"] and patch["index"] == 3
