"""Kernel inception distance (Bińkowski et al. 2018): an unbiased squared maximum mean discrepancy of features.

Kernel (x·y/D + 1)³; the mean over random subsets. Unlike FID it has no bias, and may come out slightly negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fdsr.errors import FdsrError
from fdsr.metrics.sum_metric import working_dtype


def polynomial_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased MMD² of samples (M, D) and (N, D) under the cubic kernel, a number."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_off_diagonal(k: Tensor) -> Tensor:
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    return mean_off_diagonal(kernel(x, x)) + mean_off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()


class KernelDistance(Metric):
    """KID of the features it is fed to those of `reference`, the mean over `subsets` of `subset_size` from each.

    Features are put in the order of their images' indices before subsets are drawn, so that the value does not depend on
    batches or processes. The draws are torch-fidelity's (numpy's RandomState of `seed`).

    Args:
        reference: features (N, D) of real images.
        subsets, subset_size, seed: defaults as in torch-fidelity; a subset is never larger than either sample.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    features: list[Tensor]
    indices: list[Tensor]

    def __init__(
        self, reference: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 2020, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if subsets < 1 or subset_size < 2:
            raise FdsrError(f"KID needs at least one subset of two, got {subsets} of {subset_size}")
        self.reference, self.subsets, self.subset_size, self.seed = reference, subsets, subset_size, seed
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("indices", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, indices: Tensor) -> None:
        """Add features (B, D) of the images `indices` (B,), no index twice."""
        if features.ndim != 2 or features.shape[1] != self.reference.shape[1] or indices.shape != features.shape[:1]:
            raise FdsrError(
                f"KID takes features (B, {self.reference.shape[1]}) and indices (B,), got {tuple(features.shape)} and "
                f"{tuple(indices.shape)}"
            )
        self.features.append(features)
        self.indices.append(indices)

    def compute(self) -> Tensor:
        """()."""
        features = dim_zero_cat(self.features)[dim_zero_cat(self.indices).argsort()]
        dtype = working_dtype(features.device)
        x, y = features.to(dtype), self.reference.to(features.device, dtype)
        size = min(self.subset_size, len(x), len(y))
        if size < 2:
            raise FdsrError("KID needs at least two images of each kind")
        rng = np.random.RandomState(self.seed)
        distances = []
        with torch.autocast(features.device.type, enabled=False):
            for _ in range(self.subsets):
                mine, theirs = (torch.from_numpy(rng.choice(len(s), size, replace=False)).to(s.device) for s in (x, y))
                distances.append(polynomial_mmd(x[mine], y[theirs]))
        return torch.stack(distances).mean()
