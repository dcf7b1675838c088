"""The transformer's own promises: rotary positions."""

import math

import pytest
import torch

from fdsr.backbones import build_backbone
from fdsr.backbones.dit import rotary_angles, rotate


def test_rotary_scores_depend_on_differences_alone() -> None:
    q, k = torch.randn(8), torch.randn(8)
    angles = rotary_angles(4, 5, 8, wrap=False)
    turned_q, turned_k = (rotate(v.expand(20, 8), angles).reshape(4, 5, 8) for v in (q, k))
    here = turned_q[0, 1] @ turned_k[2, 3]
    there = turned_q[1, 2] @ turned_k[3, 4]
    torch.testing.assert_close(here, there)
    assert (here - turned_q[0, 1] @ turned_k[2, 2]).abs() > 1e-3


@pytest.mark.parametrize("columns", [1, 2, 7, 90])
def test_rotary_columns_close_the_circle(columns: int) -> None:
    angles = rotary_angles(1, columns, 16, wrap=True)[:, 4:]
    step = angles[1] if columns > 1 else angles[0]
    turns = columns * step / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)


def test_rotary_rows_come_before_columns() -> None:
    angles = rotary_angles(3, 4, 8, wrap=False).reshape(3, 4, 4)
    torch.testing.assert_close(angles[2, 3], torch.tensor([2.0, 0.02, 3.0, 0.03]))


def test_impossible_settings_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match="width 20 must be a multiple of 4 · heads = 16"):
        build_backbone("dit", in_channels=3, out_channels=2, width=20)
