"""Whether the members are right about many cells, and several variables, at once: energy scores of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.field_metric import AreaMean, masked
from fdsr.metrics.score_metric import Sample, Task
from fdsr.metrics.sum_metric import working_dtype
from fdsr.scores import Score

SIDE = 8  # cells


class EnergyScore(AreaMean):
    """Fair energy score of patches of 8 × 8 cells: mean_m ‖x_m − y‖ − Σ_{m,n} ‖x_m − x_n‖ / (2M(M − 1)).

    ‖·‖ is the root of the area-weighted mean square over the cells of a patch, so that the score has the variable's unit. It is
    the CRPS of a vector and proper (Gneiting & Raftery 2007, doi:10.1198/016214506000001437, eq. 22): unlike the CRPS it asks
    for the right dependence between neighbouring cells. Patches are weighted by their area; rows and columns beyond the last
    whole patch are left out. A single member's is its root mean square error in a patch, averaged. NaN on a grid without a whole patch.
    """

    scores = (
        Score("energy_score", f"fair energy score of patches of {SIDE} × {SIDE} cells", summary="ratio", ensemble=True),
    )
    on_demand = True

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._check(prediction, truth)
        dtype = working_dtype(truth.device)
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y in zip(prediction, truth, strict=True):
                self._add_time(p.to(dtype), y.to(dtype))

    def _add_time(self, p: Tensor, y: Tensor) -> None:
        """Members (M, C, H, W) and truth (C, H, W)."""
        height, width = (n // SIDE * SIDE for n in y.shape[-2:])
        if not height * width:
            return
        weights = self.weights.expand(y.shape[-2:])[:height, :width]
        p, y = p[..., :height, :width], y[..., :height, :width]
        members, valid, cells = *masked(p, y, weights)[:2], weights * ~y.isnan()
        self._add(_patches(members), _patches(valid), _patches(cells))

    def _add(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        """One time, in patches: members (M, C, N, 64), truth and weights (C, N, 64)."""
        members, area = len(p), w.sum(-1)
        share = w / torch.where(area > 0, area, 1.0)[..., None]

        def norm(x: Tensor) -> Tensor:
            return (x.square() * share).sum(-1).sqrt()

        score = torch.stack([norm(member - y) for member in p]).mean(0)
        for m in range(1, members):
            score -= norm(p[m] - p[:m]).sum(0) / (members * (members - 1))
        self.add(total=(score * area).sum(-1), area=area.sum(-1))


class JointEnergyScore(EnergyScore):
    """The energy score of patches of all variables together, each counted in the deviation of its coarse field at that time.

    It asks for the right dependence between variables besides. The deviation is known before the truth is, so that the score is
    proper; a variable whose coarse field does not vary is left out. A cell where any variable's truth is missing counts in none. One
    number, which stands beside every variable. Needs the coarse input of all variables, and two of them.
    """

    scores = (
        Score("joint_energy_score", f"fair energy score of all variables in patches of {SIDE} × {SIDE} cells", unit="1",
              summary="mean", ensemble=True),
    )  # fmt: skip

    def __init__(
        self, weights: Tensor, n_variables: int = 2, index: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.index = list(range(n_variables)) if index is None else list(index)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None of a single variable, and where one has no coarse field of its name."""
        low = list(task.names if task.low_names is None else task.low_names)
        if len(task.names) < 2 or task.factor is None or not set(task.names) <= set(low):
            return None
        return cls(task.weights, len(task.names), [low.index(name) for name in task.names])

    def take(self, sample: Sample) -> None:
        if sample.low is None:
            raise FdsrError("joint_energy_score counts variables in deviations of the coarse input; give low as well")
        self.update(sample.prediction, sample.truth, sample.low)

    def update(self, prediction: Tensor, truth: Tensor, low: Tensor) -> None:  # type: ignore[override]
        """Add times: (B, M, C, H, W), (B, C, H, W) and their coarse input (B, C_low, h, w)."""
        dtype = working_dtype(truth.device)
        coarse = low[:, self.index].to(dtype)
        present = ~coarse.isnan()
        count = present.sum((-2, -1), keepdim=True).clamp(min=1)
        mean = torch.where(present, coarse, 0.0).sum((-2, -1), keepdim=True) / count
        deviation = (torch.where(present, coarse - mean, 0.0).square().sum((-2, -1), keepdim=True) / count).sqrt()
        self._check(prediction, truth)
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y, unit in zip(prediction, truth, deviation, strict=True):
                varies = unit[:, 0, 0] > 0
                if varies.any():
                    self._add_time(p[:, varies].to(dtype) / unit[varies], y[varies].to(dtype) / unit[varies])

    def _add(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        # all variables of a patch are one vector
        cells = w.amin(0).expand_as(w)
        p, y, cells = (x.movedim(-3, -2).flatten(-2)[..., None, :, :] for x in (p, y, cells))
        super()._add(p, y, cells)


def _patches(x: Tensor) -> Tensor:
    """(..., H, W) in patches: (..., N, 64)."""
    cut = x.unfold(-2, SIDE, SIDE).unfold(-2, SIDE, SIDE)
    return cut.flatten(-4, -3).flatten(-2)
