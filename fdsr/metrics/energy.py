"""Whether the members are right about many cells at once: the energy score of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.metrics.field_metric import AreaMean, masked
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
        height, width = (n // SIDE * SIDE for n in truth.shape[-2:])
        dtype = working_dtype(truth.device)
        weights = self.weights.expand(truth.shape[-2:])[:height, :width]
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y in zip(prediction[..., :height, :width], truth[..., :height, :width], strict=True):
                members, valid, cells = *masked(p.to(dtype), y.to(dtype), weights)[:2], weights * ~y.isnan()
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


def _patches(x: Tensor) -> Tensor:
    """(..., H, W) in patches: (..., N, 64)."""
    cut = x.unfold(-2, SIDE, SIDE).unfold(-2, SIDE, SIDE)
    return cut.flatten(-4, -3).flatten(-2)
