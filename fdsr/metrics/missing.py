"""Finding the value that must not be missing, so that an error can name its place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fdsr.errors import FdsrError


def require_scorable(
    prediction: Tensor,
    truth: Tensor,
    name: str,
    time: str,
    rows: np.ndarray,
    columns: np.ndarray,
    axes: tuple[str, str] = ("lat", "lon"),
) -> None:
    """Check one variable at one time: members (M, H, W) and truth (H, W), coordinates (H,) and (W,).

    Raises:
        FdsrError: a predicted value is NaN or infinite in a cell that counts (truth is not NaN), or a true value is
            infinite; names variable, time, how many, and the first place.
    """
    _refuse(~torch.isfinite(prediction) & ~truth.isnan(), "prediction", name, time, rows, columns, axes)
    _refuse(truth.isinf()[None], "truth", name, time, rows, columns, axes)


def _refuse(
    bad: Tensor, what: str, name: str, time: str, rows: np.ndarray, columns: np.ndarray, axes: tuple[str, str]
) -> None:
    if not bool(bad.any()):
        return
    member, row, column = (int(i) for i in bad.nonzero()[0])
    of_member = f"member {member}, " if bad.shape[0] > 1 else ""
    place = f"{of_member}{axes[0]} {float(rows[row]):g}, {axes[1]} {float(columns[column]):g}"
    raise FdsrError(
        f"{what}: {name} is NaN or infinite at time {time} in {int(bad.sum())} of {bad.numel()} cells, the first at {place}; "
        "a cell that should not count needs NaN in the truth"
    )
