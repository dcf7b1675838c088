"""Fine fields whose area-weighted block means are the coarse field, exactly."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO, upsample_gaps
from fdsr.errors import FdsrError

ConserveName = Literal["auto", "none", "end", "steps"]
# of the amount that a block should hold: below it a block counts as dry, and what is to be added has no pattern to follow
_DRY = 1e-6
_ROUNDS = 3  # in which small amounts are given to larger ones of their block


class Conservation:
    """Projection of fine fields onto those that coarsen to given coarse fields, block by block, in physical units.

    With a_i the areas of a block's cells, those that stores are coarsened by, ā = Σ a_i x_i / Σ a_i and m the coarse value:

        x_i + (m − ā), the nearest field in ∫ (·)² dA that has the mean m; and
        L + (x_i − L) (m − L)/(ā − L) for a variable with a lower bound L, such as precipitation: nothing goes below it, what is
        at it stays there, a block whose m is L is at L throughout, and one that is, and should not be, is filled evenly. A variable
        of rain whose transform has a threshold leaves nothing below it where it can: points that would come to less give their amount
        to the others of their block, and a block that is filled has as many wet points as reach it, on the side of wetter neighbours.

    Of a masked store the points that any train step has count. Variables without a coarse one of their name, and blocks whose
    coarse value is missing, stay as they are.

    Args:
        spec: the fields and their place.
        bounded: whether variables with a lower bound are projected; otherwise they too stay as they are, but for dry coarse cells of
            those that have a threshold, which are dry.

    Raises FdsrError where coarse fields are no block means of the fine ones, or no variable has a coarse one.
    """

    def __init__(self, spec: FieldSpec, bounded: bool = True) -> None:
        if reason := nothing_to_conserve(spec):
            raise FdsrError(f"conserve: {reason}; leave it at auto, or none")
        self.factor, self.lower = spec.factor, [transform.lower for transform in spec.high_transforms]
        left_out = [low is not None and not bounded for low in self.lower]
        self.index = [-1 if left else i for i, left in zip(spec.base_index, left_out, strict=True)]
        self.transforms, self.base = spec.high_transforms, spec.base_index
        self.threshold = [float(getattr(transform, "threshold", 0.0)) for transform in spec.high_transforms]
        area = torch.from_numpy(spec.grid.row_areas.copy())[:, None].expand(spec.shape)[None]
        if spec.present is not None:
            area = area * spec.present.to(area)
        whole = self._spread(self._blocks(area).sum((-3, -1)))
        self.share = torch.where(whole > 0, area / whole, 0.0).float()  # (1 or C, H, W), of a cell in its block

    def __call__(self, fields: Tensor, low: Tensor) -> Tensor:
        """Fields (N, C, H, W), given their coarse ones with halo (N, D, h + 2·HALO, w + 2·HALO)."""
        share = self.share.to(fields.device).expand(fields.shape[1:])
        coarse = low[..., HALO:-HALO, HALO:-HALO]
        out = []
        for c, x in enumerate(fields.unbind(1)):
            if self.index[c] < 0:
                dry = self.transforms[c].idle(coarse[:, self.base[c]], self.factor)  # nowhere, where none is dry
                out.append(x.masked_fill(self._spread(dry), 0.0) if self.base[c] >= 0 else x)
                continue
            mean, lower = coarse[:, self.index[c]], self.lower[c]
            if lower is None:
                projected = self._shift(x, mean, share[c])
            elif not self.threshold[c]:
                projected = self._scale(x, mean, share[c], lower)
            else:
                dry = self._spread(self._mean(x, share[c]) <= _DRY * mean)
                filled = self._filled(low[:, self.index[c], None], share[c], self.threshold[c])
                kept = self._thinned(torch.where(dry, filled, x), mean, share[c], self.threshold[c])
                projected = self._scale(kept, mean, share[c], lower)
            out.append(torch.where(self._spread(mean.isnan()), x, projected))
        return torch.stack(out, dim=1)

    def _shift(self, x: Tensor, mean: Tensor, share: Tensor) -> Tensor:
        # differences from the mean first: a pressure's own digits would round away what they are
        return x + self._spread(self._mean(self._spread(mean) - x, share))

    def _scale(self, x: Tensor, mean: Tensor, share: Tensor, lower: float) -> Tensor:
        amount, wanted = (x - lower).clamp(min=0), (mean - lower).clamp(min=0)
        found = self._mean(amount, share)
        dry = found <= _DRY * wanted
        ratio = torch.where(dry, 0.0, wanted / torch.where(dry, 1.0, found))
        return lower + amount * self._spread(ratio) + self._spread(torch.where(dry, wanted, 0.0))

    def _thinned(self, x: Tensor, mean: Tensor, share: Tensor, threshold: float) -> Tensor:
        """x without the points that come to less than the threshold when blocks are scaled to `mean`, but for one of a block's largest."""
        last = self._ranks(torch.where(share > 0, x, -1.0)) == 0
        for _ in range(_ROUNDS):
            found = self._mean(x, share)
            ratio = self._spread(torch.where(found > 0, mean / found.clamp(min=torch.finfo(x.dtype).tiny), 0.0))
            x = torch.where((x * ratio >= threshold) | last, x, 0.0)
        return x

    def _filled(self, low: Tensor, share: Tensor, threshold: float) -> Tensor:
        """Blocks of 1 at as many points as reach the threshold, where interpolation of `low` (N, 1, with halo) is highest, else 0."""
        fine = upsample_gaps(low, self.factor, "bilinear")[:, 0].nan_to_num(0.0)
        points = self._blocks((share > 0).to(low.dtype).expand(fine.shape)).sum((-3, -1))
        wet = (low[:, 0, HALO:-HALO, HALO:-HALO].nan_to_num(0.0) * points / threshold).floor().clamp(min=1)
        return (self._ranks(torch.where(share > 0, fine, -1.0)) < self._spread(wet)).to(low.dtype)

    def _ranks(self, x: Tensor) -> Tensor:
        """Of each point the number of those of its block that are larger, or equal and before it."""
        blocks = self._blocks(x).movedim(-3, -2).flatten(-2)  # (N, h, w, points)
        ranks = blocks.argsort(stable=True, dim=-1, descending=True).argsort(-1)
        return ranks.unflatten(-1, self.factor).movedim(-2, -3).reshape(x.shape)

    def _mean(self, x: Tensor, share: Tensor) -> Tensor:
        return self._blocks(x * share).sum((-3, -1))

    def _blocks(self, x: Tensor) -> Tensor:
        (fy, fx), (height, width) = self.factor, x.shape[-2:]
        return x.reshape(*x.shape[:-2], height // fy, fy, width // fx, fx)

    def _spread(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.factor[0], -2).repeat_interleave(self.factor[1], -1)


def nothing_to_conserve(spec: FieldSpec) -> str:
    """Why coarse fields of `spec` tell no block means of the fine ones; empty where they do."""
    if spec.independent_low:
        return "the model's coarse fields are of an archive of their own, not block means of the fine ones"
    return "no variable has a coarse one of its name" if max(spec.base_index) < 0 else ""
