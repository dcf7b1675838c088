"""Finding the value that must not be missing, so that an error can name its place."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.grids import Grid


def require_scorable(prediction: Tensor, truth: Tensor, name: str, time: str, grid: Grid) -> None:
    """Check one variable at one time: members (M, H, W) and truth (H, W) on `grid`.

    Raises:
        FdsrError: a predicted value is NaN or infinite in a cell that counts (truth is not NaN), or a true value is
            infinite; names variable, time, how many, and the first place.
    """
    _refuse(~torch.isfinite(prediction) & ~truth.isnan(), "prediction", name, time, grid)
    _refuse(truth.isinf()[None], "truth", name, time, grid)


def _refuse(bad: Tensor, what: str, name: str, time: str, grid: Grid) -> None:
    if not bool(bad.any()):
        return
    member, row, column = (int(i) for i in bad.nonzero()[0])
    of_member = f"member {member}, " if bad.shape[0] > 1 else ""
    raise FdsrError(
        f"{what}: {name} is NaN or infinite at time {time} in {int(bad.sum())} of {bad.numel()} cells, the first at "
        f"{of_member}{grid.point(row, column)}; a cell that should not count needs NaN in the truth"
    )
