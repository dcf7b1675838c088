import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.errors import FdsrError
from fdsr.metrics import CoarseConsistency

from .fields import sample, weights


def coarsened(field: np.ndarray, w: np.ndarray, fy: int, fx: int) -> np.ndarray:
    """Block by block, the slow way: field (H, W), w (H,)."""
    h, v = field.shape[0] // fy, field.shape[1] // fx
    out = np.empty((h, v))
    for i in range(h):
        for j in range(v):
            block = field[i * fy : (i + 1) * fy, j * fx : (j + 1) * fx].mean(1)
            out[i, j] = np.average(block, weights=w[i * fy : (i + 1) * fy])
    return out


@settings(deadline=None, max_examples=10)
@given(fy=st.sampled_from([1, 2, 3, 4]), fx=st.sampled_from([1, 2, 3, 4]))
def test_against_block_by_block(fy: int, fx: int) -> None:
    p, _ = sample()
    w = weights().numpy()
    low = torch.randn(3, 2, 24 // fy, 36 // fx, generator=torch.Generator().manual_seed(7)) + 280
    coarse = np.array([[[coarsened(c, w, fy, fx) for c in m] for m in t] for t in p.double().numpy()])
    coarse_w = w.reshape(-1, fy).sum(1)[:, None] * np.ones(36 // fx)
    squares = ((coarse - low.double().numpy()[:, None]) ** 2).mean((0, 1))
    expected = np.sqrt([np.average(s, weights=coarse_w) for s in squares])
    rows = CoarseConsistency(weights(), (fy, fx), 2)
    cells = CoarseConsistency(weights()[:, None].expand(24, 36), (fy, fx), 2)
    for metric in (rows, cells):
        metric.update(p, low)
        np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-11)


def test_zero_for_what_low_was_made_from() -> None:
    p, _ = sample(members=1)
    metric = CoarseConsistency(weights(), 4, 2)
    metric.update(p, metric.coarsen(p[:, 0]))
    assert (metric.compute() == 0).all()


def test_errors() -> None:
    with pytest.raises(FdsrError, match="not a multiple"):
        CoarseConsistency(weights(), 5)
    with pytest.raises(FdsrError, match="low-resolution input of shape"):
        CoarseConsistency(weights(), 4, 2).update(sample()[0], torch.zeros(3, 2, 6, 8))


def test_masked_cells_and_missing_low() -> None:
    p, _ = sample()
    low = torch.randn(3, 2, 6, 9, generator=torch.Generator().manual_seed(7)) + 280
    masked = torch.zeros(3, 2, 24, 36, dtype=torch.bool)
    masked[0, 0, 5, 6] = True  # coarse cell (1, 1) of one time and variable
    missing = low.clone()
    missing[2, 1, 3, 4] = torch.nan
    broken = p.clone()
    broken[0, :, 0, 5, 6] = torch.nan  # what stands under the mask
    metric = CoarseConsistency(weights(), 4, 2)
    metric.update(broken, missing, masked)
    w = weights().numpy().reshape(-1, 4).sum(1)[:, None] * np.ones(9)
    coarse = metric.coarsen(p).numpy()
    for c, hole in ((0, (0, 1, 1)), (1, (2, 3, 4))):
        weight = np.broadcast_to(w, (3, 5, 6, 9)).copy()
        weight[hole[0], :, hole[1], hole[2]] = 0.0
        square = (coarse[:, :, c] - low[:, None, c].double().numpy()) ** 2
        assert metric.compute()[c].item() == pytest.approx(np.sqrt(np.average(square, weights=weight)), rel=1e-11)
