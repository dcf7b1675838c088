"""Scores of an ensemble as a distribution: fair CRPS, spread–skill ratio and rank histogram."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.base import FieldMetric, SumMetric, weighted_sum, working_dtype

# below this many members all pairs are cheaper than sorting
PAIRWISE_MEMBERS = 24


def mean_pair_distance(p: Tensor) -> Tensor:
    """Σ_{m<n} |x_m − x_n| · 2 / (M(M−1)) over the members (M, ...), M ≥ 2; gives (...).

    For many members in O(M log M): Σ_{m<n} |x_m − x_n| = Σ_m (2m − M − 1) x_(m), m = 1 … M in ascending order.
    """
    members = p.shape[0]
    total = torch.zeros_like(p[0])
    if members <= PAIRWISE_MEMBERS:
        for m in range(1, members):
            for n in range(m):
                total += (p[m] - p[n]).abs_()
    else:
        # about the first member, so that a large common level does not cost digits
        ordered = (p - p[0]).sort(dim=0).values
        for m in range(members):
            total.add_(ordered[m], alpha=2 * m - members + 1)
    return total * (2.0 / (members * (members - 1)))


class FairCRPS(FieldMetric):
    """Fair continuous ranked probability score: ⟨|x_m − y|⟩ − Σ_{m,n} |x_m − x_n| / (2M(M−1)).

    Unbiased in the number of members M (Ferro 2014, doi:10.1002/qj.2270): its expectation is the CRPS of the
    distribution the members are drawn from. With a single member it is that member's mean absolute error, and should
    be labelled so.
    """

    higher_is_better = False
    total: Tensor

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.add_sum("total", n_variables)

    def _accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        score = (p - y).abs_().mean(0)
        if p.shape[0] > 1:
            score -= 0.5 * mean_pair_distance(p)
        self.total = self.total + weighted_sum(score, w)

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return self.total / self.area


class SpreadSkill(FieldMetric):
    """Spread–skill ratio √((M+1)/M) · √⟨s²⟩ / √⟨(x̄ − y)²⟩, s² the ensemble variance with 1/(M−1).

    Averaged before the root (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1). 1 for a reliable ensemble of any size,
    below 1 when it is overconfident. NaN for a single member, whose spread is not defined.
    """

    spread: Tensor
    skill: Tensor

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.add_sum("spread", n_variables)
        self.add_sum("skill", n_variables)

    def _accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        members = p.shape[0]
        mean = p.mean(0)
        self.skill = self.skill + weighted_sum((mean - y).square(), w)
        if members > 1:
            variance = (p - mean).square_().sum(0) / (members - 1)
            # the factor belongs to each time's own M, so that ensembles of different sizes may be pooled
            self.spread = self.spread + weighted_sum(variance, w) * ((members + 1) / members)
        else:
            self.spread = self.spread + math.nan

    def compute(self) -> Tensor:
        """(C,), dimensionless."""
        return torch.sqrt(self.spread / self.skill)


class RankHistogram(FieldMetric):
    """Area-weighted frequency of the rank of the truth among M members: M + 1 bins that sum to 1, flat when reliable.

    rank = #{x_m < y} + uniform{0 … #{x_m = y}} (Hamill 2001). The draws that break ties are seeded by `seed` and the
    truth of that time and variable, so they do not depend on how times are batched.
    """

    counts: Tensor

    def __init__(self, weights: Tensor, members: int, n_variables: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.members, self.seed = members, seed
        self.add_sum("counts", n_variables, members + 1)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times: (B, M, C, H, W) and (B, C, H, W), M as given at construction."""
        SumMetric._check(self, prediction, truth)
        self._check_grid(truth)
        if prediction.shape[1] != self.members:
            raise FdsrError(f"RankHistogram was built for {self.members} members, got {prediction.shape[1]}")
        weights = self.weights.expand(truth.shape[-2:]).reshape(-1)
        counts = torch.zeros_like(self.counts)
        for b in range(truth.shape[0]):
            for c in range(truth.shape[1]):
                rank = self._rank(prediction[b, :, c], truth[b, c])
                counts[c].index_add_(0, rank.reshape(-1), weights)
        self.counts = self.counts + counts
        self.area = self.area + weights.sum() * truth.shape[0]

    def _rank(self, p: Tensor, y: Tensor) -> Tensor:
        """Rank of y (H, W) among p (M, H, W): int64 (H, W), 0 … M."""
        dtype = working_dtype(y.device)
        p, y = p.to(dtype), y.to(dtype)
        rank, ties = (p < y).sum(0), (p == y).sum(0)
        if bool(ties.any()):
            # 32 bits in all: the generator ignores the upper half of a seed
            content = y.cpu().double().contiguous().numpy().tobytes()
            generator = torch.Generator().manual_seed(zlib.crc32(content, self.seed & 0xFFFFFFFF))
            draw = torch.rand(y.shape, generator=generator, dtype=torch.float64).to(y.device, dtype)
            rank += torch.minimum((draw * (ties + 1)).long(), ties)
        return rank

    def compute(self) -> Tensor:
        """(C, M + 1)."""
        return self.counts / self.area[:, None]
