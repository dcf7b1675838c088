"""Two processes train one DDGAN: equal weights, each its own noise."""

from __future__ import annotations

from pathlib import Path

import ddp_ddgan
import pytest
import torch
from processes import side_by_side


@pytest.mark.slow
def test_ranks_stay_equal_and_draw_their_own_noise(tmp_path: Path) -> None:
    side_by_side(ddp_ddgan.main, tmp_path, "bf16-mixed")
    first, second = (torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in (0, 1))
    assert first["step"] == second["step"] == 6
    for part in ("state", "average"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part])
    # five draws a step; no two of them alike, in one rank or between the two
    draws = torch.cat([first["noise"], second["noise"]])
    assert len(draws) == 2 * 6 * 5 and len({tuple(d.tolist()) for d in draws}) == len(draws)
    # together the ranks drew images 0…5, none of them twice
    images = torch.cat([first["images"], second["images"]])
    assert len({tuple(i.flatten().tolist()) for i in images}) == 6
