"""Images as networks take them: quantised once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdsr.metrics.images.features import quantise


@given(st.floats(-1.5, 1.5, width=32))
def test_quantisation(x: float) -> None:
    expected = np.uint8(np.clip(np.rint(np.float32(x) * np.float32(127.5) + np.float32(127.5)), 0, 255))
    found = quantise(torch.tensor([x]))
    assert found.dtype == torch.uint8 and found.item() == expected


def test_quantisation_restores_every_byte() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    torch.testing.assert_close(quantise(levels.float() / 127.5 - 1), levels)
    assert quantise(torch.tensor([1.004, 7.0, -1.004])).tolist() == [255, 255, 0]  # never wraps
